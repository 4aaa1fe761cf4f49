"""How well `--bitrate` is kept: `python -m tests.codec.bitrate CLIP... [--share 0.6 0.35] [--seconds 60]`.

Each clip is coded once at full quality, then repeated for that long with a share of the rate that this took. Says how
far from its target that lands, plates included; without them the fullest second and the most that was borrowed from the
future, both in units of the target; the quality of frames just after key frames beside that of all; and how much the
quality step moved, from the sixth second on.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipeline.bench.quality import psnr
from pipeline.codec import Decoder, Encoder
from pipeline.codec.encoder import MINI_GOP
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import Frame, Masked

AFTER_KEY = 5  # frames
GOP_S, SEGMENT_S = 2.0, 60.0  # the encoder's defaults


def repeated(frames: list[Frame], fps: float, seconds: float) -> Iterator[Frame]:
    """There and back again, so that no cut falls between two rounds."""
    period = [*frames, *frames[-2:0:-1]]
    for index in range(round(seconds * fps)):
        pts_us = round(index * 1e6 / fps)
        yield replace(period[index % len(period)], index=index, pts_us=pts_us, wall_us=pts_us)


@dataclass(slots=True)
class Run:
    """Of each frame: bytes without the plate, those of the plate, luma error in the foreground, quality 0..63."""

    sizes: list[int] = field(default_factory=list)
    plates: list[int] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    qualities: list[int] = field(default_factory=list)


def coded(items: list[Masked], quality: float, bitrate_bps: int | None) -> Run:
    first, run = items[0].frame, Run()
    encoder = Encoder(
        width=first.width, height=first.height, quality=quality, bitrate_bps=bitrate_bps, threads=1, device="cpu"
    )
    decoder = Decoder(encoder.info, threads=1, device="cpu")
    for start in range(0, len(items), MINI_GOP):
        batch = items[start : start + MINI_GOP]
        packets = encoder.encode_all([(item.frame, item.mask) for item in batch])
        for item, packet in zip(batch, packets, strict=True):
            run.sizes.append(packet.nbytes - len(packet.plate))
            run.plates.append(len(packet.plate))
            run.qualities.append(encoder._rate._quality)
            shown = decoder.decode(packet, "foreground").y
            inside = item.mask.cells.repeat(16, 0).repeat(16, 1)[: first.height, : first.width]
            difference = np.square(item.frame.y.astype(np.int32) - shown)[inside]
            run.errors.append(float(difference.mean()) if difference.size else float("nan"))
    return run


def measure(path: Path, options: argparse.Namespace) -> Iterator[dict[str, object]]:
    config = SourceConfig(url=str(path), frames=options.frames, fps=options.fps, halve=options.halve)
    with open_source(config) as source:
        taken, fps = list(source), options.fps or source.fps or 25.0
    frames = repeated(taken, fps, options.seconds)
    items = list(RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(frames))
    free = coded(items[: len(taken)], options.quality, None)
    free_bps = 8 * (fps * float(np.mean(free.sizes)) + sum(free.plates) / SEGMENT_S)
    for share in options.share:
        target = round(share * free_bps)
        found = result(coded(items, options.quality, target), target, fps)
        yield {"clip": path.name, "fps": round(fps, 2), "share": share, "full_kbps": round(free_bps / 1000, 1)} | found


def result(run: Run, target: int, fps: float) -> dict[str, object]:
    seconds, second, whole = len(run.sizes) / fps, round(fps), sum(run.sizes) + sum(run.plates)
    budget = target / 8 / fps
    debt = accumulate((size - budget for size in run.sizes), lambda held, more: max(0.0, held + more))
    period = round(GOP_S * fps)
    after = [e for k, e in enumerate(run.errors) if k >= period and 0 < k % period <= AFTER_KEY]
    settled = np.diff(run.qualities[5 * second :])
    fullest = max(sum(run.sizes[k : k + second]) for k in range(len(run.sizes) - second))
    return {
        "target_kbps": round(target / 1000, 1),
        "landed_kbps": round(8 * whole / seconds / 1000, 1),
        "off_percent": round(100 * (8 * whole / seconds / target - 1), 2),
        "plates_percent": round(100 * sum(run.plates) / whole, 1),
        "fullest_second": round(fullest * 8 / target, 2),
        "most_borrowed_s": round(max(debt) * 8 / target, 2),
        "foreground_psnr": round(psnr(float(np.nanmean(run.errors))), 2),
        "after_keys_psnr": round(psnr(float(np.nanmean(after))), 2),
        "quality": [min(run.qualities), round(float(np.mean(run.qualities)), 1), max(run.qualities)],
        "steps_a_second": round(float(np.abs(settled).sum()) / (len(settled) / fps), 2),
        "largest_step": int(np.abs(settled).max()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--share", type=float, nargs="+", default=[0.6])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quality", type=float, default=60.0)
    parser.add_argument("--frames", type=int, default=300, help="of each clip, before it is repeated")
    parser.add_argument("--fps", type=float, help="at most so many frames a second")
    parser.add_argument("--halve", action="store_true", help="half width and height")
    options = parser.parse_args()
    for path in options.clips:
        for found in measure(path, options):
            print(json.dumps(found), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
