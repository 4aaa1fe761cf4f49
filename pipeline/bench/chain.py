"""The whole way of a frame, from the video that a camera sends to the archive: CPU time by stage, and how many frames a
second a runner brings through. Knows no runner but by its call.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from pipeline.bench.clip import Clip
from pipeline.config import CameraConfig, CodecConfig, DetectorConfig, SourceConfig
from pipeline.errors import JobError
from pipeline.export import export_mp4
from pipeline.graph import CameraPlan
from pipeline.local import CameraReport, Chain, SiteRun
from pipeline.recording import ArchiveSink
from pipeline.types import StreamInfo

CAMERA = "bench"
BATCH = 4  # frames a call; the first call, with the plate in it, is not counted
_NO_WEIGHTS = bytes(8)
_LONGEST_S = 3600.0

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ChainTimes:
    """CPU seconds a frame: `source` decodes the camera's video, `detector` makes the mask (tracks and all), `codec`
    the packets, `write` the archive."""

    frames: int
    source: float
    detector: float
    codec: float
    write: float

    @property
    def whole(self) -> float:
        return self.source + self.detector + self.codec + self.write


@dataclass(frozen=True, slots=True)
class Throughput:
    """Frames a second of one camera's chain, in one process and on Ray."""

    width: int
    height: int
    frames: int
    local_fps: float
    ray_fps: float

    @property
    def ratio(self) -> float:
        return self.ray_fps / self.local_fps

    def __str__(self) -> str:
        return (
            f"the chain of one camera, {self.frames} frames of {self.width}x{self.height}: {self.local_fps:.2f} frames "
            f"a second in one process, {self.ray_fps:.2f} on Ray, ratio {self.ratio:.2f}"
        )


def as_video(clip: Clip, path: Path) -> Path:
    """The clip as a camera would send it: H.264."""
    info = StreamInfo(
        clip.width, clip.height, _NO_WEIGHTS, fps=clip.fps, matrix=clip.matrix, full_range=clip.full_range
    )
    export_mp4((item.frame for item in clip.masked), path, info=info)
    return path


def plan_chain(video: Path, store: Path, *, detector: DetectorConfig, quality: float) -> CameraPlan:
    """A camera that this file is, on the CPU and one thread."""
    config = CameraConfig(
        source=SourceConfig(url=str(video)),
        detector=detector,
        codec=CodecConfig(quality=quality, threads=1, device="cpu"),
    )
    return CameraPlan(CAMERA, config, partial(ArchiveSink, store, CAMERA), BATCH)


def chain_times(plan: CameraPlan) -> ChainTimes:
    """Run the stages of a chain one after the other. Raises JobError where there is but one batch of frames."""
    source, detect, codec, sink = plan.source(), plan.detect(), plan.codec(), plan.sink()
    spent: dict[str, float] = {}
    count, ended = 0, False
    try:
        source.setup()
        detect.setup()
        codec.setup()
        while not ended:
            footage, counts = _timed(spent, "source", source.process)
            rois = _timed(spent, "detector", partial(detect.process, footage))
            coded = _timed(spent, "codec", partial(codec.process, footage, rois))
            _timed(spent, "write", partial(sink.process, coded))
            if counts.frames_in <= BATCH:
                spent.clear()
            else:
                count += len(footage.frames)
            ended = counts.ended
        _timed(spent, "write", sink.close)
    finally:
        sink.close()
        source.close()
    if not count:
        raise JobError(f"a chain is measured over more than {BATCH} frames")
    return ChainTimes(count, *(spent[name] / count for name in ("source", "detector", "codec", "write")))


def _timed(spent: dict[str, float], name: str, work: Callable[[], Result]) -> Result:
    began = time.process_time()
    result = work()
    spent[name] = spent.get(name, 0.0) + time.process_time() - began
    return result


def throughput(plan: CameraPlan, chain: Chain) -> float:
    """Frames a second that become durable between the first batch and the last. Raises JobError where the chain
    fails."""
    stored: list[tuple[float, int]] = []

    def watch(report: CameraReport, receipt: object) -> None:
        stored.append((time.monotonic(), report.counters.coded))

    job = SiteRun((plan,), chain=chain, watch=watch)
    job.start()
    if not job.wait(_LONGEST_S):
        job.stop()
        raise JobError("the chain did not end within an hour")
    if job.failed:
        raise JobError(f"the chain failed: {job.failed[0].error}")
    (first_s, first), (last_s, last) = stored[0], stored[-1]
    if last <= first:
        raise JobError(f"a chain is measured over more than {BATCH} frames")
    return (last - first) / (last_s - first_s)


def by_stage(times: ChainTimes, shares: Mapping[str, float]) -> dict[str, float]:
    """CPU seconds a frame of the whole chain in the order of the data, the codec's in its own stages."""
    codec = {name: share * times.codec for name, share in shares.items()}
    rest = codec.pop("rest", 0.0)
    return {
        "source": times.source, "detector": times.detector, **codec, "rest of the codec": rest, "write": times.write
    }  # fmt: skip
