"""A process that decodes for viewers: takes tasks over a pipe, sends back what they yield. Knows no HTTP, and no codec
but the one it is given.

Each task has a thread, and they take turns at decoding (see turns.py), so that a long clip never holds up a picture. A
task whose taker is slow stands still; one that nobody wants any more ends at its next turn.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.errors import FoveaError, JobCancelled, JobError
from pipeline.player import Player
from pipeline.replay import DecoderLike, MakeDecoder
from pipeline.serve.archive import Archive
from pipeline.serve.turns import Turns
from pipeline.store import Store
from pipeline.types import Frame, LayerName, Packet, StreamInfo

log = logging.getLogger(__name__)

WINDOW = 8  # parts that may be on their way to a taker
NICE = 10  # the recorder comes first
_IDLE_BYTES = 512 << 20  # about what idle players' decoders may take
_DECODER_BYTES = 30  # about what one takes, a pixel
_MASKS = 600  # a minute's; a few kilobytes each

Cells = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Head:
    """What must be known before the first byte: the media type, and what else goes into the answer's headers."""

    media_type: str
    headers: tuple[tuple[str, str], ...] = ()


Part = Head | bytes


class Task(Protocol):
    """What a viewer asks for; picklable. Yields its Head first."""

    def run(self, desk: Desk) -> Iterator[Part]: ...


@dataclass(frozen=True, slots=True)
class Message:
    """What goes over the pipe. To a worker: open (with viewer and task), take (one part was taken), close, quit. From
    it: part, end, failed (`error` says why)."""

    kind: Literal["open", "take", "close", "quit", "part", "end", "failed"]
    number: int
    viewer: str = ""
    task: Task | None = None
    part: Part | None = None
    error: FoveaError | None = None


class Memory:
    """What was decoded lately: the stream, and which cells were foreground in its last frames."""

    def __init__(self) -> None:
        self.info: StreamInfo | None = None
        self._masks: dict[int, Cells] = {}

    def saw(self, info: StreamInfo, frame: Frame, cells: Cells | None) -> None:
        """A frame was decoded."""
        self.info = info
        if cells is not None:
            self._masks[frame.wall_us] = cells
            while len(self._masks) > _MASKS:
                del self._masks[next(iter(self._masks))]

    def mask(self, frame: Frame) -> Cells | None:
        """The foreground (rows, cols) of a frame, if that is known."""
        return self._masks.get(frame.wall_us)


class Desk:
    """Where one task is worked on: the archive, a player, and a clock that stands still while the taker is slow."""

    def __init__(self, worker: Worker, number: int, viewer: str) -> None:
        self._worker, self._number, self._viewer = worker, number, viewer
        self.store = worker.store
        self.stop = threading.Event()
        self._room = threading.Condition()
        self._credit = WINDOW
        self._stood_s = 0.0
        self.memory = Memory()  # of the player, while there is one

    def clock(self) -> float:
        """Seconds, without those in which the taker took nothing."""
        return time.monotonic() - self._stood_s

    @contextmanager
    def player(self, camera: str) -> Iterator[Player]:
        """A player of this camera, perhaps one that has its plate decoded already."""
        with self._worker.player(camera, self) as player:
            yield player

    def decoder(self, info: StreamInfo) -> DecoderLike:
        """A decoder of this task's own, which takes turns."""
        return _Turned(self._worker.make_decoder(info), info, lambda: self)

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._worker.turns.turn(self._viewer, self.stop):
            yield

    def sleep(self, seconds: float) -> None:
        """Raises JobCancelled where nobody waits any more."""
        if self.stop.wait(seconds):
            raise JobCancelled("nobody waits for this any more")

    def send(self, part: Part) -> None:
        """Hand a part over; waits while too many are under way."""
        began = time.monotonic()
        with self._room:
            while self._credit <= 0 and not self.stop.is_set():
                self._room.wait()
            self._credit -= 1
        self._stood_s += time.monotonic() - began
        if self.stop.is_set():
            raise JobCancelled("nobody waits for this any more")
        self._worker.send(Message("part", self._number, part=part))

    def taken(self) -> None:
        with self._room:
            self._credit += 1
            self._room.notify_all()

    def close(self) -> None:
        self.stop.set()
        with self._room:
            self._room.notify_all()


class _Turned:
    """A decoder that takes its turns. `desk`: whose, for a player outlives its task."""

    def __init__(self, decoder: DecoderLike, info: StreamInfo, desk: Callable[[], Desk]) -> None:
        self._decoder, self._info, self._desk = decoder, info, desk

    def decode(self, packet: Packet, layer: LayerName = "full", *, held: bool = False) -> Frame:
        desk = self._desk()
        with desk.turn():
            frame = self._decoder.decode(packet, layer, held=held)
        desk.memory.saw(self._info, frame, getattr(self._decoder, "cells", None))
        return frame

    def set_plate(self, plate: bytes) -> None:
        with self._desk().turn():
            self._decoder.set_plate(plate)


