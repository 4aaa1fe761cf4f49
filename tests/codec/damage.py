"""Single-bit flips in a real stream: each is detected or harmless, and costs at most the GOP that it hits.

`python -m tests.codec.damage --frames 300 --flips 10000 --symbols 10000 --pixels 200` is the long run; test_damage.py
makes a short one. Three kinds of flip: of any bit of the file; of a bit of a payload behind the container's checksums,
which the symbols' checksum must notice; and of any bit of the file, with all that can still be decoded shown and
compared.
"""

from __future__ import annotations

import argparse
import io
import json
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from itertools import takewhile
from uuid import UUID

import numpy as np
import numpy.typing as npt

from pipeline.bitstream import StreamReader, StreamWriter
from pipeline.codec import Decoder, Encoder
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.errors import StreamError
from pipeline.replay import decode_stream
from pipeline.track import RoiStage
from pipeline.types import Frame, Packet, StreamInfo

GOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Recording:
    """A stream, its packets as a reader gives them, and for each frame the number of its GOP."""

    info: StreamInfo
    data: bytes
    packets: dict[int, Packet]
    gop: dict[int, int]


def record(frames: int, *, width: int = 320, height: int = 240) -> Recording:
    """The demo scene, ten frames a second."""
    from pipeline.source import open_source  # a machine with a GPU may have no PyAV

    with open_source(SourceConfig(url=f"demo://street?size={width}x{height}", frames=frames)) as source:
        encoder = Encoder(
            width=source.width, height=source.height, quality=45.0, gop_us=round(GOP_S * 1e6), fps=source.fps, threads=1
        )
        out = io.BytesIO()
        writer = StreamWriter(encoder.info, UUID(int=1).bytes, foreground=out, background=out)
        masked = RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(source)
        for packet in encoder.encode_all([(each.frame, each.mask) for each in masked]):
            writer.append(packet)
        writer.close()
    packets = {
        item.packet.index: item.packet for item in StreamReader(io.BytesIO(out.getvalue()), strict=True).packets()
    }
    gops = np.cumsum([packet.key for packet in packets.values()]).tolist()
    return Recording(encoder.info, out.getvalue(), packets, dict(zip(packets, gops, strict=True)))


@dataclass(slots=True)
class Outcome:
    """Of how many flips. `beyond`: those that cost more than a GOP; `unseen`: damage that nobody reported."""

    flips: int = 0
    harmless: int = 0
    detected: int = 0
    unseen: int = 0
    beyond: int = 0
    most_frames_lost: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def because(self, reason: str) -> None:
        """Count a reason; numbers in it do not make another."""
        reason = re.sub(r"[0-9a-f]*\d[0-9a-f]*", "N", reason)
        self.reasons[reason] = self.reasons.get(reason, 0) + 1


def flip(data: bytes, bit: int) -> bytes:
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def _count(outcome: Outcome, recording: Recording, whole: set[int], *, reported: bool) -> None:
    """`whole`: the frames that came through as they were."""
    lost = set(recording.packets) - whole
    outcome.flips += 1
    outcome.harmless += not lost and not reported
    outcome.detected += reported
    outcome.unseen += bool(lost) and not reported
    outcome.beyond += len({recording.gop[index] for index in lost}) > 1
    outcome.most_frames_lost = max(outcome.most_frames_lost, len(lost))


def flip_file(recording: Recording, flips: int, rng: np.random.Generator) -> Outcome:
    """Any bit of the file. A packet that comes through unchanged decodes to the same symbols, so packets are
    compared."""
    outcome = Outcome()
    for bit in rng.integers(8 * len(recording.data), size=flips).tolist():
        try:
            reader = StreamReader(io.BytesIO(flip(recording.data, bit)))
            items = list(reader.packets())
            reader.check_index()
        except StreamError as error:
            outcome.because(f"not readable: {error}")
            _count(outcome, recording, set(), reported=True)
            continue
        whole = {
            item.packet.index
            for item in items
            if not item.background_lost and item.packet == recording.packets.get(item.packet.index)
        }
        _count(outcome, recording, whole, reported=bool(reader.faults))
        for fault in reader.faults[:1]:
            outcome.because(fault.reason)
    return outcome


