"""Nets and tables, and how they are run."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.codec.model import CodecNets
from pipeline.codec.state import Cells, Window
from pipeline.codec.tables import Counts, Tables
from pipeline.codec.threads import shared


@dataclass(frozen=True, slots=True)
class Brain:
    """Nets and tables, on a device, and how they are run. None of that changes what a stream says.

    `counts`, when given, collects what is coded (for fitting tables). `bf16`: the analysis in bfloat16; it writes no
    plane. `whole`: nets over whole frames in place of the window that holds all of a layer's cells. `threads`: at
    most, of torch.
    """

    nets: CodecNets
    tables: Tables
    device: torch.device
    counts: Counts | None = None
    bf16: bool = False
    whole: bool = False
    threads: int = 1

    def sharing(self, positions: int) -> AbstractContextManager[None]:
        """Work on so many positions is shared by as many threads as pay."""
        return shared(positions, self.threads)

    def window(self, cells: Cells) -> Window:
        return Window.around(np.ones_like(cells) if self.whole else cells)
