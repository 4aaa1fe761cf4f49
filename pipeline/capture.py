"""Reads one file or camera through PyAV: upright planes, steady times, damage counted. `pipeline.source` opens it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from pipeline.address import Address, redact_url
from pipeline.color import BT601, usual_matrix
from pipeline.config import SourceConfig
from pipeline.errors import SourceError
from pipeline.types import MAX_SIZE, MIN_SIZE, Frame, Plane

_COPIED = ("yuv420p", "yuvj420p")
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
_DAMAGE_LIMIT = 250  # damaged packets in a row after which a source is given up
_LEAP_US = 10_000_000  # a live camera's clock may be this far off before it is taken for broken
_PROBE_US = "1000000"  # FFmpeg's own 5 s of looking would pass before a camera's first frame, and all come at once
_REFUSED = av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError  # RTSP has the same numbers


@dataclass(frozen=True, slots=True)
class Facts:
    width: int
    height: int
    fps: float
    is_live: bool
    sar: tuple[int, int] = (1, 1)
    rotation: int = 0
    matrix: int = 1
    full_range: bool = False


class Reader:
    """One PyAV container and its first video stream. Opens and decodes the first frame when made."""

    def __init__(self, address: Address, config: SourceConfig) -> None:
        self._address, self._config = address, config
        self._lost = 0
        self._packets = self._decoded = 0
        self._container = _open_container(address, config)
        try:
            if not self._container.streams.video:
                raise SourceError(f"{address.name}: no video stream")
            self._stream = self._container.streams.video[0]
            self._look()
        except BaseException:
            self.close()
            raise

    def _look(self) -> None:
        """Learn from the stream and its first frame what there is to know."""
        stream, address, config = self._stream, self._address, self._config
        live = address.kind == "v4l2" or address.target.lower().startswith(("rtsp:", "rtsps:"))
        live = live or (address.kind == "network" and self._container.duration is None)
        stream.thread_type = "SLICE" if live else "AUTO"  # threads by frame would hold a live picture back
        self._must_last = live and not address.target.lower().startswith("http")
        self._pictures = self._decode()
        self._first = first = next(self._pictures, None)
        if first is None:
            raise SourceError(f"{address.name}: no frame could be decoded")
        self._coded_size = (first.width, first.height)
        self.codec, self.pixel_format = stream.codec_context.name, first.format.name
        degrees = first.rotation % 360
        self._quarter_turns = degrees // 90 if degrees % 90 == 0 else 0  # anticlockwise, to set the picture upright
        width, height = self._coded_size
        sar = stream.sample_aspect_ratio or Fraction(1)
        if self._quarter_turns % 2:
            width, height, sar = height, width, 1 / sar
        if config.halve:
            width, height = width // 2, height // 2
        check_size(width, height, address.name)
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        rate = rate if 0 < rate <= 1000 else 0.0
        self._interval_us = round(1e6 / rate) if rate else 40_000
        matrix = {0: 0, 2: 0, 5: BT601}.get(int(first.colorspace), int(first.colorspace))
        full_range = int(first.color_range) == _FULL_RANGE or first.format.name.startswith("yuvj")
        self.facts = Facts(
            width=width, height=height, fps=min(rate, config.fps or rate), is_live=live,
            sar=(sar.numerator, sar.denominator), rotation=-degrees % 360 if self._quarter_turns else 0,
            matrix=matrix or usual_matrix(first.height), full_range=full_range and not first.format.is_rgb,
        )  # fmt: skip

    @property
    def lost(self) -> int:
        return self._lost

    def close(self) -> None:
        self._container.close()

    def frames(self) -> Iterator[Frame]:
        """All frames from the first on."""
        live = self.facts.is_live
        clock = Clock(self._interval_us, live=live)
        start_us = _start_us(self._config, self._container.metadata, self._stream.metadata)
        picture, self._first = self._first, None
        wall_us, index = 0, 0
        while picture is not None:
            now_us = time.time_ns() // 1000
            pts_us = clock.next(_picture_us(picture), time.monotonic_ns() // 1000)
            wall_us = max(now_us, wall_us + 1) if live else start_us + pts_us
            yield self._frame(picture, index, pts_us, wall_us)
            index += 1
            picture = next(self._pictures, None)

    def _frame(self, picture: Any, index: int, pts_us: int, wall_us: int) -> Frame:
        if (picture.width, picture.height) != self._coded_size:
            was = "{}x{}".format(*self._coded_size)
            raise SourceError(
                f"{self._address.name}: the picture's size changed from {was} to {picture.width}x{picture.height} "
                f"at frame {index}; open the source again for the new size"
            )
        planes = picture_planes(picture, full_range=self.facts.full_range, matrix=self.facts.matrix)
        if self._quarter_turns:
            y, u, v = (np.ascontiguousarray(np.rot90(plane, self._quarter_turns)) for plane in planes)
            planes = (y, u, v)
        if self._config.halve:
            planes = halved(planes)
        return Frame(*planes, index=index, pts_us=pts_us, wall_us=wall_us)

    def _decode(self) -> Iterator[Any]:
        """Pictures in order. What cannot be decoded is counted in `lost` and passed over."""
        in_a_row = 0
        packets = self._container.demux(self._stream)
        while in_a_row < _DAMAGE_LIMIT:
            try:
                packet = next(packets)
                self._packets += packet.size > 0 and not packet.is_discard
                pictures = packet.decode()
            except StopIteration:
                # Some damage makes a decoder swallow a packet without a word.
                self._lost = max(self._lost, self._packets - self._decoded)
                if self._must_last:
                    raise SourceError(f"{self._address.name}: the camera ended the stream") from None
                return
            except av.error.InvalidDataError:
                self._lost += 1
                in_a_row += 1
                packets = self._container.demux(self._stream)  # an error ends the generator, not the container
                continue
            except (av.error.FFmpegError, OSError) as error:
                raise SourceError(f"{self._address.name}: {_reason(error)}") from None
            self._decoded += len(pictures)
            in_a_row = 0 if pictures else in_a_row
            yield from pictures
        raise SourceError(f"{self._address.name}: nothing but damaged data ({self._lost} packets)")


class Clock:
    """Stream times to microseconds from 0, strictly increasing, whatever the camera says.

    A live camera's stamps are followed as long as they stay near the clock of this machine; where they leap, wrap
    around or have drifted too far, time goes on from when the frame came.
    """

    def __init__(self, interval_us: int, *, live: bool) -> None:
        self._interval_us, self._live = interval_us, live
        self._offset_us: int | None = None
        self._last_us = self._first_arrival_us = 0

    def next(self, stamp_us: int | None, arrival_us: int) -> int:
        """The time of the next frame, that carries `stamp_us` and came at `arrival_us` of a monotonic clock."""
        if self._offset_us is None:
            self._offset_us, self._first_arrival_us = stamp_us or 0, arrival_us
            return 0
        expected_us = self._last_us + self._interval_us
        now_us = expected_us if stamp_us is None else stamp_us - self._offset_us
        elapsed_us = arrival_us - self._first_arrival_us
        too_far = self._live and abs(now_us - elapsed_us) > _LEAP_US
        if now_us - self._last_us < -1_000_000 or too_far:
            now_us = max(expected_us, elapsed_us) if self._live else expected_us
            if stamp_us is not None:
                self._offset_us = stamp_us - now_us
        self._last_us = max(now_us, self._last_us + 1000)
        return self._last_us


def _open_container(address: Address, config: SourceConfig) -> Any:
    """av.open with this project's options only."""
    options = dict(address.options)
    timeout_us = str(round(config.timeout_s * 1e6))
    if address.kind == "file":
        options["protocol_whitelist"] = "file"  # playlists may not reach the network
    elif address.kind == "network":
        options["protocol_whitelist"] = "rtp,rtsp,rtsps,srtp,udp,tcp,tls,http,https,httpproxy,crypto"
        options["timeout" if address.target.lower().startswith("rtsp") else "rw_timeout"] = timeout_us
        if address.target.lower().startswith("rtsp"):
            options |= {"rtsp_transport": config.rtsp_transport, "allowed_media_types": "video"}
            options["analyzeduration"] = _PROBE_US
    kind = "v4l2" if address.kind == "v4l2" else None

    def attempt() -> Any:
        timeout = None if address.kind == "file" else (config.timeout_s, config.timeout_s)
        return av.open(address.target, format=kind, options=options, timeout=timeout, metadata_errors="replace")

    try:
        return attempt() if address.kind == "file" else _within(attempt, config.timeout_s, address.name)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        refused = _REFUSED if address.target.lower().startswith("rtsp") else (av.error.HTTPClientError, ValueError)
        raise SourceError(f"{address.name}: {_reason(error)}", final=isinstance(error, refused)) from None


