"""YUV planes to RGB and back: the only place where colour is converted.

`matrix` is a code point of ITU-T H.273 (1: BT.709; 5, 6: BT.601; 9: BT.2020), `full_range` says whether luma spans
0..255 or 16..235, both as in StreamInfo. Chroma is taken as sited in the centre of its 2x2 luma pixels. Knows no files.
"""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import Frame, Plane

BT709, BT601 = 1, 6

# Weights of red and blue in luma, by H.273 code point.
_LUMA_WEIGHTS = {
    1: (0.2126, 0.0722),
    4: (0.30, 0.11),
    5: (0.299, 0.114),
    6: (0.299, 0.114),
    7: (0.212, 0.087),
    9: (0.2627, 0.0593),
}


def usual_matrix(height: int) -> int:
    """What players assume where a stream does not say: BT.601 below 720 lines, BT.709 from there."""
    return BT601 if height < 720 else BT709


@lru_cache(maxsize=16)
def _matrices(matrix: int, full_range: bool) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(3,4) affine maps of 8-bit values: RGB -> YUV and YUV -> RGB."""
    if matrix not in _LUMA_WEIGHTS:
        matrix = BT709
    red, blue = _LUMA_WEIGHTS[matrix]
    luma = np.array([red, 1 - red - blue, blue])
    analogue = np.stack(
        [luma, (np.array([0, 0, 1]) - luma) / (2 * (1 - blue)), (np.array([1, 0, 0]) - luma) / (2 * (1 - red))]
    )
    scale = np.array([1.0, 1.0, 1.0]) if full_range else np.array([219, 224, 224]) / 255
    offset = np.array([0.0 if full_range else 16.0, 128.0, 128.0])
    forward = analogue * scale[:, None]
    backward = np.linalg.inv(forward)
    return np.column_stack([forward, offset]), np.column_stack([backward, -backward @ offset])


def planes_to_rgb(y: Plane, u: Plane, v: Plane, *, matrix: int = BT709, full_range: bool = False) -> Plane:
    """(H,W) luma and (ceil(H/2), ceil(W/2)) chroma to (H,W,3) RGB, all uint8."""
    height, width = y.shape
    size = (2 * u.shape[1], 2 * u.shape[0])
    chroma = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR)[:height, :width] for plane in (u, v)]
    rgb: Plane = cv2.transform(cv2.merge([y, *chroma]), _matrices(matrix, full_range)[1])
    return rgb


def frame_to_rgb(frame: Frame, *, matrix: int = BT709, full_range: bool = False) -> Plane:
    """A frame as (H,W,3) uint8 RGB, contiguous."""
    return planes_to_rgb(frame.y, frame.u, frame.v, matrix=matrix, full_range=full_range)


def frame_from_rgb(
    rgb: Plane, index: int, pts_us: int, wall_us: int, *, matrix: int = BT709, full_range: bool = False
) -> Frame:
    """(H,W,3) uint8 RGB as a frame; chroma is the mean of its pixels. Raises ValueError on other arrays."""
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"picture is {rgb.dtype} {rgb.shape}, expected uint8 (H, W, 3)")
    height, width = rgb.shape[:2]
    yuv = cv2.transform(np.ascontiguousarray(rgb), _matrices(matrix, full_range)[0])
    even = cv2.copyMakeBorder(yuv, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    half = cv2.resize(even, (even.shape[1] // 2, even.shape[0] // 2), interpolation=cv2.INTER_AREA)
    y, u, v = (np.ascontiguousarray(plane) for plane in (yuv[..., 0], half[..., 1], half[..., 2]))
    return Frame(y, u, v, index=index, pts_us=pts_us, wall_us=wall_us)
