"""The background held still between updates, in front of the codec: what does not change costs it next to nothing.

The encoder judges change source against source, so cells that it is shown again as they were are not coded. The
foreground is always the newest.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.types import CELL, Frame, Plane


class StillBackground:
    """One camera's background as it was shown last. All frames have the same size."""

    def __init__(self) -> None:
        self._held: tuple[Plane, Plane, Plane] | None = None
        self._seen: npt.NDArray[np.bool_] | None = None  # cells that have been background since it is held
        self._age = 0

    def process(self, frame: Frame, cells: npt.NDArray[np.bool_], *, every: int) -> Frame:
        """The frame with the background of the last update, or as it is where an update is due: each `every`-th frame.
        `cells` (rows, cols) are the foreground. A cell that has not been background before is shown as it is."""
        if every <= 1:
            self._held = self._seen = None
            return frame
        self._age += 1
        if self._held is None or self._seen is None:
            # Copies: on Ray these are views that would keep their whole batch in the object store.
            self._held, self._seen, self._age = (frame.y.copy(), frame.u.copy(), frame.v.copy()), ~cells, 0
            return frame
        due = self._age >= every
        fresh = ~cells if due else ~cells & ~self._seen  # these are held anew
        self._held = _mixed(fresh, frame, self._held)
        self._seen = self._seen | ~cells
        if due:
            self._age = 0
            return frame
        y, u, v = _mixed(cells, frame, self._held)
        return Frame(y, u, v, index=frame.index, pts_us=frame.pts_us, wall_us=frame.wall_us)


def _mixed(cells: npt.NDArray[np.bool_], frame: Frame, held: tuple[Plane, Plane, Plane]) -> tuple[Plane, Plane, Plane]:
    """The frame's pixels in these cells, those held in the others."""
    if not cells.any():
        return held
    y, u, v = (
        np.where(_pixels(cells, old.shape, size), new, old)
        for new, old, size in zip((frame.y, frame.u, frame.v), held, (CELL, CELL // 2, CELL // 2), strict=True)
    )
    return y, u, v


def _pixels(cells: npt.NDArray[np.bool_], shape: tuple[int, ...], size: int) -> npt.NDArray[np.bool_]:
    """(rows, cols) cells of `size` pixels -> a plane of this shape."""
    return cells.repeat(size, 0).repeat(size, 1)[: shape[0], : shape[1]]
