"""How well `--bitrate` is kept: `python -m tests.codec.bitrate CLIP... [--share 0.6] [--seconds 60]`.

Each clip is repeated for that long and coded twice: at full quality, and with a share of the rate that this took. Says
how far from its target the second one lands, the fullest second, the most that was borrowed from the future, and the
quality of frames just after key frames beside that of all.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from pathlib import Path

import numpy as np

from pipeline.bench.quality import psnr
from pipeline.codec import Encoder
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import Frame, Masked

AFTER_KEY = 5  # frames


def repeated(frames: list[Frame], fps: float, seconds: float) -> Iterator[Frame]:
    """There and back again, so that no cut falls between two rounds."""
    period = [*frames, *frames[-2:0:-1]]
    for index in range(round(seconds * fps)):
        pts_us = round(index * 1e6 / fps)
        yield replace(period[index % len(period)], index=index, pts_us=pts_us, wall_us=pts_us)


def coded(items: list[Masked], quality: float, bitrate_bps: int | None) -> tuple[list[int], list[int], list[float]]:
    """Bytes of each frame without the plate, of each plate, and each frame's luma error in the foreground."""
    first = items[0].frame
    encoder = Encoder(
        width=first.width, height=first.height, quality=quality, bitrate_bps=bitrate_bps, threads=1, device="cpu"
    )
    sizes, plates, errors = [], [], []
    for item in items:
        packet = encoder.encode(item.frame, item.mask)
        sizes.append(packet.nbytes - len(packet.plate))
        plates.append(len(packet.plate))
        shown = encoder._geometry.crop(encoder._foreground.plane)[0]
        inside = item.mask.cells.repeat(16, 0).repeat(16, 1)[: first.height, : first.width]
        difference = np.square(item.frame.y.astype(np.int32) - shown)[inside]
        errors.append(float(difference.mean()) if difference.size else float("nan"))
    return sizes, plates, errors


def measure(path: Path, *, share: float, seconds: float, quality: float, frames: int) -> dict[str, object]:
    with open_source(SourceConfig(url=str(path), frames=frames)) as source:
        taken, fps = list(source), source.fps or 25.0
    items = list(RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(repeated(taken, fps, seconds)))
    free, free_plates, _ = coded(items, quality, None)
    target = share * 8 * (sum(free) + sum(free_plates)) / seconds
    sizes, plates, errors = coded(items, quality, round(target))
    whole = [size + plate for size, plate in zip(sizes, plates, strict=True)]
    budget = target / 8 / fps
    debt = list(accumulate((size - budget for size in sizes), lambda held, more: max(0.0, held + more)))
    period = round(2 * fps)  # the default GOP
    after = [e for k, e in enumerate(errors) if k >= period and 0 < k % period <= AFTER_KEY]
    second = round(fps)
    return {
        "clip": path.name,
        "full_quality_kbps": round(8 * (sum(free) + sum(free_plates)) / seconds / 1000, 1),
        "target_kbps": round(target / 1000, 1),
        "off_percent": round(100 * (8 * sum(whole) / seconds / target - 1), 2),
        "fullest_second": round(max(sum(sizes[k : k + second]) for k in range(len(sizes) - second)) * 8 / target, 2),
        "most_borrowed_s": round(max(debt) * 8 / target, 2),
        "foreground_psnr": round(psnr(float(np.nanmean(errors))), 2),
        "after_keys_psnr": round(psnr(float(np.nanmean(after))), 2),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--share", type=float, default=0.6)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--quality", type=float, default=60.0)
    parser.add_argument("--frames", type=int, default=300, help="of each clip, before it is repeated")
    options = vars(parser.parse_args())
    for path in options.pop("clips"):
        print(json.dumps(measure(path, **options)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
