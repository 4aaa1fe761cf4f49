"""Streams made in one way and decoded in another: symbols equal, pixels close.

`python -m tests.codec.cross_settings CLIP...` encodes each clip with {bf16 analysis, windows, 1 thread} and with {fp32,
whole frames, 2 threads}, and decodes each in both ways. With `--device cuda` the two ways are the CPU and that device.
A clip is a video, or an .npz that `fovea bench fleet --save` wrote, which needs no PyAV; without any a scene is drawn.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.bench.clipfile import SUFFIX, load_clip
from pipeline.bench.quality import Distortion
from pipeline.codec import Decoder, Encoder
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.errors import StreamError
from pipeline.track import RoiStage
from pipeline.types import Frame, Masked, Packet
from tests.codec.clips import walk
from tests.golden.make_codec import parsed

Sums = list[tuple[int, int] | None]  # of each frame: foreground, background; None where it does not decode


@dataclass(frozen=True)
class Way:
    """How a codec is run."""

    device: str = "cpu"
    threads: int = 1
    encoder: dict[str, bool] = field(default_factory=dict)
    decoder: dict[str, bool] = field(default_factory=dict)

    def __str__(self) -> str:
        return " ".join([self.device, *self.encoder])


SETTINGS = (Way(encoder={"bf16": True}), Way(threads=2, encoder={"whole": True}, decoder={"whole": True}))


def across(device: str) -> tuple[Way, Way]:
    """The CPU and another device."""
    return Way(threads=4), Way(device)


def encode(items: list[Masked], way: Way) -> tuple[Encoder, list[Packet]]:
    first = items[0].frame
    encoder = Encoder(width=first.width, height=first.height, threads=way.threads, device=way.device, **way.encoder)
    return encoder, encoder.encode_all([(item.frame, item.mask) for item in items])


def decode(encoder: Encoder, packets: list[Packet], way: Way) -> tuple[list[Frame | None], Sums]:
    decoder = Decoder(encoder.info, threads=way.threads, device=way.device, **way.decoder)
    frames: list[Frame | None] = []
    sums: Sums = []
    for packet in packets:
        try:
            frames.append(decoder.decode(packet))
            sums.append(parsed(decoder))
        except StreamError:
            frames.append(None)
            sums.append(None)
    return frames, sums


def _squared(a: Frame, b: Frame) -> float:
    """Mean squared error, YUV 6:1:1."""
    y, u, v = (float(np.square(p.astype(np.int16) - q).mean()) for p, q in ((a.y, b.y), (a.u, b.u), (a.v, b.v)))
    return (6 * y + u + v) / 8


def _psnr(squared: float) -> float:
    return 99.0 if squared == 0 else float(10 * np.log10(255**2 / squared))


def _apart(pairs: list[tuple[Frame, Frame]]) -> dict[str, object]:
    """How far two ways of decoding the same frames lie apart."""
    differences = [
        np.abs(getattr(a, name).astype(np.int16) - getattr(b, name)).ravel() for a, b in pairs for name in "yuv"
    ]
    squared = [_squared(a, b) for a, b in pairs]
    every = np.concatenate(differences)
    return {
        "largest": int(every.max()), "differing": round(float((every > 0).mean()), 6),
        "pooled_db": round(_psnr(float(np.mean(squared))), 2), "worst_db": round(_psnr(max(squared)), 2),
    }  # fmt: skip


def compare(items: list[Masked], ways: tuple[Way, Way] = SETTINGS) -> list[dict[str, object]]:
    """Each way's stream: how many frames have other symbols than their encoder's when decoded in either way, which the
    checksums tell, or are not the same when decoded in both; and how far the two decodings lie apart: `largest` in grey
    levels, `differing` the share of samples."""
    found = []
    for way in ways:
        encoder, packets = encode(items, way)
        (own, own_sums), (other, other_sums) = (decode(encoder, packets, each) for each in ways)
        differ = sum(a is None or a != b for a, b in zip(own_sums, other_sums, strict=True))
        line: dict[str, object] = {"encoded": str(way), "frames": len(items), "frames_with_other_symbols": differ}
        if not any(frame is None for frame in own + other):
            pairs = [(a, b) for a, b in zip(own, other, strict=True) if a is not None and b is not None]
            line |= _apart(pairs)
            ends = [k for k, packet in enumerate([*packets[1:], packets[0]]) if packet.key]
            gaps = [_gap(items[k], *pairs[k]) for k in ends if items[k].mask.cells.any()]
            line |= {"worst_gap_at_gop_end_db": round(max(gaps, default=0.0), 4), "gops": len(ends)}
        found.append(line)
    return found


def _gap(item: Masked, *shown: Frame) -> float:
    """Between the foreground's PSNR of two decodings."""
    values = []
    for frame in shown:
        distortion = Distortion()
        distortion.add(item.frame, frame, item.mask.cells)
        values.append(distortion.foreground_psnr)
    return abs(values[0] - values[1])


def read(path: Path, frames: int) -> list[Masked]:
    """A clip's first frames with their regions."""
    if path.suffix == SUFFIX:
        return list(load_clip(path).masked[:frames])
    from pipeline.source import open_source  # a machine with a GPU may have no PyAV

    with open_source(SourceConfig(url=str(path), frames=frames)) as source:
        return list(RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(source))


def drawn(frames: int, height: int = 240, width: int = 320) -> list[Masked]:
    """A scene with noise, so that both layers have work."""
    return [Masked(frame, mask) for frame, mask in walk(frames, height, width, noise=2.0)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--device", help="against the CPU: cuda")
    options = parser.parse_args()
    ways = across(options.device) if options.device else SETTINGS
    for path in options.clips or [None]:
        items = drawn(options.frames) if path is None else read(path, options.frames)
        for line in compare(items, ways):
            print("drawn" if path is None else path.name, json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
