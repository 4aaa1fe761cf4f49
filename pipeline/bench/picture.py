"""`python -m pipeline.bench.picture OUT.jpg`: the README's picture. The demo street after some seconds: the source
with its mask, both layers decoded, and the foreground alone over the plate."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.codec import Decoder, Encoder
from pipeline.color import frame_to_rgb
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import CELL, Frame

FRAMES = 160
QUALITY = 50.0
_TINT = np.array((255, 190, 40), np.float32)

Picture = npt.NDArray[np.uint8]


def draw(out: Path) -> None:
    """Encode the demo street and write the last frame's panels side by side."""
    with open_source(SourceConfig(url="demo://street", frames=FRAMES)) as source:
        masked = RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(source)
        encoder = Encoder(width=source.width, height=source.height, quality=QUALITY)
    full, alone = Decoder(encoder.info), Decoder(encoder.info)
    packets = encoder.encode_all([(item.frame, item.mask) for item in masked])
    for packet in packets:
        shown, foreground = full.decode(packet), alone.decode(packet, "foreground")
    last = masked[-1]
    mean = sum(p.nbytes for p in packets[1:]) / (len(packets) - 1)
    layer = sum(len(p.foreground) for p in packets[1:]) / (len(packets) - 1)
    panels = (
        (_masked(last.frame, last.mask.cells), f"source ({last.frame.nbytes} bytes), mask"),
        (frame_to_rgb(shown), f"decoded: {mean:.0f} bytes a frame"),
        (frame_to_rgb(foreground), f"foreground over the plate: {layer:.0f} bytes a frame"),
    )
    joined = np.concatenate([_captioned(picture, text) for picture, text in panels], axis=1)
    if not cv2.imwrite(str(out), joined[..., ::-1]):
        raise OSError(f"{out} cannot be written")


def _masked(frame: Frame, cells: npt.NDArray[np.bool_]) -> Picture:
    picture: Any = frame_to_rgb(frame).astype(np.float32)
    inside = cells.repeat(CELL, 0).repeat(CELL, 1)[: frame.height, : frame.width]
    edge = inside ^ cv2.erode(inside.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(np.bool_)
    picture[~inside] *= 0.6
    picture[edge] = _TINT
    tinted: Picture = picture.astype(np.uint8)
    return tinted


def _captioned(picture: Picture, text: str) -> Picture:
    bar = np.full((28, picture.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, text, (6, 19), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 0), 1, cv2.LINE_AA)
    joined: Picture = np.pad(np.concatenate((bar, picture)), ((4, 4), (4, 4), (0, 0)), constant_values=255)
    return joined


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
