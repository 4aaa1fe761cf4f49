"""Makes the golden codec streams: NAME.fov, and in NAME.npz what it decodes to. Run from the root of the repository
with `python -m tests.golden.make_codec`, only when new weights are shipped: streams of old weights that are still
shipped stay, under other names (NAME-2)."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import google_crc32c
import numpy as np

from pipeline.bitstream import StreamReader, StreamWriter
from pipeline.codec import Decoder, Encoder
from pipeline.codec.blocks import SAMPLES
from pipeline.codec.state import Shown
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.track import RoiStage
from pipeline.types import Frame, Layer, RoiMask
from tests.codec.clips import frame_of, mask_of, meeting, texture, walk

HERE = Path(__file__).parent / "codec"
Clip = list[tuple[Frame, RoiMask]]


def pan() -> Clip:
    """A camera that moves: motion in both layers."""
    wide = texture(64, 140, 7)
    views = (np.ascontiguousarray(wide[:, 5 * n : 5 * n + 80]) for n in range(10))
    return [(frame_of(view, n), mask_of(64, 80, ((20, 20, 50, 50),))) for n, view in enumerate(views)]


def street() -> Clip:
    """The demo scene."""
    from pipeline.source import open_source  # a machine that only decodes needs no PyAV

    with open_source(SourceConfig(url="demo://street?size=160x96", frames=12)) as source:
        return [(m.frame, m.mask) for m in RoiStage(DetectorConfig(kind="motion"), MaskConfig()).process(source)]


CLIPS = {"walk": lambda: list(walk(10, 67, 85, noise=1.0)), "pan": pan, "street": street}
GROUPED = {"meeting": lambda: list(meeting(14, 64, 112))}


def encode(clip: Clip, *, gop: int = 4, mini_gop: int = 1) -> bytes:
    """GOPs of so many frames, segments of two."""
    first = clip[0][0]
    step_us = clip[1][0].pts_us - first.pts_us
    encoder = Encoder(
        width=first.width, height=first.height, quality=55.0, gop_us=gop * step_us, segment_us=2 * gop * step_us,
        mini_gop=mini_gop, fps=25.0,
    )  # fmt: skip
    out = io.BytesIO()
    writer = StreamWriter(encoder.info, UUID(int=1).bytes, foreground=out, background=out)
    for packet in encoder.encode_all(clip):
        writer.append(packet)
    writer.close()
    return out.getvalue()


def decode(data: bytes, **options: object) -> Iterator[tuple[Frame, tuple[int, int]]]:
    """(frame, checksum of all that each layer's parse found), in order."""
    reader = StreamReader(io.BytesIO(data), strict=True)
    decoder = Decoder(reader.info, **options)  # type: ignore[arg-type]
    for item in reader.packets():
        yield decoder.decode(item.packet), parsed(decoder)


def parsed(decoder: Decoder) -> tuple[int, int]:
    """A CRC32C of maps, modes, vectors, flags and symbols of the frame shown last, of each layer."""
    foreground, background = (decoder._chains[layer].shown for layer in Layer)
    return _parsed(foreground), _parsed(background)


def _parsed(shown: Shown) -> int:
    crc, past = 0, shown.past
    symbols = np.zeros((*past.coded.shape, SAMPLES), "<i2")
    symbols[past.coded] = shown.symbols.cpu().numpy()
    for part in (past.cells, past.mode, past.vector, past.coded, symbols):
        crc = google_crc32c.extend(crc, np.ascontiguousarray(part).tobytes())
    return int(crc)


def main() -> int:
    HERE.mkdir(exist_ok=True)
    streams = {name: encode(make()) for name, make in CLIPS.items()}
    streams |= {name: encode(make(), gop=12, mini_gop=8) for name, make in GROUPED.items()}  # a key frame, 8, 3 left
    for name, data in streams.items():
        frames, sums = zip(*decode(data, device="cpu", threads=1), strict=True)
        (HERE / f"{name}.fov").write_bytes(data)
        planes = {k: np.stack([getattr(frame, k) for frame in frames]) for k in "yuv"}
        np.savez_compressed(HERE / f"{name}.npz", sums=np.array(sums, np.uint32), **planes)
        print(name, len(data), (HERE / f"{name}.npz").stat().st_size)
    return 0


if __name__ == "__main__":
    sys.exit(main())
