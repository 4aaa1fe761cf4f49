"""Which steps are left out of training, so that one odd batch does not spoil what thousands have taught.

The nets' gated blocks multiply activations with each other: on a batch unlike all before, the loss can be 1e11 and
still finite, and its clipped gradient points anywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor

WINDOW = 64  # steps
# Times the median of the last `WINDOW` steps. In 600 steps the loss was at most 2.9 times its median, or 1e14 times and
# more; the norm, which is clipped, passed 10 times with ordinary losses.
LOSS_LIMIT, NORM_LIMIT = 8.0, 50.0


class Guard:
    """Judges each step by its loss and its gradient's norm. Numbers stay on the device: reading them makes the host
    wait for all that is under way."""

    def __init__(self, device: torch.device) -> None:
        self._limits = torch.tensor((LOSS_LIMIT, NORM_LIMIT), device=device)
        self.recent = torch.full((WINDOW, 2), torch.nan, device=device)  # loss, norm; not a number where none was yet
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)
        self.worst = torch.zeros((), device=device)  # largest loss among those skipped

    def sound(self, step: int, loss: Tensor, norm: Tensor) -> Tensor:
        """Whether the step may change the nets, () bool: loss and norm are finite and not far beyond what was usual.

        An odd step counts towards what is usual like any other. Few cannot move a median, and when losses stay at a new
        level the guard follows within half a window.
        """
        found = torch.stack((loss, norm)).nan_to_num(nan=torch.inf, posinf=torch.inf, neginf=torch.inf)
        usual = self.recent.nanmedian(0).values
        odd = (found.isinf() | (found > self._limits * usual)).any()  # with nothing to compare to, the latter is false
        self.recent[step % WINDOW] = found
        self.skipped += odd
        self.worst = torch.where(odd, torch.maximum(self.worst, found[0]), self.worst)
        return ~odd

    def told(self) -> str:
        """For people: how many were skipped, and how bad the worst was."""
        count = int(self.skipped)
        return f"skipped {count}" + (f" (worst loss {float(self.worst):.1e})" if count else "")
