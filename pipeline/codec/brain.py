"""Nets and tables, and how they are run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.codec.exact import full_precision
from pipeline.codec.model import CodecNets, LayerInput
from pipeline.codec.state import Cells, Window
from pipeline.codec.tables import Counts, Tables
from pipeline.codec.threads import shared


@dataclass(frozen=True, slots=True)
class Brain:
    """Nets and tables, on a device, and how they are run. None of that changes what a stream says.

    `counts`, when given, collects what is coded (for fitting tables), and `watch` is told what the nets of each inter
    layer are given (for training). `bf16`: the analysis in bfloat16; it writes no plane. `whole`: nets over whole
    frames in place of the window that holds all of a layer's cells. `threads`: at most, of torch.
    """

    nets: CodecNets
    tables: Tables
    device: torch.device
    counts: Counts | None = None
    watch: Callable[[LayerInput], None] | None = None
    bf16: bool = False
    whole: bool = False
    threads: int = 1

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """How all that codes is run: inference in full precision, by one thread where `sharing` says nothing else."""
        with torch.inference_mode(), full_precision(self.device), self.sharing(0):
            yield

    def sharing(self, positions: int) -> AbstractContextManager[None]:
        """Work on so many positions is shared by as many threads as pay."""
        return shared(positions, self.threads)

    def window(self, cells: Cells) -> Window:
        return Window.around(np.ones_like(cells) if self.whole else cells)
