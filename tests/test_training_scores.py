"""Tables and scores are fitted to what is coded, also for nets whose file is there already."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from pipeline.codec import weights
from pipeline.codec.tables import Counts, initial_scores, initial_tables
from pipeline.training import export, refit
from pipeline.training.export import fit_tables
from pipeline.training.footage import read_clip
from tests.training_material import write_clip

OWN = weights.available()[weights.newest()]


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(export, "SETTINGS", ((45.0, 10.0),))
    write_clip(tmp_path / "clip.mkv", frames=8)
    return tmp_path / "clip.mkv"


def test_nets_get_new_tables(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.safetensors"
    assert refit.main([str(OWN), str(out), str(clip), "--frames", "8"]) == 0
    mark = bytes.fromhex(capsys.readouterr().out.strip())
    old, new = weights.read(OWN), weights.load(mark, "cpu", tmp_path)
    for name, value in old.nets.state_dict().items():
        assert torch.equal(value, new.nets.state_dict()[name])
    assert new.tables.rows != old.tables.rows
    for name, score in initial_scores().items():
        assert (new.tables.scores[name].hidden != score.hidden).any(), f"the {name} score was not fitted"


def test_what_was_fitted_takes_fewer_bits(clip: Path) -> None:
    """Than before anything was counted, by far; scores that are there already stay as they are."""
    nets, frames = weights.read(OWN).nets, read_clip(clip, most=8)

    def bits(tables: export.Tables) -> float:
        counts = Counts()
        brain = export.replace(export.Brain(nets, tables, torch.device("cpu")), counts=counts)
        export.encode(brain, frames, quality=45.0, gop_s=10.0)
        return sum(
            n * float(tables.costs(torch.tensor([row]).numpy(), torch.tensor([symbol]).numpy())[0])
            for row, seen in counts.rows.items()
            for symbol, n in seen.items()
        )

    first = fit_tables(nets, [frames], start=initial_tables())
    assert bits(first) < 0.9 * bits(initial_tables())
    again = fit_tables(nets, [frames], start=first)
    assert all((again.scores[name].hidden == first.scores[name].hidden).all() for name in first.scores)
    assert again.rows != first.rows
