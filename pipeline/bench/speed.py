"""`fovea bench speed`: time a frame, ours by stage and beside opponents, all on the same frames in the same run.

Every codec runs in this process on one thread, a round of each in turn, and the best round counts: on a busy machine
CPU seconds and ratios say more than seconds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pipeline.bench import opponents
from pipeline.bench.clip import Clip, Coded
from pipeline.bench.opponents import OPPONENTS, Attempt
from pipeline.bench.stages import shares
from pipeline.codec import Decoder, Encoder
from pipeline.codec.effort import BEST, EFFORTS
from pipeline.codec.warm import warm
from pipeline.types import Frame, LayerName, Masked, Packet, RoiMask

GOP_S = 2.0
SHARES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0)

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Timing:
    """One codec at one task, per frame."""

    codec: str
    task: str
    seconds: float
    cpu_seconds: float

    def __str__(self) -> str:
        return (
            f"{self.codec} {self.task}: {1000 * self.seconds:.1f} ms a frame, {1000 * self.cpu_seconds:.1f} ms of CPU"
        )


@dataclass(frozen=True, slots=True)
class Speed:
    """Of one clip. `stages`: share of the encoder's time."""

    clip: str
    width: int
    height: int
    frames: int
    foreground_share: float
    timings: tuple[Timing, ...]
    stages: Mapping[str, float]

    def of(self, codec: str, task: str) -> Timing:
        return next(t for t in self.timings if (t.codec, t.task) == (codec, task))


@dataclass(frozen=True, slots=True)
class Activity:
    """CPU seconds a frame at shares of the picture that are active, and the straight line through them."""

    points: tuple[tuple[float, float], ...]
    constant: float
    slope: float
    r_squared: float

    def __str__(self) -> str:
        shares = ", ".join(f"{share:.0%} {1000 * seconds:.1f}" for share, seconds in self.points)
        return (
            f"CPU ms a frame by active share: {shares}; {1000 * self.constant:.1f} + {1000 * self.slope:.1f} x share "
            f"(R2 {self.r_squared:.3f})"
        )


def measure_speed(
    clip: Clip, *, quality: float, names: Sequence[str], rounds: int, report: Report = lambda _: None
) -> Speed:
    """Time ours, with every effort, and the named opponents, each at the middle of its range of settings."""
    warm()  # what is compiled once is not a frame's
    best: dict[tuple[str, str], Timing] = {}
    for _ in range(rounds):
        for timing in (*_ours(clip, quality), *(t for name in names for t in _theirs(clip, name))):
            key = timing.codec, timing.task
            if key not in best or timing.cpu_seconds < best[key].cpu_seconds:
                best[key] = timing
    for timing in best.values():
        report(str(timing))
    return Speed(
        clip.name, clip.width, clip.height, len(clip), clip.foreground_share, tuple(best.values()),
        stages(clip, quality),
    )  # fmt: skip


def _ours(clip: Clip, quality: float) -> list[Timing]:
    encoder, packets = _encoder(clip, quality), list[Packet]()
    timings = [_timed("fovea", "encode", len(clip), lambda: packets.extend(_encoded(encoder, clip.masked)))]
    for effort in EFFORTS:
        if effort != encoder.effort:
            less = _encoder(clip, quality, effort)
            timings.append(_timed("fovea", f"encode {effort}", len(clip), partial(_encoded, less, clip.masked)))
    layers: tuple[tuple[str, LayerName], ...] = (("decode", "full"), ("decode foreground", "foreground"))
    for task, name in layers:
        decoder = Decoder(encoder.info, device="cpu")
        timings.append(_timed("fovea", task, len(clip), partial(_decoded, decoder, packets, name)))
    return timings


def _theirs(clip: Clip, name: str) -> list[Timing]:
    opponent = OPPONENTS[name]
    attempt = Attempt(opponent.settings[len(opponent.settings) // 2], round(GOP_S * clip.fps), 0.0)
    coded: list[Coded] = []
    encode = _timed(name, "encode", len(clip), lambda: coded.append(opponents.code(opponent, clip, attempt)))
    return [encode, _timed(name, "decode", len(clip), lambda: list(coded[0].frames))]


def _encoder(clip: Clip, quality: float, effort: str = BEST.name) -> Encoder:
    return Encoder(
        width=clip.width, height=clip.height, quality=quality, gop_us=round(GOP_S * 1e6), device="cpu", threads=1,
        bf16=False, effort=effort,
    )  # fmt: skip


def _encoded(encoder: Encoder, masked: Iterable[Masked]) -> list[Packet]:
    return encoder.encode_all([(item.frame, item.mask) for item in masked])


def _decoded(decoder: Decoder, packets: Iterable[Packet], name: LayerName) -> list[Frame]:
    return [decoder.decode(packet, name) for packet in packets]


def _timed(codec: str, task: str, frames: int, work: Callable[[], object]) -> Timing:
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Timing(codec, task, (time.perf_counter() - wall) / frames, (time.process_time() - cpu) / frames)


def stages(clip: Clip, quality: float) -> dict[str, float]:
    """Share of the encoder's time in each of STAGES, by a profiler, and the rest."""
    return shares(partial(_encoded, _encoder(clip, quality), clip.masked))


def measure_activity(clip: Clip, *, quality: float, shares: Sequence[float] = SHARES) -> Activity:
    """A clip that stands still but for a centred rectangle, which is the foreground; the first frame, with its plate,
    is not counted."""
    points = []
    for share in shares:
        items = list(_partly(clip, share))
        encoder = _encoder(clip, quality)
        encoder.encode(items[0].frame, items[0].mask)
        timing = _timed("fovea", "encode", len(items) - 1, partial(_encoded, encoder, items[1:]))
        points.append((float(items[0].mask.cells.mean()), timing.cpu_seconds))
    x, y = np.array(points).T
    slope, constant = (float(value) for value in np.polyfit(x, y, 1))
    left = float(np.square(y - (constant + slope * x)).sum())
    spread = float(np.square(y - y.mean()).sum())
    return Activity(tuple(points), constant, slope, 1 - left / spread if spread > 0 else 1.0)


def _partly(clip: Clip, share: float) -> Iterable[Masked]:
    first = clip.masked[0]
    cells = np.zeros_like(first.mask.cells)
    rows, cols = cells.shape
    tall, wide = round(rows * share**0.5), round(cols * share**0.5)
    top, left = (rows - tall) // 2, (cols - wide) // 2
    cells[top : top + tall, left : left + wide] = True
    mask = RoiMask(cells, np.where(cells, 255, 0).astype(np.uint8))
    for item in clip.masked:
        yield replace(item, frame=opponents.pasted(first.frame, item.frame, cells), mask=mask)


def as_text(speed: Speed) -> list[list[str]]:
    """Rows of a table: a title, timings with CPU time as parts of ours, stages."""
    title = f"{speed.clip}, {speed.width}x{speed.height}, {speed.foreground_share:.0%} foreground"
    rows = [[title, "ms a frame", "CPU ms", "of ours"]]
    for timing in speed.timings:
        ours = speed.of("fovea", timing.task.split()[0]).cpu_seconds
        rows.append(
            [
                f"{timing.codec} {timing.task}",
                f"{1000 * timing.seconds:.1f}",
                f"{1000 * timing.cpu_seconds:.1f}",
                f"{timing.cpu_seconds / ours:.2f}",
            ]
        )
    rows += [[f"  {name}", f"{share:.0%}", "", ""] for name, share in speed.stages.items()]
    return rows
