"""One camera, file or demo scene to frames of 8-bit YUV 4:2:0.

Whatever comes in (rotated, odd-sized, 10-bit, grey, 4:4:4, RGB, interlaced, with broken time stamps) leaves as upright
planes with strictly increasing times. 8-bit 4:2:0 is copied as it is; the rest is converted once. Interlaced pictures
stay woven as they were coded. A change of the picture's size in mid-stream ends the source with an error: a stream file
has one size. Knows no detector and no codec.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType

from pipeline.address import Address, parse_address, redact_url
from pipeline.capture import Facts, Reader, check_size, halved, unix_us
from pipeline.color import BT709
from pipeline.config import SourceConfig
from pipeline.demo import StreetScene
from pipeline.errors import SourceError, UsageError
from pipeline.types import Frame

__all__ = ["Probe", "Source", "open_source", "probe", "redact_url"]


class Source:
    """An open source. Iterate it once; use it as a context manager or call `close`.

    `fps` is nominal, 0 if unknown; `rotation` are the clockwise degrees that were undone; `matrix` and `full_range` are
    as in StreamInfo; `lost` counts the frames so far that arrived damaged and could not be decoded; `description` is
    one line for people, without passwords. Iteration raises SourceError where the source breaks.
    """

    def __init__(
        self,
        facts: Facts,
        description: str,
        frames: Iterator[Frame],
        lost: Callable[[], int],
        close: Callable[[], None],
    ) -> None:
        self.width, self.height, self.fps, self.is_live = facts.width, facts.height, facts.fps, facts.is_live
        self.sar, self.rotation = facts.sar, facts.rotation
        self.matrix, self.full_range = facts.matrix, facts.full_range
        self.description = description
        self._frames, self._lost, self._close = frames, lost, close

    @property
    def lost(self) -> int:
        return self._lost()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> Source:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._close()

    def __repr__(self) -> str:
        return f"Source({self.description})"


def open_source(config: SourceConfig) -> Source:
    """Open what `config` names and look at its first frame.

    Raises UsageError for a URL that is not supported and a file that does not exist, SourceError for what cannot be
    reached or is no video, within about `timeout_s`.
    """
    address = parse_address(config.url)
    if address.kind == "demo":
        return _open_demo(address, config)
    reader = Reader(address, config)
    facts = reader.facts
    rate = f"{facts.fps:g} fps" if facts.fps else "unknown rate"
    description = f"{address.name} ({reader.codec}, {facts.width}x{facts.height}, {rate})"
    frames = _limit(reader.frames(), config)
    return Source(facts, description, frames, lambda: reader.lost, reader.close)


@dataclass(frozen=True, slots=True)
class Probe:
    """What a camera offers. `reconnects`: it could be opened again after it was closed."""

    url: str
    codec: str
    pixel_format: str
    width: int
    height: int
    fps: float
    is_live: bool
    open_s: float
    reconnects: bool


def probe(url: str, *, timeout_s: float = 10.0) -> Probe:
    """Open a source twice. Raises as `open_source` does if the first time fails."""
    config = SourceConfig(url=url, timeout_s=timeout_s)
    address = parse_address(url)
    if address.kind == "demo":
        with _open_demo(address, config) as demo:
            return Probe(address.name, "demo", "yuv420p", demo.width, demo.height, demo.fps, demo.is_live, 0.0, True)
    started = time.monotonic()
    reader = Reader(address, config)
    opened, facts = time.monotonic() - started, reader.facts
    reader.close()
    try:
        Reader(address, config).close()
        again = True
    except SourceError:
        again = False
    return Probe(
        address.name,
        reader.codec,
        reader.pixel_format,
        facts.width,
        facts.height,
        facts.fps,
        facts.is_live,
        opened,
        again,
    )


def _open_demo(address: Address, config: SourceConfig) -> Source:
    options = dict(address.options)
    width, height = (int(part) for part in options.get("size", "640x360").split("x"))
    check_size(width, height, address.name)
    fps = float(options.get("fps", "10"))
    if not 0.1 <= fps <= 240:
        raise UsageError(f"{address.name}: fps={fps:g} is not valid")
    scene = StreetScene(seed=int(options.get("seed", "1")), width=width, height=height, fps=fps)
    if config.halve:
        width, height = width // 2, height // 2
        check_size(width, height, address.name)
    live = options.get("live") == "1"
    start_us = unix_us(config.start_time) if config.start_time and not live else time.time_ns() // 1000

    def frames() -> Iterator[Frame]:
        index = 0
        while True:
            y, u, v = scene.planes(index)
            if config.halve:
                y, u, v = halved((y, u, v))
            pts_us = round(index * 1_000_000 / fps)
            if live:  # a picture that is late itself comes at once, as from a camera that stutters
                time.sleep(max(0.0, (start_us + pts_us) / 1e6 - time.time()))
            yield Frame(y, u, v, index=index, pts_us=pts_us, wall_us=start_us + pts_us)
            index += 1

    rate = min(fps, config.fps or fps)
    facts = Facts(width, height, rate, live, matrix=BT709)
    return Source(
        facts, f"{address.name} ({width}x{height}, {rate:g} fps)", _limit(frames(), config), int, lambda: None
    )


def _limit(frames: Iterator[Frame], config: SourceConfig) -> Iterator[Frame]:
    """At most `config.frames` frames, at most `config.fps` a second. Kept frames are counted anew from 0."""
    period_us = 1e6 / config.fps if config.fps else 0.0
    due_us = 0.0
    count = 0
    for frame in frames:
        if period_us and frame.pts_us < due_us - period_us / 20:  # a tolerance for rates that barely differ
            continue
        due_us = max(due_us + period_us, frame.pts_us)
        yield frame if frame.index == count else _renumbered(frame, count)
        count += 1
        if count == config.frames:
            return


def _renumbered(frame: Frame, index: int) -> Frame:
    return Frame(frame.y, frame.u, frame.v, index=index, pts_us=frame.pts_us, wall_us=frame.wall_us)