def _within(attempt: Callable[[], Any], timeout_s: float, name: str) -> Any:
    """Run `attempt` with a hard limit: looking up a name, for one, cannot be interrupted from outside."""
    opened: list[Any] = []
    failed: list[Exception] = []
    lock = threading.Lock()
    given_up = False

    def run() -> None:
        try:
            container = attempt()
        except Exception as error:  # a thread's outermost loop: handed on below
            failed.append(error)
            return
        with lock:
            if given_up:
                container.close()
            else:
                opened.append(container)

    thread = threading.Thread(target=run, name="open-source", daemon=True)
    thread.start()
    thread.join(timeout_s)
    with lock:
        given_up = not opened
    if opened:
        return opened[0]
    if failed:
        raise failed[0]
    raise SourceError(f"{name}: no answer within {timeout_s:g} s")


def _reason(error: Exception) -> str:
    """An error in a few words, without the URL that PyAV puts into it."""
    words = getattr(error, "strerror", None) or type(error).__name__
    if isinstance(error, av.error.ExitError):  # FFmpeg's word for an interrupt callback, which is PyAV's timeout
        words = "timed out"
    return redact_url(str(words).splitlines()[0])


def _picture_us(picture: Any) -> int | None:
    if picture.pts is None or picture.time_base is None:
        return None
    seconds: Fraction = picture.pts * picture.time_base
    return round(seconds * 1_000_000)


