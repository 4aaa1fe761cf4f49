"""A training run's state on disk, FAMILY.pt: read without unpickling code, written between steps only. Its keys stay,
so that old runs go on."""

from __future__ import annotations

import os
import pickle
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.codec import weights
from pipeline.codec.model import CodecNets
from pipeline.codec.nets import Block
from pipeline.errors import CodecError, UsageError
from pipeline.training.config import TrainConfig
from pipeline.training.losses import family_state


@dataclass(frozen=True, slots=True)
class State:
    """`nets` are the family's entries of CodecNets' state and all bases, `average` its averaged parameters in order.
    `optimiser` and `numpy` are as torch and numpy give them."""

    step: int
    nets: dict[str, Tensor]
    average: list[Tensor]
    optimiser: dict[str, Any]
    numpy: dict[str, Any]
    seconds: float = 0.0  # of training, over all runs
    skipped: int = 0  # as `Guard` has it, like the next two
    worst: float = 0.0
    recent: Tensor | None = None

    def save(self, path: Path) -> None:
        """Whole or not at all."""
        temporary = path.with_suffix(".partial")
        with temporary.open("wb") as file:
            torch.save({name: getattr(self, name) for name in self.__slots__}, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path, device: torch.device) -> State:
        """Raises CodecError for a file that is no state."""
        try:
            return cls(**torch.load(path, map_location=device, weights_only=True))
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, TypeError) as error:
            raise CodecError(f"{path}: not a training state") from error

    def fill(self, nets: CodecNets, family: str) -> None:
        """Load a family's nets, as trained last. Raises CodecError where they are of another shape."""
        missing = family_state(nets.state_dict(), family).keys() - self.nets.keys()
        try:
            nets.load_state_dict(self.nets, strict=False)
        except RuntimeError as error:
            raise CodecError(f"a state of other nets: {str(error).splitlines()[-1].strip()}") from error
        if missing:
            raise CodecError(f"a state of other nets: it has no {min(missing)}")


@contextmanager
def interrupts_held() -> Iterator[Callable[[], bool]]:
    """Gives a function that says whether Ctrl-C was pressed (or the process told to end). Until it is asked nothing is
    torn apart: a state of half a step could not go on as if it had not been stopped. The second Ctrl-C raises."""
    pressed = False

    def press(*_: object) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    before = {number: signal.signal(number, press) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: pressed
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def saved_part(nets: CodecNets, family: str) -> dict[str, Tensor]:
    """What of the nets `State` keeps: training the inter family needs the plates' basis too."""
    state = nets.state_dict()
    return {name: value for name, value in state.items() if name.endswith(".basis")} | family_state(state, family)


def new_nets(config: TrainConfig) -> CodecNets:
    """Untrained nets of the configuration's shape."""
    return CodecNets(**config.shape)


def begin_with(path: Path, config: TrainConfig) -> CodecNets:
    """The nets of a weights file, to train. Where the configuration has more blocks than the file, the further ones
    begin without effect. Raises CodecError when it is none, UsageError when its nets do not fit into the
    configuration's."""
    nets, found = new_nets(config), weights.read(path).nets.state_dict()
    for module in nets.modules():
        if isinstance(module, Block):
            module.pass_through()
    try:
        missing, unexpected = nets.load_state_dict(found, strict=False)
    except RuntimeError as error:
        raise UsageError(f"{path}: its nets are not of this shape: {config.shape}") from error
    if unexpected or any(not _FURTHER.search(name) or _first_block(name) not in found for name in missing):
        raise UsageError(f"{path}: its nets are not of this shape: {config.shape}")
    return nets


_FURTHER = re.compile(r"\.(blocks|regions|attention)\.\d+\.")  # what there is of each block


def _first_block(name: str) -> str:
    return _FURTHER.sub(lambda found: f".{found[1]}.0.", name)
