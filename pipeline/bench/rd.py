"""Rate-distortion curves of Fovea and its opponents on one clip: same frames, same regions, one run."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from uuid import uuid4

import numpy as np

from pipeline.bench import opponents
from pipeline.bench.quality import Distortion
from pipeline.bitstream import StreamWriter
from pipeline.codec import Decoder, Encoder, Tuning
from pipeline.codec.layer import Brain
from pipeline.types import Masked

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Point:
    """One codec at one setting."""

    codec: str
    setting: float
    bytes: int
    foreground_psnr: float
    background_psnr: float
    weighted_psnr: float


def measure_fovea(
    masked: Sequence[Masked],
    *,
    quality: float,
    gop_us: int = 2_000_000,
    bitrate_bps: int | None = None,
    tuning: Tuning | None = None,
    brain: Brain | None = None,
) -> Point:
    """Encode, decode from the packets, and count the whole file, container and second plate included."""
    first = masked[0].frame
    encoder = Encoder(
        width=first.width,
        height=first.height,
        quality=quality,
        bitrate_bps=bitrate_bps,
        gop_us=gop_us,
        tuning=tuning,
        brain=brain,
    )
    decoder = Decoder(encoder.info, brain=brain)
    file = io.BytesIO()
    writer = StreamWriter(encoder.info, uuid4().bytes, foreground=file, background=file)
    distortion = Distortion()
    for item in masked:
        packet = encoder.encode(item.frame, item.mask)
        writer.append(packet)
        distortion.add(item.frame, decoder.decode(packet), item.mask.cells)
    writer.close()
    return _point("fovea", quality, len(file.getvalue()), distortion)


def measure_opponent(
    opponent: opponents.Opponent, masked: Sequence[Masked], *, setting: int, gop: int, fps: float
) -> Point:
    """The same for another codec."""
    frames = [item.frame for item in masked]
    size, decoded = opponents.run(opponent, frames, setting=setting, gop=gop, fps=fps)
    distortion = Distortion()
    for item, frame in zip(masked, decoded, strict=True):
        distortion.add(item.frame, frame, item.mask.cells)
    return _point(opponent.name, setting, size, distortion)


def _point(codec: str, setting: float, size: int, d: Distortion) -> Point:
    return Point(codec, setting, size, d.foreground_psnr, d.background_psnr, d.weighted_psnr)


def bytes_at(points: Iterable[Point], psnr: float, *, measure: str = "weighted_psnr") -> float:
    """Bytes of a curve where its measure is `psnr`: log-linear between the two nearest points, NaN outside the
    curve."""
    curve = sorted((getattr(p, measure), math.log(p.bytes)) for p in points)
    values = [v for v, _ in curve]
    if not curve or not values[0] <= psnr <= values[-1]:
        return math.nan
    return math.exp(float(np.interp(psnr, values, [b for _, b in curve])))


def curves(
    masked: Sequence[Masked],
    *,
    names: Sequence[str],
    qualities: Sequence[float],
    fps: float,
    gop_s: float = 2.0,
    report: Report = lambda _: None,
) -> list[Point]:
    """Every point of Fovea and of the named opponents. Opponents have their GOP as ours and of 10 s; the better of the
    two at each setting (fewer bytes a decibel, in practice the longer) is theirs to keep: both are returned."""
    points = []
    for quality in qualities:
        points.append(measure_fovea(masked, quality=quality, gop_us=round(gop_s * 1e6)))
        report(_line(points[-1], len(masked)))
    for name in names:
        opponent = opponents.OPPONENTS[name]
        gops = {round(gop_s * fps), round(10 * fps)} if opponent.codec != "jpeg" else {1}
        for setting in opponent.settings:
            tried = [measure_opponent(opponent, masked, setting=setting, gop=g, fps=fps) for g in sorted(gops)]
            points.append(min(tried, key=lambda p: p.bytes))
            report(_line(points[-1], len(masked)))
    return points


def _line(point: Point, frames: int) -> str:
    return (
        f"{point.codec:>17} {point.setting:>5g}: {point.bytes:>9} bytes, foreground {point.foreground_psnr:.2f} dB, "
        f"background {point.background_psnr:.2f} dB, weighted {point.weighted_psnr:.2f} dB ({frames} frames)"
    )
