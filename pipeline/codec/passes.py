"""Compiled passes over whole pictures, for what every frame of a still scene takes. Planes are (H,W) uint8 of whole
cells; what goes out is filled in place. Each gives to the bit what the tensors beside it, for other devices, give.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.codec.native import compiled

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.bool_]
Shorts = npt.NDArray[np.int16]
Floats = npt.NDArray[np.float32]

_BLOCKS = 4  # of a cell, on each side


@compiled
def block_sums(plane: Bytes, weight: np.int16, sums: Shorts) -> None:
    """The sum over each of the squares of a plane, times `weight`: (H/size,W/size)."""
    size, columns = len(plane) // len(sums), np.empty(plane.shape[1], np.int16)
    for row in range(len(sums)):
        for x in range(len(columns)):
            columns[x] = 0
        for y in range(row * size, (row + 1) * size):
            line = plane[y]
            for x in range(len(columns)):
                columns[x] += np.int16(line[x])
        for col in range(sums.shape[1]):
            total = np.int16(0)
            for x in range(col * size, (col + 1) * size):
                total += columns[x]
            sums[row, col] = total * weight


@compiled
def cell_peaks(a: Shorts, b: Shorts, unit: np.float32, peaks: Floats) -> None:
    """The largest difference of two pictures' block sums (3,h,w) in each cell, times `unit`: (rows,cols)."""
    largest = np.empty(a.shape[2], np.int16)
    for row in range(len(peaks)):
        for x in range(len(largest)):
            largest[x] = 0
        for plane in range(len(a)):
            for y in range(row * _BLOCKS, (row + 1) * _BLOCKS):
                ours, theirs = a[plane, y], b[plane, y]
                for x in range(len(largest)):
                    largest[x] = max(largest[x], abs(ours[x] - theirs[x]))
        for col in range(peaks.shape[1]):
            most = np.int16(0)
            for x in range(col * _BLOCKS, (col + 1) * _BLOCKS):
                most = max(most, largest[x])
            peaks[row, col] = np.float32(most) * unit


@compiled
def follow(plane: Bytes, rate: Floats, mean: Floats) -> None:
    """Take a mean (H,W) towards a plane by the `rate` (rows,cols) of each cell: at rate one at once."""
    size, rates = len(plane) // len(rate), np.empty(plane.shape[1], np.float32)
    for row in range(len(rate)):
        for x in range(len(rates)):
            rates[x] = rate[row, x // size]
        for y in range(row * size, (row + 1) * size):
            line, held = plane[y], mean[y]
            for x in range(len(rates)):
                now, share = np.float32(line[x]), rates[x]
                held[x] = now if share == np.float32(1) else held[x] + (now - held[x]) * share


@compiled
def cell_errors(picture: Bytes, chosen: Bytes, other: Bytes, cells: Cells, errors: Floats) -> None:
    """Each cell's mean squared difference (rows,cols) of a luma plane to the `chosen` in `cells`, elsewhere to the
    `other`."""
    size, width = len(picture) // len(cells), picture.shape[1]
    totals, marked = np.empty(width, np.int32), np.empty(width, np.int32)
    for row in range(len(cells)):
        for x in range(width):
            totals[x], marked[x] = 0, cells[row, x // size]
        for y in range(row * size, (row + 1) * size):
            ours, first, second = picture[y], chosen[y], other[y]
            for x in range(width):
                a, b = np.int32(first[x]), np.int32(second[x])
                shown = np.int32(b + np.int32(marked[x] * np.int32(a - b)))
                difference = np.int32(np.int32(ours[x]) - shown)
                totals[x] = np.int32(totals[x] + np.int32(difference * difference))
        for col in range(cells.shape[1]):
            total = np.int32(0)
            for x in range(col * size, (col + 1) * size):
                total += totals[x]
            errors[row, col] = np.float32(total) / np.float32(size * size)


@compiled
def mean_in_cells(other: Bytes, cells: Cells, plane: Bytes) -> None:
    """A plane becomes the mean of itself and the `other`, halves up, in `cells` (rows,cols)."""
    size = len(plane) // len(cells)
    for row in range(len(cells)):
        for col in range(cells.shape[1]):
            if cells[row, col]:
                for y in range(row * size, (row + 1) * size):
                    ours, theirs = plane[y], other[y]
                    for x in range(col * size, (col + 1) * size):
                        ours[x] = (np.int16(ours[x]) + np.int16(theirs[x]) + np.int16(1)) >> np.int16(1)