def picture_planes(picture: Any, *, full_range: bool, matrix: int) -> tuple[Plane, Plane, Plane]:
    """A PyAV picture as 8-bit 4:2:0. Range and matrix stay what they are; RGB goes to `matrix`, limited range."""
    name = picture.format.name
    if name.startswith("gray"):
        luma = _plane((picture if name == "gray" else picture.reformat(format="gray")).planes[0])
        grey = np.full((-(-luma.shape[0] // 2), -(-luma.shape[1] // 2)), 128, np.uint8)
        return luma, grey, grey.copy()
    if picture.format.is_rgb or name in ("pal8", "monob", "monow"):
        picture = picture.reformat(
            format="yuv420p", dst_colorspace=5 if matrix == BT601 else 1, dst_color_range=1
        )  # fmt: skip
    elif name not in _COPIED:
        both = _FULL_RANGE if full_range else 1
        picture = picture.reformat(format="yuv420p", src_color_range=both, dst_color_range=both)
    y, u, v = (_plane(plane) for plane in picture.planes[:3])
    return y, u, v


def _plane(plane: Any) -> Plane:
    """A copy without the padding at the ends of lines."""
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
    return rows[: plane.height, : plane.width].copy()


def halved(planes: tuple[Plane, Plane, Plane]) -> tuple[Plane, Plane, Plane]:
    """Half the width and height by area averaging, rounded down; chroma rounded up from there."""
    height, width = planes[0].shape[0] // 2, planes[0].shape[1] // 2
    chroma = (-(-width // 2), -(-height // 2))
    y, u, v = (
        cv2.resize(p, size, interpolation=cv2.INTER_AREA)
        for p, size in zip(planes, ((width, height), chroma, chroma), strict=True)
    )
    return y, u, v


def check_size(width: int, height: int, name: str) -> None:
    if not (MIN_SIZE <= width <= MAX_SIZE and MIN_SIZE <= height <= MAX_SIZE):
        raise SourceError(f"{name}: pictures of {width}x{height}; sizes from {MIN_SIZE} to {MAX_SIZE} are supported")


def unix_us(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)


def _start_us(config: SourceConfig, *metadata: dict[str, str]) -> int:
    """Unix time of a file's first frame: as configured, else the container's creation time, else now."""
    if config.start_time is not None:
        return unix_us(config.start_time)
    for tags in metadata:
        text = tags.get("creation_time") or tags.get("CREATION_TIME") or ""
        try:
            moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
        except ValueError:
            continue
        if moment.tzinfo is not None and moment.year >= 1990:  # cameras without a clock say 1904 or 1970
            return unix_us(moment)
    return time.time_ns() // 1000
