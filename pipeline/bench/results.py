"""Everything that a run measured, as frozen dataclasses and as JSON.

The JSON has `schema`, what it was measured with (`versions`, `machine`, `opponents`, `unavailable`, `rules`), a list of
`clips` with their `points`, `bd_rates` and `detections`, and `means` over clips. What cannot be told is null.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeAlias

from pydantic import TypeAdapter

from pipeline import __version__
from pipeline.bench import bdrate, opponents
from pipeline.bench.agreement import GOOD_F1, IOU, MIN_BOXES, Agreement, bytes_for, f1_at
from pipeline.bench.bdrate import BdRate, Mean, bd_rate, mean_over_clips
from pipeline.bench.clip import Clip
from pipeline.bench.quality import FOREGROUND_SHARE
from pipeline.bench.rd import GOPS_S, Point
from pipeline.codec import weights
from pipeline.codec.effort import BEST
from pipeline.codec.encoder import MINI_GOP
from pipeline.errors import UsageError

SCHEMA = 1

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"

_POINT = TypeAdapter(Point)


@dataclass(frozen=True, slots=True)
class Detections:
    """Ours beside an opponent where the opponent's F1 is GOOD_F1; None where a curve does not go there. There are none
    of a clip with fewer than MIN_BOXES."""

    opponent: str
    nbytes: int | None
    f1: float | None


@dataclass(frozen=True, slots=True)
class ClipResult:
    """What was measured on one clip. `digest` names its frames and masks; `effort` and `mini_gop`
    are Fovea's."""

    name: str
    digest: str
    width: int
    height: int
    fps: float
    frames: int
    skip: int
    halve: bool
    detector: str
    foreground_share: float
    effort: str
    mini_gop: int
    points: tuple[Point, ...]
    bd_rates: tuple[BdRate, ...]
    detections: tuple[Detections, ...]

    def of(self, codec: str) -> list[Point]:
        return [point for point in self.points if point.codec == codec]

    @property
    def source_boxes(self) -> int | None:
        """What the detector saw in the source; None where it was not asked."""
        return next((point.agreement.source for point in self.points if point.agreement), None)

    def rates(self, opponent: str) -> list[BdRate]:
        return [rate for rate in self.bd_rates if rate.opponent == opponent]


def clip_result(
    clip: Clip, points: Sequence[Point], *, skip: int, halve: bool, effort: str = BEST.name, mini_gop: int = MINI_GOP
) -> ClipResult:
    """Compare ours with every opponent among the points."""
    own = [point for point in points if point.codec == "fovea"]
    names = [name for name in dict.fromkeys(point.codec for point in points) if name != "fovea"]
    theirs = {name: [point for point in points if point.codec == name] for name in names}
    rates = [bd_rate(own, theirs[name], measure) for name in names for measure in bdrate.MEASURES]
    return ClipResult(
        name=clip.name,
        digest=clip.digest(),
        width=clip.width,
        height=clip.height,
        fps=clip.fps,
        frames=len(clip),
        skip=skip,
        halve=halve,
        detector=clip.detector,
        foreground_share=clip.foreground_share,
        effort=effort,
        mini_gop=mini_gop,
        points=tuple(points),
        bd_rates=tuple(rates),
        detections=tuple(_detections(own, theirs[name]) for name in names if _enough(own[0].agreement)),
    )


def _enough(agreement: Agreement | None) -> bool:
    return agreement is not None and agreement.source >= MIN_BOXES


def _detections(own: Sequence[Point], theirs: Sequence[Point]) -> Detections:
    variants = {(point.gop, point.offset) for point in theirs}
    curves = [_f1_curve(p for p in theirs if (p.gop, p.offset) == variant) for variant in sorted(variants)]
    reached = [size for size in (bytes_for(curve, GOOD_F1) for curve in curves) if not math.isnan(size)]
    if not reached:
        return Detections(theirs[0].codec, None, None)
    f1 = f1_at(_f1_curve(own), min(reached))
    return Detections(theirs[0].codec, round(min(reached)), None if math.isnan(f1) else f1)


def _f1_curve(points: Iterable[Point]) -> list[tuple[int, float]]:
    return [(point.nbytes, point.agreement.f1) for point in points if point.agreement]


@dataclass(frozen=True, slots=True)
class Results:
    """Of all clips. `unavailable`: opponents that this machine lacks, and why."""

    clips: tuple[ClipResult, ...]
    unavailable: tuple[tuple[str, str], ...] = ()

    @property
    def opponents(self) -> list[str]:
        return [name for name in opponents.OPPONENTS if any(clip.of(name) for clip in self.clips)]

    @property
    def means(self) -> list[Mean]:
        return mean_over_clips([rate for clip in self.clips for rate in clip.bd_rates])


def versions() -> dict[str, str]:
    """Of everything that has a say in the numbers."""
    return {"fovea": __version__, "weights": weights.newest().hex(), **opponents.versions()}


def to_json(results: Results) -> dict[str, Json]:
    """See the module."""
    whole: dict[str, object] = {
        "schema": SCHEMA,
        "versions": versions(),
        "machine": {"architecture": platform.machine(), "cores": os.cpu_count()},
        "rules": {
            "gops_s": list(GOPS_S),
            "foreground_weight": FOREGROUND_SHARE,
            "background_db": bdrate.BACKGROUND_DB,
            "min_overlap_db": bdrate.MIN_OVERLAP_DB,
            "min_points": bdrate.MIN_POINTS,
            "iou": IOU,
            "good_f1": GOOD_F1,
            "min_boxes": MIN_BOXES,
        },
        "opponents": [asdict(opponents.OPPONENTS[name]) for name in results.opponents],
        "unavailable": dict(results.unavailable),
        "clips": [_clip_json(clip) for clip in results.clips],
        "means": [asdict(mean) for mean in results.means],
    }
    return {key: plain(value) for key, value in whole.items()}


def _clip_json(clip: ClipResult) -> dict[str, object]:
    points = []
    for point in clip.points:
        agreed = point.agreement
        scores = {"precision": agreed.precision, "recall": agreed.recall, "f1": agreed.f1} if agreed else {}
        points.append(asdict(point) | {"agreement": asdict(agreed) | scores if agreed else None})
    return asdict(clip) | {"points": points}


def plain(value: object) -> Json:
    """Lists for tuples and null for what is not a number, which JSON does not know."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} has no place in the results")


def known_points(text: str, clip: Clip) -> list[Point]:
    """Opponents' points that an earlier run wrote as JSON for the very same frames, masks, codecs and presets. Raises
    UsageError for what is something else."""
    try:
        earlier = json.loads(text)
        if earlier["schema"] != SCHEMA:
            raise ValueError(f"schema {earlier['schema']}, expected {SCHEMA}")
        if any(earlier["versions"].get(name) != version for name, version in opponents.versions().items()):
            return []
        same = [preset["name"] for preset in earlier["opponents"] if preset == _preset(preset["name"])]
        digest = clip.digest()
        stored = [point for item in earlier["clips"] if item["digest"] == digest for point in item["points"]]
        return [_point(point) for point in stored if point["codec"] in same]
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"not the results of an earlier run: {error}") from error


def _preset(name: str) -> Json:
    return plain(asdict(opponents.OPPONENTS[name])) if name in opponents.OPPONENTS else None


def _point(stored: Mapping[str, object]) -> Point:
    return _POINT.validate_python(
        {key: math.nan if value is None and key != "agreement" else value for key, value in stored.items()}
    )
