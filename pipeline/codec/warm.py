"""Compiles what the codec compiles, so that no camera has to wait for it: `python -m pipeline.codec.warm`."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decoder import Decoder
from pipeline.codec.effort import EFFORTS
from pipeline.codec.encoder import Encoder
from pipeline.types import Frame, RoiMask

_SIDE = 96


def warm() -> None:
    """Encode and decode small pictures of something that moves, four with each effort, of which two together."""
    noise = np.random.default_rng(0).integers(0, 256, (_SIDE + 16, _SIDE + 16), np.uint8)
    chroma, cells = np.full((_SIDE // 2, _SIDE // 2), 128, np.uint8), np.zeros((_SIDE // 16, _SIDE // 16), np.bool_)
    cells[1:4] = True
    mask = RoiMask(cells, cells * np.uint8(255))
    encoder = Encoder(width=_SIDE, height=_SIDE, device="cpu", fps=10.0)
    decoder = Decoder(encoder.info, device="cpu")
    for index, effort in enumerate(EFFORTS):
        encoder.effort = effort
        frames = [
            Frame(
                y=np.ascontiguousarray(noise[k : k + _SIDE, k // 2 : k // 2 + _SIDE]), u=chroma, v=chroma, index=k,
                pts_us=100_000 * k, wall_us=0,
            )
            for k in range(4 * index, 4 * index + 4)
        ]  # fmt: skip
        for together in (frames[:1], frames[1:2], frames[2:]):
            for packet in encoder.encode_all([(frame, mask) for frame in together]):
                decoder.decode(packet)


if __name__ == "__main__":
    warm()
