"""Where the time of encoding goes, by a profiler of Python: shares of the whole in the order of the data."""

from __future__ import annotations

import cProfile
from collections.abc import Callable, Mapping

from pipeline.codec import deblock, layer, nets, rans
from pipeline.codec.change import ChangeDetector, CleanScene, block_means
from pipeline.codec.entropy import IndexNet, MeanNet
from pipeline.codec.model import quantise
from pipeline.codec.search import MotionSearch

# None of these calls another.
STAGES: Mapping[str, tuple[Callable[..., object], ...]] = {
    "change detection": (block_means, ChangeDetector.changed, ChangeDetector.differs, CleanScene.update),
    "worth coding": (layer.cells_worth_coding,),
    "motion search": (MotionSearch.choose,),
    "prediction": (layer.predict,),
    "analysis": (nets.Analysis.forward,),
    "entropy model": (IndexNet.begin, IndexNet.forward, MeanNet.forward, quantise),
    "entropy coding": (layer._write_side, rans.SymbolWriter.section, rans.joined),
    "synthesis": (nets.Synthesis.forward,),
    "edges": (deblock.smooth,),
}


def shares(work: Callable[[], object]) -> dict[str, float]:
    """Share of the time of `work`, which encodes, in each of STAGES, and the rest. On CUDA what a stage asks for is
    counted where it is waited for, unless the process runs with CUDA_LAUNCH_BLOCKING=1."""
    profile = cProfile.Profile()
    profile.runcall(_whole, work)
    profile.create_stats()
    spent = {key: cumulative for key, (_, _, _, cumulative, _) in profile.stats.items()}
    whole = spent[_key(_whole)]
    found = {name: sum(spent.get(_key(f), 0.0) for f in functions) / whole for name, functions in STAGES.items()}
    return found | {"rest": 1 - sum(found.values())}


def _whole(work: Callable[[], object]) -> None:
    work()


def _key(function: Callable[..., object]) -> tuple[str, int, str]:
    """As the profiler names it."""
    code = getattr(function, "__wrapped__", function).__code__
    return code.co_filename, code.co_firstlineno, code.co_name
