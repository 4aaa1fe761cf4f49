"""Forward and backward of a step, recorded once as a CUDA graph and played back: thousands of small operations without
the host, which would be the limit.

Nothing of a recording may depend on data: shapes are those of the first batch, and what is computed is padded
(`PaddedPositions`). What is random on the host is drawn before, and copied in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

# Of the positions of an inter batch, which are coded at most. The rest keep their prediction, the least worth first.
MOST_SHARE = 0.2
_WARM_UP = 3  # runs before the recording, in which libraries choose and allocate


class Recordable(Protocol):
    """A batch, of which everything that differs from step to step is in its tensors."""

    def tensors(self) -> list[Tensor]: ...


B = TypeVar("B", bound=Recordable)


class Recording(Generic[B]):
    """`losses` of batches like `batch` and the gradients of the first of them for `parameters`."""

    def __init__(self, losses: Callable[[B], Tensor], parameters: Sequence[nn.Parameter], batch: B) -> None:
        self._batch, self._parameters = deepcopy(batch), parameters
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_WARM_UP):
                self._forget()
                losses(self._batch)[0].backward()  # type: ignore[no-untyped-call]
        torch.cuda.current_stream().wait_stream(beside)
        self._forget()  # so that the recording allocates gradients of its own
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=beside):
            found = losses(self._batch)
            found[0].backward()  # type: ignore[no-untyped-call]
            self._losses = found.detach()
        self._gradients = [p.grad for p in parameters]

    def _forget(self) -> None:
        for parameter in self._parameters:
            parameter.grad = None

    def play(self, batch: B) -> Tensor:
        """The losses of a batch; its gradients are those of the parameters until the next."""
        torch._foreach_copy_(self._batch.tensors(), batch.tensors())
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._losses
