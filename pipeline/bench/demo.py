"""What `make demo` says of quality: the recorded archive against its source, beside x264 zero-latency in the same
run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.bench.opponents import OPPONENTS
from pipeline.bench.quality import Distortion
from pipeline.bench.rd import Report, bytes_at, measure_opponent
from pipeline.errors import JobError
from pipeline.replay import Replay
from pipeline.types import Masked


@dataclass(frozen=True, slots=True)
class DemoReport:
    """PSNR in 4:2:0 6:1:1, decibels; `x264_bytes` at the same weighted PSNR, NaN where its curve does not reach."""

    foreground_psnr: float
    background_psnr: float
    weighted_psnr: float
    raw_bytes: int
    x264_bytes: float

    @property
    def x264_known(self) -> bool:
        return not math.isnan(self.x264_bytes)


def demo_report(
    recorded: Replay, masked: Sequence[Masked], *, fps: float, report: Report = lambda _: None
) -> DemoReport:
    """Compare what the archive replays with the source it was recorded from; `masked` are the source's frames with the
    masks that the recording used. Raises JobError when frames are missing."""
    distortion = Distortion()
    count = 0
    for item, frame in zip(masked, recorded, strict=False):
        distortion.add(item.frame, frame, item.mask.cells)
        count += 1
    if count != len(masked):
        raise JobError(f"the archive gave back {count} of {len(masked)} frames")
    opponent = OPPONENTS["x264-zerolatency"]
    points = []
    for setting in opponent.settings:
        points.append(measure_opponent(opponent, masked, setting=setting, gop=round(10 * fps), fps=fps))
        report(f"x264 zero-latency, crf {setting}: {points[-1].weighted_psnr:.1f} dB")
    weighted = distortion.weighted_psnr
    return DemoReport(
        foreground_psnr=distortion.foreground_psnr,
        background_psnr=distortion.background_psnr,
        weighted_psnr=weighted,
        raw_bytes=sum(item.frame.nbytes for item in masked),
        x264_bytes=bytes_at(points, weighted),
    )
