"""Frames as fragmented MP4 (H.264) that plays while it comes in: a fragment a picture, no looking ahead."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av

from pipeline.errors import JobError
from pipeline.export import describe, to_picture
from pipeline.serve.pictures import shown_size
from pipeline.types import Frame, StreamInfo

_TICK = Fraction(1, 90_000)
_KEY_S = 2.0  # at most so long between pictures that decode alone
_CRF = 23
_OPTIONS = {"preset": "ultrafast", "tune": "zerolatency", "crf": str(_CRF), "threads": "1", "keyint": "100000"}
_MUX = {"movflags": "frag_every_frame+empty_moov+default_base_moof", "flush_packets": "1"}


class _Pile:
    """A file that can only be written to."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def take(self) -> bytes:
        data, self._pieces = b"".join(self._pieces), []
        return data


class Fragments:
    """One stream. `codec` is its RFC 6381 name. A fragment comes out when the next picture goes in: its duration is not
    known before. Pictures of another size are scaled to the first one's."""

    def __init__(self, info: StreamInfo, *, width: int | None = None) -> None:
        self._pile = _Pile()
        self.size = shown_size(info.width, info.height, info, width)
        try:
            self._container: Any = av.open(self._pile, "w", format="mp4", options=_MUX)
            self._stream: Any = self._container.add_stream("libx264", rate=25, options=_OPTIONS)
            describe(self._stream, info, *self.size, _TICK)
            self._stream.codec_context.sample_aspect_ratio = Fraction(1)
            self._stream.codec_context.open()
        except (av.error.FFmpegError, OSError) as error:
            raise JobError(f"no H.264 of {self.size[0]}x{self.size[1]}: {error}") from error
        self.codec = _codec_name(bytes(self._stream.codec_context.extradata or b""))
        self._last = -1
        self._key_at = 0

    def add(self, frame: Frame, at_s: float, *, key: bool = False) -> bytes:
        """Add a picture; returns what is ready to be sent. Times only go on: an earlier one is taken as right after the
        last. `key`: it decodes alone."""
        at = max(round(at_s / _TICK), self._last + 90)
        shown = to_picture(frame, frame.width + frame.width % 2, frame.height + frame.height % 2)
        if (shown.width, shown.height) != self.size:
            shown = shown.reformat(*self.size, interpolation="AREA")
        if key or self._last < 0 or (at - self._key_at) * _TICK > _KEY_S:
            shown.pict_type = av.video.frame.PictureType.I
            self._key_at = at
        shown.pts, shown.time_base, self._last = at, _TICK, at
        self._container.mux(self._stream.encode(shown))
        return self._pile.take()

    def end(self) -> bytes:
        """The last picture."""
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._pile.take()


def _codec_name(extradata: bytes) -> str:
    """avc1.PPCCLL, from the parameter set that the encoder has written."""
    if extradata[:1] == b"\x01":
        return f"avc1.{extradata[1:4].hex().upper()}"
    at = extradata.find(b"\0\0\1\x67")
    if at < 0:
        raise JobError("the encoder tells no profile")
    return f"avc1.{extradata[at + 4 : at + 7].hex().upper()}"
