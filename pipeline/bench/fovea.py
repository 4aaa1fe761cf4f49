"""Ours: the whole file, container and checksums included, without the parity that mends plates: opponents have nothing
like it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from uuid import UUID

import numpy as np

from pipeline.bench.clip import Clip, Coded
from pipeline.bitstream import StreamWriter
from pipeline.codec import Decoder, Encoder, Tuning
from pipeline.codec.brain import Brain
from pipeline.codec.effort import BEST
from pipeline.codec.encoder import MINI_GOP
from pipeline.types import Frame, Packet

GOP_S = 10.0


def code(
    clip: Clip,
    quality: float,
    *,
    gop_s: float = GOP_S,
    bitrate_bps: int | None = None,
    effort: str = BEST.name,
    mini_gop: int = MINI_GOP,
    tuning: Tuning | None = None,
    brain: Brain | None = None,
) -> Coded:
    """Encode a clip. Layers: foreground, background, plate, and what the container adds to find
    them, shared out in proportion."""
    encoder = Encoder(
        width=clip.width,
        height=clip.height,
        quality=quality,
        bitrate_bps=bitrate_bps,
        gop_us=round(gop_s * 1e6),
        effort=effort,
        mini_gop=mini_gop,
        tuning=tuning,
        brain=brain,
    )
    packets = encoder.encode_all([(item.frame, item.mask) for item in clip.masked])
    file = io.BytesIO()
    writer = StreamWriter(
        encoder.info, UUID(int=0).bytes, foreground=file, background=file, parity=False, whole_gops=True
    )
    for packet in packets:
        writer.append(packet)
    writer.close()
    nbytes = len(file.getvalue())
    coded = np.cumsum([0, *(packet.nbytes for packet in packets)])
    added = np.diff((nbytes - coded[-1]) * coded // coded[-1])
    layers = {
        "foreground": tuple(len(packet.foreground) for packet in packets),
        "background": tuple(len(packet.background) for packet in packets),
        "plate": tuple(len(packet.plate) for packet in packets),
        "container": tuple(int(part) for part in added),
    }
    return Coded(nbytes, layers, _decoded(Decoder(encoder.info, brain=brain), packets))


def _decoded(decoder: Decoder, packets: Sequence[Packet]) -> Iterator[Frame]:
    for packet in packets:
        yield decoder.decode(packet)