class _Seat:
    """A player and whoever has it now."""

    def __init__(self, worker: Worker, camera: str) -> None:
        self.camera, self.store = camera, worker.store
        self.desk: Desk | None = None
        self.memory = Memory()
        self.player = Player(self.store, camera, make_decoder=self._make(worker), clock=lambda: self._desk().clock())

    @property
    def nbytes(self) -> int:
        """About what it takes."""
        info = self.memory.info
        return info.width * info.height * _DECODER_BYTES if info is not None else 0

    def _make(self, worker: Worker) -> MakeDecoder:
        return lambda info: _Turned(worker.make_decoder(info), info, self._desk)

    def _desk(self) -> Desk:
        if self.desk is None:
            raise JobError("a player decodes for nobody")
        return self.desk


class Worker:
    """Runs tasks until the pipe's other end is closed."""

    def __init__(self, pipe: Connection, root: Path, make_decoder: MakeDecoder) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._archive = Archive(root)
        self.make_decoder = make_decoder
        self.turns = Turns()
        self._desks: dict[int, Desk] = {}
        self._idle: list[_Seat] = []
        self._mutex = threading.Lock()

    @property
    def store(self) -> Store:
        return self._archive.store

    def run(self) -> None:
        threads: list[threading.Thread] = []
        try:
            while True:
                message = self._pipe.recv()
                if message.kind == "quit":
                    break
                desk = self._desks.get(message.number)
                if message.kind == "open" and message.task is not None:
                    desk = self._desks[message.number] = Desk(self, message.number, message.viewer)
                    thread = threading.Thread(target=self._work, args=(desk, message), daemon=True)
                    thread.start()
                    threads = [one for one in threads if one.is_alive()] + [thread]
                elif desk is not None and message.kind == "take":
                    desk.taken()
                elif desk is not None and message.kind == "close":
                    desk.close()
                    self.turns.wake()
        except (EOFError, OSError):
            pass  # the server is gone
        for desk in tuple(self._desks.values()):
            desk.close()
        self.turns.wake()
        for thread in threads:
            thread.join()
        for seat in self._idle:
            seat.player.close()
        self._pipe.close()

    def send(self, message: Message) -> None:
        with self._sending, suppress(OSError):  # the server is gone: `run` notices
            self._pipe.send(message)

    @contextmanager
    def player(self, camera: str, desk: Desk) -> Iterator[Player]:
        """A player for one task at a time."""
        with self._mutex:
            fits = (seat for seat in reversed(self._idle) if seat.camera == camera and seat.store is self.store)
            seat = next(fits, None)
            if seat is not None:
                self._idle.remove(seat)
        seat = seat or _Seat(self, camera)
        seat.desk, desk.memory = desk, seat.memory
        try:
            yield seat.player
        finally:
            seat.desk = None
            with self._mutex:
                for other in self._idle:
                    other.player.rest()  # only the last one keeps a GOP's frames, for who goes through them
                self._idle.append(seat)
                old = []
                while len(self._idle) > 1 and sum(idle.nbytes for idle in self._idle) > _IDLE_BYTES:
                    old.append(self._idle.pop(0))
            for idle in old:
                idle.player.close()

    def _work(self, desk: Desk, message: Message) -> None:
        end = Message("end", message.number)
        try:
            with self.turns.joined(message.viewer):
                for part in message.task.run(desk) if message.task is not None else ():
                    desk.send(part)
        except JobCancelled:
            pass
        except FoveaError as error:
            end = Message("failed", message.number, error=error)
        except Exception as error:  # the thread's outermost loop: other viewers go on
            log.exception("a task failed")
            end = Message("failed", message.number, error=JobError(f"{type(error).__name__} while decoding"))
        finally:
            del self._desks[message.number]
            self.send(end)


def main(pipe: Connection, root: Path, make_decoder: MakeDecoder, threads: int) -> None:
    """The whole life of a worker process. Ctrl-C is the server's to understand."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.environ["OMP_NUM_THREADS"] = str(threads)  # before torch is loaded: it holds for every thread then
    os.nice(NICE)
    if os.environ.get("FOVEA_DEBUG") != "1":
        warnings.simplefilter("ignore")  # of libraries, as in the command
    warm_up(root, make_decoder)
    worker = Worker(pipe, root, make_decoder)
    worker.send(Message("end", -1))
    worker.run()


def warm_up(root: Path, make_decoder: MakeDecoder) -> None:
    """Decode the newest picture of the archive, so that the first viewer does not wait for weights."""
    try:
        with Store(root, readonly=True) as store:
            newest = max(store.summary(), key=lambda summary: summary.last_wall_us or 0, default=None)
            if newest is not None and newest.last_wall_us is not None:
                with Player(store, newest.camera, make_decoder=make_decoder) as player:
                    next(player.seek(newest.last_wall_us), None)
    except (FoveaError, OSError) as error:
        log.warning("%s", error)  # whoever asks for a picture will hear of it
