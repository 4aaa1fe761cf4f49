"""What `make demo` says of quality: the recorded archive against its source, beside x264 zero-latency in the same
run."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.bench.bdrate import Envelope
from pipeline.bench.clip import Clip
from pipeline.bench.quality import Distortion
from pipeline.bench.rd import Report, measure_opponents
from pipeline.errors import JobError
from pipeline.types import Frame, Masked

_OPPONENT = "x264-veryfast-zl"


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
        clip = Clip("demo", tuple(self._masked), self._fps)
        points = measure_opponents(clip, [_OPPONENT], own=[self._distortion], report=progress)
        weighted = self._distortion.weighted_psnr
        return DemoReport(
            foreground_psnr=self._distortion.foreground_psnr,
            background_psnr=self._distortion.background_psnr,
            weighted_psnr=weighted,
            raw_bytes=sum(item.frame.nbytes for item in self._masked),
            x264_bytes=Envelope(points, "weighted_psnr").nbytes(weighted),
        )
