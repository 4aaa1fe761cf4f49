"""What `make demo` says of quality: the recorded archive against its source, beside x264 zero-latency in the same
run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.bench.opponents import OPPONENTS
from pipeline.bench.quality import Distortion
from pipeline.bench.rd import Report, bytes_at, measure_opponent
from pipeline.errors import JobError
from pipeline.types import Frame, Masked


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


class DemoMeter:
    """Measures what an archive replays while it passes on its way to a file, so that it is decoded once.

    `masked`: the source's frames with the masks that the recording used.
    """

    def __init__(self, masked: Sequence[Masked], *, fps: float) -> None:
        self._masked, self._fps = masked, fps
        self._distortion = Distortion()
        self._count = 0

    def watch(self, recorded: Iterable[Frame]) -> Iterator[Frame]:
        """Hand the frames on, measured."""
        for item, frame in zip(self._masked, recorded, strict=False):
            self._distortion.add(item.frame, frame, item.mask.cells)
            self._count += 1
            yield frame

    def report(self, progress: Report = lambda _: None) -> DemoReport:
        """What came of it, beside x264 zero-latency. Raises JobError when frames are missing."""
        if self._count != len(self._masked):
            raise JobError(f"the archive gave back {self._count} of {len(self._masked)} frames")
        opponent = OPPONENTS["x264-zerolatency"]
        gop = round(10 * self._fps)
        points = []
        for setting in opponent.settings:
            points.append(measure_opponent(opponent, self._masked, setting=setting, gop=gop, fps=self._fps))
            progress(f"x264 zero-latency, crf {setting}: {points[-1].weighted_psnr:.1f} dB")
        weighted = self._distortion.weighted_psnr
        return DemoReport(
            foreground_psnr=self._distortion.foreground_psnr,
            background_psnr=self._distortion.background_psnr,
            weighted_psnr=weighted,
            raw_bytes=sum(item.frame.nbytes for item in self._masked),
            x264_bytes=bytes_at(points, weighted),
        )
