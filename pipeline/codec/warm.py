"""Compiles what the codec compiles, so that no camera has to wait for it: `python -m pipeline.codec.warm`."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decoder import Decoder
from pipeline.codec.effort import EFFORTS
from pipeline.codec.encoder import Encoder
from pipeline.types import Frame, RoiMask

_SIDE = 96


def warm() -> None:
    """Encode and decode small pictures of something that moves, three with each effort."""
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE + 16, _SIDE + 16), np.uint8)
    chroma, cells = np.full((_SIDE // 2, _SIDE // 2), 128, np.uint8), np.zeros((_SIDE // 16, _SIDE // 16), np.bool_)
    cells[1:4] = True
    mask = RoiMask(cells, cells * np.uint8(255))
    encoder = Encoder(width=_SIDE, height=_SIDE, device="cpu", fps=10.0)
    decoder = Decoder(encoder.info, device="cpu")
    for index in range(3 * len(EFFORTS)):
        encoder.effort = list(EFFORTS)[index // 3]
        luma = np.ascontiguousarray(noise[2 * index : 2 * index + _SIDE, index : index + _SIDE])
        frame = Frame(y=luma, u=chroma, v=chroma, index=index, pts_us=100_000 * index, wall_us=0)
        decoder.decode(encoder.encode(frame, mask))


if __name__ == "__main__":
    warm()
