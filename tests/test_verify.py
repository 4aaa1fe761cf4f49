from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.bitstream.chunks import HEAD_BYTES, Kind, pack_chunk
from pipeline.bitstream.keyindex import EndIndex, pack_end
from pipeline.errors import StoreError, UsageError
from pipeline.store import Sink, Store
from pipeline.types import CodedFrame
from pipeline.verify import verify
from tests.streams import INFO, FakeDecoder, make_packets, save, write_joint


def test_a_sound_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.fov", write_joint(make_packets(60, gop=20, segment=40)))
    assert verify(path) == ()
    assert verify(path, make_decoder=FakeDecoder) == ()


def test_damage_in_a_file(tmp_path: Path) -> None:
    data = write_joint(make_packets(60, gop=20))
    cut = verify(save(tmp_path / "a.fov", data[:-9]))
    assert cut[0].path == "a.fov"
    assert "cut off" in cut[0].fault.reason
    (fault,) = verify(save(tmp_path / "b.fov", b"RIFF"))
    assert "not a Fovea stream" in fault.fault.reason


def test_symbols_are_verified_with_a_decoder_alone(tmp_path: Path) -> None:
    packets = make_packets(60, gop=20)
    packets[7] = replace(packets[7], foreground=b"x", sums=(99, packets[7].sums[1]))
    path = save(tmp_path / "a.fov", write_joint(packets))
    assert verify(path) == ()
    (fault,) = verify(path, make_decoder=FakeDecoder)
    assert fault.fault.frame == 7


def test_an_index_that_lies(tmp_path: Path) -> None:
    data = write_joint(make_packets(60, gop=20))
    size = int.from_bytes(data[-4:], "little")
    lie = pack_chunk(Kind.END, flags=0, frames=0, sequence=0, first=0, payload=pack_end(EndIndex(59, ())))
    assert size > HEAD_BYTES
    faults = verify(save(tmp_path / "a.fov", data[:-size] + lie))
    assert {"the end counts 59 frames, 60 were read", "the index does not list the key frames that are there"} == {
        f.fault.reason for f in faults
    }


def test_a_store(tmp_path: Path) -> None:
    with Store(tmp_path / "archive") as store:
        sink = Sink(store, "gate", INFO)
        for packet in make_packets(120, gop=25, segment=50):
            sink.append(CodedFrame(packet))
        sink.close()
    assert verify(tmp_path / "archive") == ()
    assert verify(tmp_path / "archive", make_decoder=FakeDecoder) == ()
    path = sorted((tmp_path / "archive" / "segments" / "gate").glob("*.fg"))[1]
    path.write_bytes(path.read_bytes()[:-50])
    assert verify(tmp_path / "archive")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        verify(tmp_path / "nothing")
    with pytest.raises(StoreError, match="not a Fovea store"):
        verify(tmp_path)
