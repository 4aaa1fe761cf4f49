"""A clip to rate-distortion points, of Fovea and of its opponents: same frames, same regions, one run."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from pipeline.bench import fovea, opponents
from pipeline.bench.agreement import GOOD_F1, Agreement, Witness, total
from pipeline.bench.clip import Clip, Coded
from pipeline.bench.opponents import Attempt, Opponent
from pipeline.bench.quality import Distortion, RgbDistortion
from pipeline.bench.structure import ms_ssim
from pipeline.codec.effort import BEST
from pipeline.codec.encoder import MINI_GOP

GOPS_S = (2.0, fovea.GOP_S)  # of opponents: as is usual for cameras, and long

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One codec at one setting. PSNR in decibels, in 8-bit 4:2:0 with YUV weighted 6:1:1 where it is not called RGB;
    MS-SSIM of the foreground's luma, the mean of frames that have any. What a clip has no region for is NaN.

    `gop` (frames) and `offset` (see Opponent) tell the curves of a codec apart.
    """

    codec: str
    setting: float
    gop: int
    offset: float = 0.0
    nbytes: int
    bits_per_pixel: float
    kbps: float
    foreground_psnr: float
    background_psnr: float
    weighted_psnr: float
    rgb_psnr: float
    ms_ssim: float
    agreement: Agreement | None = None

    def __str__(self) -> str:
        regions = f" offset {self.offset:g}" if self.offset else ""
        return (
            f"{self.codec} {self.setting:g}{regions}, GOP {self.gop}: {self.nbytes} bytes, {self.kbps:.1f} kbit/s, "
            f"foreground {self.foreground_psnr:.2f} dB, background {self.background_psnr:.2f} dB, weighted "
            f"{self.weighted_psnr:.2f} dB" + (f", F1 {self.agreement.f1:.3f}" if self.agreement else "")
        )


class Reached(Protocol):
    """A quality that others are asked to reach."""

    @property
    def foreground_psnr(self) -> float: ...
    @property
    def weighted_psnr(self) -> float: ...


def measure(
    clip: Clip,
    coded: Coded,
    *,
    codec: str,
    setting: float,
    gop: int,
    offset: float = 0.0,
    witness: Witness | None = None,
) -> Point:
    """Compare what a codec made of a clip with the clip. Takes `coded.frames`."""
    distortion, rgb = Distortion(), RgbDistortion(matrix=clip.matrix, full_range=clip.full_range)
    similar, agreed = [], []
    for item, frame in zip(clip.masked, coded.frames, strict=True):
        distortion.add(item.frame, frame, item.mask.cells)
        rgb.add(item.frame, frame)
        if item.mask.cells.any():
            similar.append(ms_ssim(item.frame.y, frame.y, item.mask.cells))
        if witness is not None:
            agreed.append(witness.compare(frame))
    return Point(
        codec=codec,
        setting=setting,
        gop=gop,
        offset=offset,
        nbytes=coded.nbytes,
        bits_per_pixel=coded.nbytes * 8 / (len(clip) * clip.width * clip.height),
        kbps=coded.nbytes * 8 / clip.seconds / 1000,
        foreground_psnr=distortion.foreground_psnr,
        background_psnr=distortion.background_psnr,
        weighted_psnr=distortion.weighted_psnr,
        rgb_psnr=rgb.psnr,
        ms_ssim=sum(similar) / len(similar) if similar else math.nan,
        agreement=total(agreed) if witness is not None else None,
    )


def measure_fovea(
    clip: Clip, qualities: Sequence[float], *, gop_s: float = fovea.GOP_S, effort: str = BEST.name,
    mini_gop: int = MINI_GOP, witness: Witness | None = None, report: Report = lambda _: None,
) -> list[Point]:  # fmt: skip
    """A point a quality."""
    gop = min(round(gop_s * clip.fps), len(clip))
    points = []
    for quality in qualities:
        coded = fovea.code(clip, quality, gop_s=gop_s, effort=effort, mini_gop=mini_gop)
        points.append(measure(clip, coded, codec="fovea", setting=quality, gop=gop, witness=witness))
        report(str(points[-1]))
    return points


def measure_opponents(
    clip: Clip,
    names: Sequence[str],
    *,
    own: Sequence[Reached],
    known: Iterable[Point] = (),
    witness: Witness | None = None,
    jobs: int = 1,
    report: Report = lambda _: None,
) -> list[Point]:
    """Points of the named opponents over the range of quality of `own`, with both GOPs and every offset: which of them
    is best is seen when curves are compared. Points that are `known` are not measured again. `jobs` curves at a time.
    """
    at_hand = {(p.codec, p.setting, p.gop, p.offset): p for p in known}
    work = []
    for opponent in (opponents.OPPONENTS[name] for name in names):
        for gop in gops(opponent, clip):
            for offset in opponent.offsets:
                tried = partial(_tried, clip, opponent, gop, offset, at_hand=at_hand, witness=witness, report=report)
                work.append(partial(spanning, opponent.settings, tried, own))
    with ThreadPoolExecutor(jobs) as pool:
        curves = [pool.submit(curve) for curve in work]
        try:
            return [point for curve in curves for point in curve.result()]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)  # an interrupt must not wait for what has not begun
            raise


def gops(opponent: Opponent, clip: Clip) -> list[int]:
    """GOPs to try, in frames. Those that last longer than the clip are one and the same."""
    if opponent.codec == "jpeg":
        return [1]
    return sorted({min(round(seconds * clip.fps), len(clip)) for seconds in GOPS_S})


def _tried(
    clip: Clip,
    opponent: Opponent,
    gop: int,
    offset: float,
    setting: int,
    *,
    at_hand: dict[tuple[str, float, int, float], Point],
    witness: Witness | None,
    report: Report,
) -> Point:
    if point := at_hand.get((opponent.name, setting, gop, offset)):
        return point
    coded = opponents.code(opponent, clip, Attempt(setting, gop, offset))
    point = measure(clip, coded, codec=opponent.name, setting=setting, gop=gop, offset=offset, witness=witness)
    report(str(point))
    return point


def spanning(settings: Sequence[int], point_at: Callable[[int], Point], own: Sequence[Reached]) -> list[Point]:
    """Points at as many settings, coarse to fine, as it takes to reach below and above the quality of `own`, by
    foreground as well as by weighted PSNR, and down to where a detector notices, if one was asked."""
    middle = len(settings) // 2
    points = [point_at(settings[middle])]
    for setting in reversed(settings[:middle]):
        seen = points[0].agreement
        if _beyond(points[0], own, sign=-1) and (seen is None or seen.f1 < GOOD_F1):
            break
        points.insert(0, point_at(setting))
    for setting in settings[middle + 1 :]:
        if _beyond(points[-1], own, sign=1):
            break
        points.append(point_at(setting))
    return points


def _beyond(point: Point, own: Sequence[Reached], *, sign: int) -> bool:
    """Better (1) or worse (-1) than all. A foreground that is not there is no obstacle."""
    return all(
        sign * point.weighted_psnr >= sign * p.weighted_psnr
        and not sign * point.foreground_psnr < sign * p.foreground_psnr
        for p in own
    )
