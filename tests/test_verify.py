from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bitstream import Loss
from pipeline.bitstream.chunks import HEAD_BYTES, Kind, pack_chunk
from pipeline.bitstream.keyindex import EndIndex, pack_end
from pipeline.errors import StoreError, UsageError
from pipeline.store import Sink, Store
from pipeline.store.files import INDEX
from pipeline.types import CodedFrame, Layer
from pipeline.verify import FileLoss, Verdict, verify
from tests.streams import INFO, FakeDecoder, chunks, make_packets, save, write_joint

SOUND = Verdict((), ())


def test_a_sound_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fov", write_joint(make_packets(60, gop=20, segment=40)))
    assert verify(path) == SOUND
    assert verify(path, make_decoder=FakeDecoder) == SOUND


def test_damage_in_a_file(tmp_path: Path) -> None:
    data = write_joint(make_packets(60, gop=20))
    cut = verify(save(tmp_path / "a.fov", data[:-9]))
    assert cut.faults[0].path == "a.fov"
    assert "cut off" in cut.faults[0].fault.reason
    assert cut.losses == (), "only the end is cut off"
    start, _ = chunks(data, Kind.FOREGROUND)[1]
    lost = verify(save(tmp_path / "b.fov", data[:start] + b"?" + data[start + 1 :]))
    reason = "no chunk begins where one should"
    assert lost.losses == (FileLoss("b.fov", Loss(20, 39, Layer.FOREGROUND, start, reason)),)
    verdict = verify(save(tmp_path / "c.fov", b"RIFF"))
    assert "not a Fovea stream" in verdict.faults[0].fault.reason
    assert [(item.loss.first, item.loss.last) for item in verdict.losses] == [(-1, -1)]


def test_symbols_are_verified_with_a_decoder_alone(tmp_path: Path) -> None:
    packets = make_packets(60, gop=20)
    packets[7] = replace(packets[7], foreground=b"x", sums=(99, packets[7].sums[1]))
    path = save(tmp_path / "a.fov", write_joint(packets))
    assert verify(path) == SOUND
    verdict = verify(path, make_decoder=FakeDecoder)
    assert [item.fault.frame for item in verdict.faults] == [7]
    assert [(item.loss.first, item.loss.last, item.loss.layer) for item in verdict.losses] == [
        (7, 19, Layer.FOREGROUND)
    ]


def test_an_index_that_lies(tmp_path: Path) -> None:
    data = write_joint(make_packets(60, gop=20))
    size = int.from_bytes(data[-4:], "little")
    lie = pack_chunk(Kind.END, flags=0, frames=0, sequence=0, first=0, payload=pack_end(EndIndex(59, ())))
    assert size > HEAD_BYTES
    faults = verify(save(tmp_path / "a.fov", data[:-size] + lie)).faults
    assert {"the end counts 59 frames, 60 were read", "the index does not list the key frames that are there"} == {
        f.fault.reason for f in faults
    }


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Three segments of 50, 50 and 20 frames."""
    with Store(tmp_path / "archive") as store:
        sink = Sink(store, "gate", INFO)
        for packet in make_packets(120, gop=25, segment=50):
            sink.append(CodedFrame(packet))
        sink.close()
    return tmp_path / "archive"


def test_a_store(archive: Path) -> None:
    assert verify(archive) == SOUND
    assert verify(archive, make_decoder=FakeDecoder) == SOUND
    first, second, third = sorted(archive.rglob("*.fg"))
    data = first.read_bytes()
    first.write_bytes(data[: chunks(data, Kind.FOREGROUND)[1][0] + 40])
    second.unlink()
    third.with_suffix(".bg").unlink()
    verdict = verify(archive)
    assert verdict.faults
    names = [str(path.relative_to(archive)) for path in (first, second, third.with_suffix(".bg"))]
    assert [(item.path, item.loss.first, item.loss.last, item.loss.layer) for item in verdict.losses] == [
        (names[0], 25, -1, Layer.FOREGROUND),
        (names[1], -1, -1, Layer.FOREGROUND),
        (names[2], 100, 119, Layer.BACKGROUND),
    ]


def test_a_background_that_was_dropped_is_not_lost(archive: Path) -> None:
    with closing(sqlite3.connect(archive / INDEX)) as database, database:
        database.execute("UPDATE segments SET has_background = 0")
    for path in archive.rglob("*.bg"):
        path.unlink()
    assert verify(archive) == SOUND


def test_a_segment_that_holds_another_stream(archive: Path) -> None:
    first, second, _ = sorted(archive.rglob("*.fg"))
    second.write_bytes(first.read_bytes())
    verdict = verify(archive)
    assert [(item.path, item.loss.first) for item in verdict.losses] == [(str(second.relative_to(archive)), -1)]
    assert "the file holds stream" in " ".join(item.fault.reason for item in verdict.faults)


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        verify(tmp_path / "nothing")
    with pytest.raises(StoreError, match="not a Fovea store"):
        verify(tmp_path)
