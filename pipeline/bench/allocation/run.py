"""All of it, kept in a folder: VARIANT.pt, a variant's training, VARIANT.json with every photo's values as each is
measured, and at the end allocation.json with means and the comparison. A run that was stopped goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from torch import Tensor

from pipeline.bench.allocation.coding import Point, measure
from pipeline.bench.allocation.parallel import training_of
from pipeline.bench.allocation.photos import Scene, cut_crops, read_scenes
from pipeline.bench.allocation.surface import RESAMPLES, Saving, saving
from pipeline.bench.allocation.training import Plan, Trained, Training, train
from pipeline.bench.allocation.variants import ANCHOR, EXPLICIT, IMPLICIT, TOLD, VARIANTS, Variant
from pipeline.codec.exact import full_precision
from pipeline.codec.tables import initial_tables
from pipeline.errors import UsageError

QUALITIES = (20, 28, 36, 44, 52)
OUTSIDE = (0.0, 1 / 3, 2 / 3, 1.0)  # importance of the background: errors there count 1/32, 1/10, 1/3.2 and 1
BLIND = (0.5,)  # is all the same to it
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Measured:
    """A variant's points, one a quality and a background weight, and what its training came to, took and saw."""

    loss: float
    cpu_s: float
    data: int
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Every variant, and the savings: each against `mgfe`, and the best of both implicit kinds against the best
    explicit, each the one that needs fewest bits against `mgfe`."""

    plan: Plan
    photos: tuple[str, ...]
    measured: Mapping[str, Measured]
    savings: tuple[Saving, ...]

    def as_json(self) -> dict[str, object]:
        """Of plain values, with means over the photos."""
        return {
            "schema": 1,
            "plan": asdict(self.plan),
            "photos": list(self.photos),
            "savings": [asdict(each) for each in self.savings],
            "variants": {
                name: {"words": VARIANTS[name].words, "loss": each.loss, "cpu_s": each.cpu_s}
                | {"points": [point.mean() for point in each.points]}
                for name, each in self.measured.items()
            },
        }


def compare(
    images: Path, coco: Path, out: Path, *, plan: Plan, photos: int, names: Sequence[str], report: Report
) -> Comparison:
    """Measure the variants `names`, as they are trained in `out`; those that are not are trained first. Raises
    UsageError, SourceError, CodecError."""
    scenes = read_scenes(coco, photos)
    settings: dict[str, object] = {"plan": asdict(plan), "photos": [scene.name for scene in scenes]}
    crops = cache(lambda: cut_crops(images, plan.crops, seed=plan.seed))
    measured: dict[str, Measured] = {}
    out.mkdir(parents=True, exist_ok=True)
    for name in names:
        path = out / f"{name}.json"
        if (kept := _kept(path, settings)) is None:
            kept = _measured(VARIANTS[name], _trained(name, crops, plan, out, report), scenes, report)
            _write(path, settings | asdict(kept))
        measured[name] = kept
    if len({each.data for each in measured.values()}) > 1:
        raise UsageError(f"{out}: not all variants were trained on the same photos")
    report("comparing")
    made = Comparison(plan, tuple(scene.name for scene in scenes), measured, tuple(savings_of(measured)))
    _write(out / "allocation.json", made.as_json())
    return made


def _trained(name: str, crops: Callable[[], Tensor], plan: Plan, out: Path, report: Report) -> Trained:
    """From `out`, or else trained there."""
    path = training_of(name, out)
    if path.exists() and (run := Training.resumed(VARIANTS[name], plan, path)).done:
        return run.trained()
    return train(VARIANTS[name], crops(), plan, path, report=report).trained()


def _write(path: Path, content: Mapping[str, object]) -> None:
    """Whole or not at all."""
    part = path.with_suffix(".partial")
    part.write_text(json.dumps(content, indent=1))
    part.rename(path)


def _kept(path: Path, settings: Mapping[str, object]) -> Measured | None:
    """What an earlier run measured. Raises UsageError when it was of another plan."""
    if not path.exists():
        return None
    found = json.loads(path.read_text())
    if any(found[key] != value for key, value in settings.items()):
        raise UsageError(f"{path} is of another plan or other photos: choose another folder")
    points = (
        Point(p["q"], p["outside"], *(tuple(p[key]) for key in ("bpp", "inside_psnr", "outside_psnr")))
        for p in found["points"]
    )
    return Measured(found["loss"], found["cpu_s"], found["data"], tuple(points))


def _measured(variant: Variant, trained: Trained, scenes: list[Scene], report: Report) -> Measured:
    tables = initial_tables()
    with full_precision(scenes[0].blocks.device):
        points = tuple(
            measure(variant, trained.nets, tables, scenes, q, outside)
            for outside in (BLIND if variant.blind else OUTSIDE)
            for q in QUALITIES
        )
    report(f"{variant.name}: {len(points)} points on {len(scenes)} photos")
    return Measured(trained.loss, trained.cpu_s, trained.data, points)


def savings_of(measured: Mapping[str, Measured], *, resamples: int = RESAMPLES) -> list[Saving]:
    """Each against `mgfe`, in order, then against the best explicit the best implicit, of those whose decoder
    knows the region alone and of those whose decoder is told the importance; none without `mgfe`."""

    def between(name: str, anchor: str) -> Saving:
        return saving(name, measured[name].points, anchor, measured[anchor].points, resamples=resamples)

    if ANCHOR not in measured:
        return []
    found = [between(name, ANCHOR) for name in measured if name != ANCHOR]
    percents = {ANCHOR: 0.0} | {each.name: each.percent for each in found if each.percent is not None}
    explicit = _best(EXPLICIT, percents)
    for group in (IMPLICIT, TOLD):
        implicit = _best(group, percents)
        if implicit is not None and explicit is not None:
            found.append(between(implicit, explicit))
    return found


def _best(group: Sequence[str], percents: Mapping[str, float]) -> str | None:
    """Of those that were compared, the one that needs fewest bits."""
    return min((name for name in group if name in percents), key=percents.__getitem__, default=None)
