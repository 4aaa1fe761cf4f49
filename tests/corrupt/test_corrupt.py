from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from pipeline.bitstream import StreamReader, inspect_stream
from pipeline.errors import StreamError
from pipeline.verify import verify
from tests.corrupt.make import CASES, files_of, judge

HERE = Path(__file__).parent
MANIFEST: dict[str, dict[str, Any]] = json.loads((HERE / "manifest.json").read_text())


def test_the_corpus_is_what_makes_it() -> None:
    assert [case.name for case in CASES] == list(MANIFEST)
    for case in CASES:
        for name, data in files_of(case).items():
            assert (HERE / name).read_bytes() == data, name
    kept = {path.name for path in HERE.iterdir() if path.suffix in (".fov", ".fg", ".bg")}
    assert kept == {name for entry in MANIFEST.values() for name in entry["files"]}


@pytest.mark.parametrize("name", MANIFEST)
def test_what_is_lost(name: str) -> None:
    entry = MANIFEST[name]
    data, background = [*((HERE / file).read_bytes() for file in entry["files"]), None][:2]
    assert data is not None
    assert {key: entry[key] for key in ("frames", "losses", "faults", "refused") if key in entry} == judge(
        data, background, open_ended=entry["open_ended"]
    )


@pytest.mark.parametrize("name", MANIFEST)
def test_other_ways_to_read_it(name: str) -> None:
    """Nothing but StreamError comes out of inspection, of a strict reader, and of every seek."""
    entry = MANIFEST[name]
    data, background = [*((HERE / file).read_bytes() for file in entry["files"]), None][:2]
    assert data is not None
    files = [BytesIO(data)] if background is None else [BytesIO(data), BytesIO(background)]
    if "refused" in entry:
        with pytest.raises(StreamError):
            StreamReader(*files)
        assert verify(HERE / entry["files"][0]).faults
        return
    assert len(inspect_stream(StreamReader(*files)).frames) == entry["frames"]
    if entry["faults"] and not entry["open_ended"]:
        with pytest.raises(StreamError):
            list(StreamReader(*files, strict=True).packets())
    reader = StreamReader(*files)
    whole = {item.packet.index for item in reader.packets()}
    for key in reader.key_frames():
        assert {item.packet.index for item in reader.packets(key)} == {index for index in whole if index >= key.index}
