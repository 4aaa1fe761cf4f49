"""Streams made in one way and decoded in another: symbols equal, pixels close.

`python -m tests.codec.cross_settings CLIP...` encodes each clip with {bf16 analysis, windows, 1 thread} and with {fp32,
whole frames, 2 threads}, and decodes each in both ways.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from pipeline.bench.quality import Distortion
from pipeline.codec import Decoder, Encoder
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import Frame, Masked, Packet
from tests.golden.make_codec import parsed

SETTINGS = (({"bf16": True}, {"whole": False}, 1), ({"whole": True}, {"whole": True}, 2))
Sums = list[tuple[int, int]]


def encode(items: list[Masked], options: dict[str, bool], threads: int) -> tuple[Encoder, list[Packet], Sums]:
    first = items[0].frame
    encoder = Encoder(width=first.width, height=first.height, threads=threads, device="cpu", **options)
    packets, sums = [], []
    for item in items:
        packets.append(encoder.encode(item.frame, item.mask))
        sums.append((parsed(encoder._foreground), parsed(encoder._background)))
    return encoder, packets, sums


def decode(encoder: Encoder, packets: list[Packet], options: dict[str, bool], threads: int) -> tuple[list[Frame], Sums]:
    decoder = Decoder(encoder.info, threads=threads, device="cpu", **options)
    frames, sums = [], []
    for packet in packets:
        frames.append(decoder.decode(packet))
        sums.append((parsed(decoder._layers[0]), parsed(decoder._layers[1])))
    return frames, sums


def _squared(a: Frame, b: Frame) -> float:
    """Mean squared error, YUV 6:1:1."""
    y, u, v = (float(np.square(p.astype(np.int16) - q).mean()) for p, q in ((a.y, b.y), (a.u, b.u), (a.v, b.v)))
    return (6 * y + u + v) / 8


def _psnr(squared: float) -> float:
    return 99.0 if squared == 0 else float(10 * np.log10(255**2 / squared))


def compare(items: list[Masked]) -> list[dict[str, object]]:
    found = []
    for options, _, threads in SETTINGS:
        encoder, packets, made = encode(items, options, threads)
        (own, own_sums), (other, other_sums) = (decode(encoder, packets, s[1], s[2]) for s in SETTINGS)
        squared = [_squared(a, b) for a, b in zip(own, other, strict=True)]
        ends = [k for k, packet in enumerate([*packets[1:], packets[0]]) if packet.key]
        gaps = []
        for k in ends:
            if items[k].mask.cells.any():
                values = []
                for frames in (own, other):
                    distortion = Distortion()
                    distortion.add(items[k].frame, frames[k], items[k].mask.cells)
                    values.append(distortion.foreground_psnr)
                gaps.append(abs(values[0] - values[1]))
        differ = sum(not a == b == c for a, b, c in zip(made, own_sums, other_sums, strict=True))
        found.append({
            "encoded": options, "frames": len(items), "frames_with_other_symbols": differ,
            "pooled_db": round(_psnr(float(np.mean(squared))), 2), "worst_db": round(_psnr(max(squared)), 2),
            "worst_gap_at_gop_end_db": round(max(gaps, default=0.0), 4), "gops": len(ends),
        })  # fmt: skip
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--frames", type=int, default=300)
    options = parser.parse_args()
    for path in options.clips:
        with open_source(SourceConfig(url=str(path), frames=options.frames)) as source:
            items = list(RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(source))
        for line in compare(items):
            print(path.name, json.dumps(line), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
