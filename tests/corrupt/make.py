"""Makes the damaged streams beside it and manifest.json, which says of each what it is and what it has lost. Run from
the root of the repository with `python -m tests.corrupt.make`; it stops where a stream has lost something else than is
said here."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any

from pipeline.bitstream import Fault, Loss, StreamReader
from pipeline.bitstream.chunks import HEAD_BYTES, MARKER, Kind
from pipeline.errors import StreamError
from tests.fuzz.mutate import Piece, Stream
from tests.streams import chunks, make_packets, pieces, write_joint, write_pair

HERE = Path(__file__).parent

# 32 frames in chunks of 4, GOPs of 8, segments of 16: plate, F0, B0, F1, B1, parity, F2, B2, F3, B3, plate, ..., end
PACKETS = make_packets(32, fps=4, gop=8, segment=16, size=6)
DATA = write_joint(PACKETS)
PIECES = pieces(DATA)
FG_FILE, BG_FILE = write_pair(PACKETS)
LARGE = write_joint([replace(PACKETS[0], plate=random.Random(5).randbytes(5000)), *PACKETS[1:16]])


@dataclass(frozen=True, slots=True)
class Case:
    """`lost`: first and last frame of each loss and F or B for its layer, None where the file is refused."""

    name: str
    what: str
    data: bytes
    lost: list[tuple[int, int, str]] | None = field(default_factory=list)
    background: bytes | None = None
    open_ended: bool = False


def span(kind: Kind, nth: int, data: bytes = DATA) -> tuple[int, int]:
    return chunks(data, kind)[nth]


def flip(kind: Kind, nth: int, at: int, data: bytes = DATA) -> bytes:
    """A bit changed in a chunk, `at` bytes from its beginning, or from its end if that is negative."""
    start, end = span(kind, nth, data)
    place = start + at if at >= 0 else end + at
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def zero(start: int, end: int, data: bytes = DATA) -> bytes:
    return data[:start] + bytes(end - start) + data[end:]


def place(kind: Kind, nth: int) -> int:
    """Where a chunk stands in PIECES."""
    return 1 + [start for start, _ in chunks(DATA)].index(span(kind, nth)[0])


def without(*places: int) -> bytes:
    return b"".join(piece for n, piece in enumerate(PIECES) if n not in places)


def inserted(at: int, piece: bytes) -> bytes:
    return b"".join([*PIECES[:at], piece, *PIECES[at:]])


def swapped(a: int, b: int) -> bytes:
    order = list(PIECES)
    order[a], order[b] = order[b], order[a]
    return b"".join(order)


def moved(a: int, b: int) -> bytes:
    order = list(PIECES)
    order.insert(b, order.pop(a))
    return b"".join(order)


def forged(kind: Kind, nth: int, change: Callable[[Piece], Piece]) -> bytes:
    """A chunk changed, with checksums that are right."""
    stream = Stream.split(DATA)
    at = place(kind, nth) - 1
    changed = (*stream.pieces[:at], change(stream.pieces[at]), *stream.pieces[at + 1 :])
    return replace(stream, pieces=changed).pack()


P, F, B, E, X = Kind.PLATE, Kind.FOREGROUND, Kind.BACKGROUND, Kind.END, Kind.PARITY
END_AT = span(E, 0)[0]


def whole() -> list[Case]:
    return [
        Case("sound", "nothing is wrong with it", DATA),
        Case("header-bit", "a bit of the file header", DATA[:17] + b"!" + DATA[18:]),
        Case("header-gone", "header and the head of the first plate are zeros", zero(0, 80)),
        Case("beginning-gone", "all up to the first plate's parity is zeros", zero(0, span(X, 0)[0]), [(0, 7, "F")]),
        Case("empty", "no byte", b"", None),
        Case("text", "no stream", b"This is a text, and its first bytes say so.\n" * 4, None),
        Case("markers", "a header, then nothing but markers", DATA[:60] + MARKER * 200, [(-1, -1, "F")]),
        Case("header-alone", "a header and nothing else", DATA[:60]),
        Case("twice", "the same file again behind its end", DATA + DATA),
        Case("trailing-bytes", "bytes behind the end", DATA + b"more"),
        Case("cut-out", "500 bytes of the middle cut out, across chunks", DATA[:700] + DATA[1200:], [(8, 23, "F")]),
    ]


def plates() -> list[Case]:
    plate, parity = span(P, 0), span(X, 0)
    both = zero(plate[0] + HEAD_BYTES + 60, plate[1], zero(parity[0] + HEAD_BYTES + 60, parity[1]))
    large = span(P, 0, LARGE)[0] + 300
    return [
        Case("plate-bit", "a bit of a plate", flip(P, 0, -1)),
        Case("plate-head-bit", "a bit of a plate chunk's head", flip(P, 0, 9)),
        Case("plate-sector", "4096 zeros in a plate of 5000 bytes", zero(large, large + 4096, LARGE)),
        Case("plate-missing", "a small plate cut out: it stands in its parity whole", without(place(P, 0))),
        Case("parity-bit", "a bit of a parity block", flip(X, 0, -1)),
        Case("parity-head-bit", "a bit of a parity chunk's head", flip(X, 0, 9)),
        Case("parity-missing", "a parity chunk cut out", without(place(X, 0))),
        Case("plate-and-parity", "a plate and its parity are zeros", both, [(0, 15, "F")]),
        Case("plates-swapped", "both plates in each other's place", swapped(place(P, 0), place(P, 1))),
    ]


def foreground() -> list[Case]:
    first, last = place(F, 0), place(F, 7)
    return [
        Case("key-bit", "a bit of a key frame's chunk", flip(F, 2, -1), [(8, 15, "F")]),
        Case("foreground-bit", "a bit of the second chunk of a GOP", flip(F, 3, -1), [(12, 15, "F")]),
        Case("foreground-head-bit", "a bit of a chunk's head", flip(F, 3, 12), [(12, 15, "F")]),
        Case("foreground-missing", "a chunk cut out", without(place(F, 3)), [(12, 15, "F")]),
        Case("first-missing", "the first foreground chunk cut out", without(first), [(0, 7, "F")]),
        Case("last-missing", "the last foreground chunk cut out", without(last), [(28, -1, "F")]),
        Case("two-lost", "chunks of two GOPs", flip(F, 5, -1, flip(F, 2, -1)), [(8, 15, "F"), (20, 23, "F")]),
        Case("duplicated", "a chunk twice", inserted(place(F, 3), PIECES[place(F, 3)])),
        Case("duplicated-far", "a chunk again, two GOPs later", inserted(place(F, 7), PIECES[place(F, 2)])),
        Case("duplicated-early", "a chunk too early, and in its place", inserted(place(F, 1), PIECES[place(F, 6)])),
        Case("neighbours-swapped", "two chunks of a GOP", swapped(place(F, 2), place(F, 3)), [(12, 15, "F")]),
        Case("swapped-far", "chunks of GOPs 0 and 3", swapped(place(F, 1), place(F, 6)), [(4, 7, "F"), (24, 31, "F")]),
        Case(
            "swapped-layers",
            "a foreground and a background chunk",
            swapped(place(F, 1), place(B, 4)),
            [(4, 7, "F"), (16, 23, "B")],
        ),
        Case(
            "everything-lost",
            "every foreground chunk cut out",
            without(*(place(F, n) for n in range(8))),
            [(0, -1, "F")],
        ),
    ]


def background() -> list[Case]:
    return [
        Case("background-bit", "a bit of a background chunk", flip(B, 2, -1), [(8, 15, "B")]),
        Case("background-head-bit", "a bit of its head", flip(B, 3, 12), [(12, 15, "B")]),
        Case("background-missing", "a background chunk cut out", without(place(B, 3)), [(12, 15, "B")]),
        Case("background-twice", "a background chunk twice", inserted(place(B, 3), PIECES[place(B, 3)])),
        Case("backgrounds-swapped", "of GOPs 0 and 3", swapped(place(B, 1), place(B, 6)), [(4, 7, "B"), (24, 31, "B")]),
        Case("pair", "two files, sound", FG_FILE, background=BG_FILE),
        Case("pair-alone", "foreground without its background file", FG_FILE, [(0, 31, "B")]),
        Case(
            "pair-cut", "background cut off", FG_FILE, [(12, 31, "B")], background=BG_FILE[: span(B, 3, BG_FILE)[1] - 1]
        ),
        Case("pair-empty", "background file of no byte", FG_FILE, [(0, 31, "B")], background=b""),
        Case("pair-header", "a bit of the background's header", FG_FILE, background=BG_FILE[:9] + b"!" + BG_FILE[10:]),
        Case("pair-stranger", "a joint file as background", FG_FILE, [(0, 31, "B")], background=DATA),
        Case("pair-reversed", "background as foreground", BG_FILE, None, background=FG_FILE),
    ]


def tails() -> list[Case]:
    in_foreground, in_background = span(F, 5)[1] - 1, span(B, 5)[1] - 1
    return [
        Case("end-missing", "cut off before the end chunk", DATA[:END_AT]),
        Case("end-cut", "cut off in the end chunk", DATA[:-1]),
        Case("end-bit", "a bit of the index", flip(E, 0, HEAD_BYTES + 1)),
        Case("end-head-bit", "a bit of the end chunk's head", flip(E, 0, 9)),
        Case("end-early", "the end chunk amid the others", moved(len(PIECES) - 1, place(F, 4))),
        Case("end-twice", "two end chunks", DATA + PIECES[-1]),
        Case("cut-in-foreground", "cut off in a foreground chunk", DATA[:in_foreground], [(20, -1, "F")]),
        Case("cut-in-background", "cut off in a background chunk", DATA[:in_background], [(20, 23, "B")]),
        Case("cut-in-head", "cut off in a chunk's head", DATA[: span(F, 5)[0] + 9], [(20, -1, "F")]),
        Case("cut-in-plate", "cut off in the second plate", DATA[: span(P, 1)[1] - 9], [(16, -1, "F")]),
        Case(
            "open-cut", "as cut-in-foreground, of a stream that is being written", DATA[:in_foreground], open_ended=True
        ),
        Case(
            "open-no-background",
            "as cut-in-background, likewise",
            DATA[:in_background],
            [(20, 23, "B")],
            open_ended=True,
        ),
    ]


def hostile() -> list[Case]:
    """Checksums are right, contents are not. Where a fuzzer found what the reader got wrong, it is said."""
    long_parity = forged(X, 0, lambda p: replace(p, payload=p.payload[:68] + b"\0\0\0\x02" + p.payload[72:]))
    return [
        Case(
            "kind-9",
            "a chunk of a kind that does not exist",
            forged(F, 3, lambda p: replace(p, kind=9)),
            [(12, 15, "F")],
        ),
        Case("too-long", "a chunk of 4 GiB", forged(F, 3, lambda p: replace(p, length=(1 << 32) - 1)), [(12, 15, "F")]),
        Case(
            "no-frames",
            "a first chunk of no frames; the fuzzer's: its loss was taken for one without end",
            forged(F, 0, lambda p: replace(p, frames=0)),
            [(0, 7, "F"), (32, -1, "F")],
        ),
        Case(
            "first-sequence",
            "a first chunk with the number of the fourth; the fuzzer's: it came and was said to be lost",
            forged(F, 0, lambda p: replace(p, sequence=3)),
            [(4, 7, "F")],
        ),
        Case(
            "many-frames",
            "a chunk that says 256 frames",
            forged(F, 3, lambda p: replace(p, frames=256)),
            [(12, 15, "F")],
        ),
        Case(
            "unknown-flags",
            "a flag that does not exist",
            forged(F, 3, lambda p: replace(p, flags=128)),
            [(12, 15, "F")],
        ),
        Case(
            "overlap",
            "a key chunk that begins in the one before, after a gap; the fuzzer's: frame 3 came twice",
            forged(F, 2, lambda p: replace(p, first=7, sequence=9)),
            [(8, 15, "F")],
        ),
        Case(
            "plate-of-later",
            "a key frame with a plate index that nobody has",
            forged(F, 2, lambda p: replace(p, payload=b"\x01" + p.payload[1:])),
            [(8, 15, "F")],
        ),
        Case(
            "long-runs",
            "lengths of more frames than there are",
            forged(B, 2, lambda p: replace(p, payload=b"\x00\xff\xff\x7f" + p.payload)),
            [(8, 15, "B")],
        ),
        Case(
            "end-lies",
            "an end that counts two frames more",
            forged(E, 0, lambda p: replace(p, payload=b"\x22" + p.payload[1:])),
            [(32, -1, "F")],
        ),
        Case(
            "parity-lies",
            "a bit of a plate, and a parity chunk that says 32 MiB",
            flip(P, 0, -1, long_parity),
            [(0, 15, "F")],
        ),
        Case(
            "nothing-decodes",
            "no key frame; the fuzzer's: inspection stumbled over no GOP",
            forged(F, 0, lambda p: replace(p, flags=p.flags & ~1))[: span(F, 1)[0]],
            [(0, 3, "F")],
        ),
    ]


CASES = (*whole(), *plates(), *foreground(), *background(), *tails(), *hostile())


def judge(data: bytes, background: bytes | None, *, open_ended: bool) -> dict[str, Any]:
    """What a reader makes of it: frames that came out, faults and losses, or why it was refused."""
    try:
        reader = StreamReader(BytesIO(data), None if background is None else BytesIO(background), open_ended=open_ended)
    except StreamError as error:
        return {"refused": str(error)}
    frames = sum(1 for _ in reader.packets())
    return {
        "frames": frames,
        "losses": [_plain(loss) for loss in reader.losses],
        "faults": [_plain(fault) for fault in reader.faults],
    }


def _plain(item: Fault | Loss) -> list[object]:
    layer = item.layer.name.lower() if item.layer is not None else None
    frames = [item.frame] if isinstance(item, Fault) else [item.first, item.last]
    return [*frames, layer, item.offset, item.reason]


def files_of(case: Case) -> dict[str, bytes]:
    if case.background is None:
        return {f"{case.name}.fov": case.data}
    return {f"{case.name}.fg": case.data, f"{case.name}.bg": case.background}


def main() -> None:
    manifest = {}
    for case in CASES:
        found = judge(case.data, case.background, open_ended=case.open_ended)
        losses = found.get("losses")
        lost = None if losses is None else [(first, last, layer[0].upper()) for first, last, layer, *_ in losses]
        if lost != case.lost:
            raise SystemExit(f"{case.name}: lost {lost}, expected {case.lost}: {found}")
        files = files_of(case)
        for name, data in files.items():
            (HERE / name).write_bytes(data)
        manifest[case.name] = {"what": case.what, "files": list(files), "open_ended": case.open_ended, **found}
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")


if __name__ == "__main__":
    main()