def flip_payloads(recording: Recording, flips: int, rng: np.random.Generator) -> Outcome:
    """Bits of plates and of the layers of key frames and of what opens a mini-GOP after them, past the container's
    checksums. A packet that was not refused is harmless if what hangs on it is shown as it is in the whole stream (the
    last bits of an entropy-coded stream may say nothing), else unseen."""
    outcome = Outcome()
    whole = list(recording.packets.values())
    packets = [replace(packet, plate=b"") for packet in whole]
    plate = next(packet.plate for packet in whole if packet.plate)
    decoder = Decoder(recording.info, device="cpu", threads=1)
    decoder.set_plate(plate)
    expected = {packet.index: decoder.decode(packet) for packet in packets}
    chosen = [n for n, packet in enumerate(packets) if packet.key or (packets[n - 1].key and packet.nbytes)]
    for _ in range(flips):
        n = chosen[int(rng.integers(len(chosen)))]
        packet = whole[n]
        if not packet.key:
            decoder.decode(packets[n - 1])
        part = str(rng.choice([name for name in ("plate", "foreground", "background") if getattr(packet, name)]))
        data = getattr(packet, part)
        damaged = replace(packet, **{part: flip(data, int(rng.integers(8 * len(data))))})
        if part != "plate":
            damaged = replace(damaged, plate=b"")
        outcome.flips += 1
        try:
            shown = [decoder.decode(damaged)]
            if not packet.key:
                shown += [decoder.decode(later) for later in _until_key(packets[n + 1 :])]
            same = all(_same(frame, expected[frame.index]) for frame in shown)
        except StreamError as error:
            outcome.detected += 1
            outcome.because(str(error))
        else:
            outcome.harmless += same
            outcome.unseen += not same
        if part == "plate":
            decoder.set_plate(plate)
    return outcome


def _until_key(packets: list[Packet]) -> Iterator[Packet]:
    return takewhile(lambda packet: not packet.key, packets)


def flip_and_show(recording: Recording, flips: int, rng: np.random.Generator) -> Outcome:
    """Any bit of the file, through to pixels: what is shown of the GOP that is hit, and of the one before and after
    it, is what the whole stream shows. Other GOPs depend on neither."""
    outcome = Outcome()
    decoder = Decoder(recording.info, device="cpu", threads=1)
    expected = {f.index: f for f in decode_stream(StreamReader(io.BytesIO(recording.data), strict=True), decoder)}
    last = max(recording.gop.values())
    for bit in rng.integers(8 * len(recording.data), size=flips).tolist():
        reader = StreamReader(io.BytesIO(flip(recording.data, bit)))
        items = {item.packet.index: item for item in reader.packets()}
        changed = [k for k, packet in recording.packets.items() if k not in items or items[k].packet != packet]
        hit = recording.gop[changed[0]] if changed else int(rng.integers(1, last + 1))
        near = {k for k, number in recording.gop.items() if abs(number - hit) <= 1}
        whole = set(recording.packets) - near
        for frame in decode_stream(reader, decoder, start=reader.find(index=min(near))):
            if frame.index > max(near):
                break
            if _same(frame, expected[frame.index]):
                whole.add(frame.index)
        _count(outcome, recording, whole, reported=bool(reader.faults))
    return outcome


def _same(a: Frame, b: Frame) -> bool:
    planes: list[tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]] = [(a.y, b.y), (a.u, b.u), (a.v, b.v)]
    return all(np.array_equal(x, y) for x, y in planes)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--flips", type=int, default=10_000)
    parser.add_argument("--symbols", type=int, default=10_000)
    parser.add_argument("--pixels", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    recording = record(options.frames)
    print(
        f"{len(recording.data)} bytes, {len(recording.packets)} frames, {max(recording.gop.values())} GOPs", flush=True
    )
    found = {}
    for name, run, flips in (
        ("file", flip_file, options.flips),
        ("payloads", flip_payloads, options.symbols),
        ("pixels", flip_and_show, options.pixels),
    ):
        found[name] = run(recording, flips, np.random.default_rng(options.seed))
        print(name, json.dumps(asdict(found[name])), flush=True)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB")
    return int(any(o.beyond or o.unseen for o in found.values()))


if __name__ == "__main__":
    sys.exit(main())
