"""The learning curve's file and picture, and what fine-tuning is said to have gained."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from pipeline.training.curve import COLUMNS, QUALITIES, Curve, Gain, Point, Row


def row(step: int) -> Row:
    return {name: float(step + place) for place, name in enumerate(COLUMNS)} | {"step": step}


def test_rows_are_found_again_under_their_names(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "inter.csv")
    curve.begin(0)
    for step in (10, 20):
        curve.add(row(step))
    assert (tmp_path / "inter.csv").read_text().splitlines()[0].split(",") == list(COLUMNS)
    assert Curve(curve.path).rows == [row(10), row(20)]


def test_what_came_after_the_state_is_dropped(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "inter.csv")
    curve.begin(0)
    for step in (10, 20, 30):
        curve.add(row(step))
    again = Curve(curve.path)
    again.begin(20)
    again.add(row(25))
    assert [r["step"] for r in Curve(curve.path).rows] == [10, 20, 25]


def test_a_file_of_before_columns_had_names_is_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "intra.csv"
    path.write_text("\n".join(",".join(str(step + k) for k in range(16)) for step in (10, 20)) + "\n")
    curve = Curve(path)
    curve.begin(20)
    curve.add(row(30))
    steps = [(r["step"], r["q48_squared_error"], "seconds" in r) for r in Curve(path).rows]
    assert steps == [(10, 25, False), (20, 35, False), (30, 45, True)]
    curve.draw(tmp_path / "intra.png", "intra")
    assert cv2.imread(str(tmp_path / "intra.png")).shape[1] > 800


def points(bits: float = 1.0, squared_error: float = 1.0) -> list[Point]:
    """A curve whose error falls fourfold for each doubling of bits."""
    return [Point(10 * bits, bits * 2**k, squared_error * 1000 / 4**k) for k in range(len(QUALITIES))]


def test_the_gain_is_bits_at_equal_psnr() -> None:
    assert Gain(points(), points()).bits_percent == pytest.approx(0, abs=1e-6)
    assert Gain(points(), points(bits=0.8)).bits_percent == pytest.approx(-20)
    assert Gain(points(), points(squared_error=0.25)).bits_percent == pytest.approx(-50)  # 6 dB for a doubling
    assert Gain(points(), points(squared_error=1e-9)).bits_percent is None


def test_the_gain_is_told_and_written() -> None:
    gain = Gain(points(), points(bits=0.8))
    assert gain.lines()[0] == "q 12: loss 10.00 to 8.00 (-20.0 %), 1.000 to 0.800 bits, 37.44 to 37.44 dB"
    assert gain.lines()[-1] == "in all: bits at equal PSNR -20.0 %, loss -20.0 %"
    assert gain.as_json()["loss_percent"] == pytest.approx(-20)
    assert Gain(points(), points(squared_error=1e-9)).lines()[-1].startswith("in all: no PSNR in common")
