"""MS-SSIM of a region (Wang, Simoncelli and Bovik 2003: luma, five scales, 11x11 Gaussian windows of sigma 1.5).

The maps are made of the whole picture and averaged over the region's cells at every scale: a region may be smaller than
what five scales of windows need, and a cell is still one whole value on the coarsest.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import CELL, Plane

_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # of the scales, fine to coarse
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def ms_ssim(source: Plane, decoded: Plane, cells: npt.NDArray[np.bool_]) -> float:
    """Two luma planes (H,W) over the `cells` (rows, cols) that are set; NaN where none is. Planes are padded to whole
    cells by their edges."""
    if not cells.any():
        return float("nan")
    a, b = (_padded(plane, cells) for plane in (source, decoded))
    result = 1.0
    for scale, weight in enumerate(_WEIGHTS):
        luminance, contrast = _maps(a, b)
        inside = cells.repeat(CELL >> scale, 0).repeat(CELL >> scale, 1)
        coarsest = scale == len(_WEIGHTS) - 1
        mean = float(np.mean((luminance * contrast if coarsest else contrast)[inside]))
        result *= max(mean, 0.0) ** weight
        if not coarsest:
            a, b = (cv2.resize(p, (p.shape[1] // 2, p.shape[0] // 2), interpolation=cv2.INTER_AREA) for p in (a, b))
    return result


def _padded(plane: Plane, cells: npt.NDArray[np.bool_]) -> Any:
    below, right = cells.shape[0] * CELL - plane.shape[0], cells.shape[1] * CELL - plane.shape[1]
    return np.pad(plane, ((0, below), (0, right)), mode="edge").astype(np.float32)


def _maps(a: Any, b: Any) -> tuple[Any, Any]:
    """Luminance, and contrast with structure, at every pixel."""
    mean_a, mean_b = _blur(a), _blur(b)
    variance_a, variance_b = _blur(a * a) - mean_a * mean_a, _blur(b * b) - mean_b * mean_b
    covariance = _blur(a * b) - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + _C1) / (mean_a * mean_a + mean_b * mean_b + _C1)
    return luminance, (2 * covariance + _C2) / (variance_a + variance_b + _C2)


def _blur(plane: Any) -> Any:
    return cv2.GaussianBlur(plane, (11, 11), 1.5, borderType=cv2.BORDER_REPLICATE)
