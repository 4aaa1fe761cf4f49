"""Writers that die, disks that refuse: short runs of `python -m tests.store.faults` and `kill`; a disk that is full."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import Sink, Store, check, purge_low_disk
from pipeline.types import CodedFrame, Packet
from tests.store import faults, kill
from tests.streams import INFO, make_packets


def test_a_recording_survives_disturbances_at_its_file_operations() -> None:
    if faults.compiler() is None:
        pytest.skip("no C compiler")
    done = subprocess.run(
        [sys.executable, "-m", "tests.store.faults", "--every", "67"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_recording_survives_kills(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kill.run(tmp_path, 2, seed=7) == 0, capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of twelve mebibytes, of which a store holds four back."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no right to mount a small disk")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def record(store: Store, packets: list[Packet]) -> None:
    sink = Sink(store, "gate", INFO)
    try:
        for packet in packets:
            sink.append(CodedFrame(packet))
    finally:
        sink.close()


def fill_up(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass


def test_a_disk_that_fills(small_disk: Path) -> None:
    """The archive fills the disk; what it says of itself stays true, and a purge makes room again."""
    with Store(small_disk / "archive") as store:
        with pytest.raises(StoreError, match=r"full|No space left"):
            record(store, make_packets(5000, gop=25, segment=100, size=8000))
        assert sum(s.frames for s in store.segments()) > 300
        assert check(store) == ()
        freed = purge_low_disk(store, keep_free_bytes=2_000_000, now_us=0)
        assert sum(purge.bytes for purge in freed) > 0
        assert shutil.disk_usage(store.root).free >= 2_000_000
        record(store, make_packets(50, gop=25))
        assert check(store) == ()


def test_a_purge_on_a_disk_without_a_byte(small_disk: Path) -> None:
    """Something else has filled it, and nothing has the archive open."""
    root = small_disk / "archive"
    with Store(root) as store:
        record(store, make_packets(400, gop=25, segment=100, size=8000))
    with pytest.raises(OSError, match="No space"):
        fill_up(small_disk / "else")
    with Store(root) as store:
        assert purge_low_disk(store, keep_free_bytes=shutil.disk_usage(root).free + 300_000, now_us=0)
        assert "foreground" in {s.level for s in store.segments()}
