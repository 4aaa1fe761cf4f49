"""A family's learning curve: a CSV with a row for each validation, and a picture of it. Knows no nets."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

QUALITIES = (12, 24, 36, 48)  # that are validated
_POINT = ("loss", "bits", "squared_error")
COLUMNS = (
    "step", *_POINT, *(f"q{q}_{name}" for q in QUALITIES for name in _POINT), "seconds", "rate", "skipped",
)  # fmt: skip
Row = dict[str, float]


@dataclass(frozen=True, slots=True)
class Point:
    """Means over held-back samples at one quality. `bits` and `squared_error` are of a position (64 luma samples and
    their chroma; the error in the 6:1:1 measure)."""

    loss: float
    bits: float
    squared_error: float

    @property
    def psnr_db(self) -> float:
        return 10 * math.log10(255**2 * 64 / 0.75 / max(self.squared_error, 1e-9))


def points_of(row: Row) -> list[Point]:
    """A row's validation, at each of QUALITIES."""
    return [Point(*(row[f"q{q}_{name}"] for name in _POINT)) for q in QUALITIES]


class Curve:
    """The rows of FAMILY.csv. A row of before the columns had names is as long as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[Row] = []
        if path.exists():
            lines = list(csv.reader(path.read_text().splitlines()))
            named = bool(lines) and lines[0][:1] == ["step"]
            columns = lines[0] if named else COLUMNS
            pairs = (zip(columns, line, strict=False) for line in lines[named:])
            self.rows = [{name: float(value) for name, value in row if value} for row in pairs]

    def begin(self, step: int) -> None:
        """Go on from a state of this step: what an earlier run wrote after it never was."""
        self.rows = [row for row in self.rows if row["step"] <= step]
        temporary = self.path.with_suffix(".partial")
        with temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(COLUMNS)
            writer.writerows(_line(row) for row in self.rows)
        temporary.rename(self.path)

    def add(self, row: Row) -> None:
        self.rows.append(row)
        with self.path.open("a", newline="") as file:
            csv.writer(file).writerow(_line(row))

    @property
    def validated(self) -> int:
        """The last step that has a row, 0 when none has."""
        return int(self.rows[-1]["step"]) if self.rows else 0

    def draw(self, out: Path, title: str) -> None:
        """A PNG: the losses over the steps, and the rate-distortion curve at the first and the last validation."""
        import matplotlib

        matplotlib.use("Agg")
        from matplotlib import pyplot

        steps = [row["step"] for row in self.rows]
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
        left.plot(steps, [row["loss"] for row in self.rows], color="#888888", label="training")
        for number, q in enumerate(QUALITIES):
            left.plot(steps, [points_of(row)[number].loss for row in self.rows], label=f"held back, q {q}")
        left.set(xlabel="step", ylabel="loss", yscale="log", title=title)
        for row, style in ((self.rows[0], ":"), (self.rows[-1], "-")):
            points = points_of(row)
            bits, psnr = [p.bits for p in points], [p.psnr_db for p in points]
            right.plot(bits, psnr, style, color="#d62839", marker="o", label=f"step {row['step']:.0f}")
        right.set(xlabel="bits a position", ylabel="PSNR 6:1:1, dB", xscale="log", title="held back")
        for axes in (left, right):
            axes.grid(alpha=0.25)
            axes.legend()
        figure.savefig(out, dpi=110)
        pyplot.close(figure)


def _line(row: Row) -> list[str]:
    return [f"{row[name]:.7g}" if name in row else "" for name in COLUMNS]


@dataclass(frozen=True, slots=True)
class Gain:
    """What training changed, on the same held-back samples before and after, at each of QUALITIES. Where every quality
    has samples of its own (`apart`) there are no curves of rate and distortion to compare."""

    before: Sequence[Point]
    after: Sequence[Point]
    apart: bool = False

    @property
    def bits_percent(self) -> float | None:
        """Bits at equal PSNR, mean over the range of PSNR that both reach; None where there is no such range."""
        if self.apart:
            return None
        (x0, y0), (x1, y1) = (_by_psnr(points) for points in (self.before, self.after))
        low, high = max(x0[0], x1[0]), min(x0[-1], x1[-1])
        if low >= high:
            return None
        psnr = np.linspace(low, high, 100)
        return 100 * float(np.expm1((np.interp(psnr, x1, y1) - np.interp(psnr, x0, y0)).mean()))

    @property
    def loss_percent(self) -> float:
        """Of the loss, mean over the qualities."""
        changes = [new.loss / old.loss - 1 for old, new in zip(self.before, self.after, strict=True)]
        return 100 * sum(changes) / len(changes)

    def lines(self) -> list[str]:
        """For people: a line for each quality, and one for all."""
        found = [
            f"q {q}: loss {old.loss:.2f} to {new.loss:.2f} ({100 * (new.loss / old.loss - 1):+.1f} %), "
            f"{old.bits:.3f} to {new.bits:.3f} bits, {old.psnr_db:.2f} to {new.psnr_db:.2f} dB"
            for q, old, new in zip(QUALITIES, self.before, self.after, strict=True)
        ]
        bits = "no PSNR in common" if self.bits_percent is None else f"bits at equal PSNR {self.bits_percent:+.1f} %"
        return [*found, f"in all: {'' if self.apart else bits + ', '}loss {self.loss_percent:+.1f} %"]

    def as_json(self) -> dict[str, object]:
        def shown(points: Sequence[Point]) -> list[dict[str, float]]:
            return [
                {"q": q, "loss": p.loss, "bits": p.bits, "psnr_db": p.psnr_db}
                for q, p in zip(QUALITIES, points, strict=True)
            ]

        return {
            "before": shown(self.before),
            "after": shown(self.after),
            "bits_at_equal_psnr_percent": self.bits_percent,
            "loss_percent": self.loss_percent,
        }


def _by_psnr(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    """PSNR rising, and the logarithm of the bits there."""
    ordered = sorted((p.psnr_db, math.log(max(p.bits, 1e-6))) for p in points)
    return [psnr for psnr, _ in ordered], [bits for _, bits in ordered]
