"""The server's side of the worker processes: gives tasks out, hands on what comes back, replaces what dies.

Bounded: so many tasks at once, and so many parts of each on their way. For the server's event loop alone.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Protocol

from pipeline.errors import FoveaError, JobError, WorkerError
from pipeline.replay import MakeDecoder
from pipeline.serve.worker import Head, Message, Task, main

log = logging.getLogger(__name__)

_PAUSE_S = 1.0  # before a worker that died is replaced
_END_S = 2.0  # for a worker to end by itself; one that still loads its libraries does not


class BusyError(JobError):
    """As many tasks as may be are under way."""


class Life(Protocol):
    """A worker's process, or what stands in for it."""

    def start(self) -> None: ...
    def join(self, timeout: float | None = None) -> None: ...
    def is_alive(self) -> bool: ...


Start = Callable[[Connection, Path, MakeDecoder, int], Life]


def as_process(pipe: Connection, root: Path, make_decoder: MakeDecoder, threads: int) -> Life:
    """A process of its own, begun anew rather than forked: the server has threads."""
    context = multiprocessing.get_context("spawn")
    return context.Process(target=main, args=(pipe, root, make_decoder, threads), daemon=True, name="fovea-decode")


class Answer:
    """What one task yields. `head` is there once the pool gives it out; iterate over the rest."""

    def __init__(self, link: _Link, number: int) -> None:
        self._link, self._number = link, number
        self._parts: asyncio.Queue[Message] = asyncio.Queue()
        self.head = Head("application/octet-stream")

    def put(self, message: Message) -> None:
        self._parts.put_nowait(message)

    async def begin(self) -> None:
        """Wait for the head. Raises what the task raised."""
        part = await self._next()
        if not isinstance(part, Head):
            raise JobError("there is nothing to show")
        self.head = part

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while isinstance(part := await self._next(), bytes):
            yield part

    async def body(self) -> bytes:
        """All of it, for what is small."""
        return b"".join([part async for part in self])

    async def _next(self) -> Head | bytes | None:
        message = await self._parts.get()
        if message.kind == "part":
            self._link.send(Message("take", self._number))
            return message.part
        self._link.ended(self._number)
        if message.error is not None:
            raise message.error
        return None


@dataclass(eq=False, slots=True)
class _Link:
    """One worker: its pipe, its life, and the tasks that it has."""

    pipe: Connection
    life: Life
    answers: dict[int, Answer]

    def send(self, message: Message) -> None:
        with suppress(OSError):  # it died: its reader says so
            self.pipe.send(message)

    def ended(self, number: int) -> None:
        self.answers.pop(number, None)


class Pool:
    """Workers for an archive. `async with` begins and ends them."""

    def __init__(
        self,
        root: Path,
        make_decoder: MakeDecoder,
        *,
        workers: int,
        threads: int = 1,
        most: int = 64,
        start: Start = as_process,
    ) -> None:
        self._root, self._make_decoder, self._threads = root, make_decoder, threads
        self._workers, self._most, self._start = workers, most, start
        self._links: list[_Link] = []
        self._numbers = count()
        self._ending = False
        self.deaths = self.begun = self.refused = 0

    async def __aenter__(self) -> Pool:
        self._loop = asyncio.get_running_loop()
        for _ in range(self._workers):
            self._launch()
        return self

    async def __aexit__(self, *about: object) -> None:
        self._ending = True
        for link in self._links:
            link.send(Message("quit", -1))
        for link in self._links:
            await asyncio.to_thread(link.life.join, _END_S)
            if link.life.is_alive() and isinstance(link.life, BaseProcess):
                link.life.kill()  # it writes nothing, so nothing is lost
                link.life.join()

    @property
    def active(self) -> int:
        """Tasks under way."""
        return sum(len(link.answers) for link in self._links)

    @asynccontextmanager
    async def answer(self, viewer: str, task: Task, *, always: bool = False) -> AsyncIterator[Answer]:
        """What a task yields, for the length of a `with`; its work ends with it. Raises BusyError (with `always` only
        where no worker lives), and what the task raises before its head."""
        if (self.active >= self._most and not always) or not self._links:  # none for a moment, where one has died
            self.refused += 1
            raise BusyError("too much is under way: try again in a moment")
        link = min(self._links, key=lambda link: len(link.answers))
        number = next(self._numbers)
        self.begun += 1
        answer = link.answers[number] = Answer(link, number)
        link.send(Message("open", number, viewer, task))
        try:
            await answer.begin()
            yield answer
        finally:
            if number in link.answers:
                link.ended(number)
                link.send(Message("close", number))

    def _launch(self) -> None:
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        life = self._start(theirs, self._root, self._make_decoder, self._threads)
        life.start()
        if not isinstance(life, threading.Thread):
            theirs.close()  # so that its death shows as the pipe's end
        link = _Link(ours, life, {})
        self._links.append(link)
        threading.Thread(target=self._read, args=(link,), daemon=True, name="fovea-decoded").start()

    def _read(self, link: _Link) -> None:
        """In a thread: what a worker sends, until it is gone."""
        with suppress(EOFError, OSError, RuntimeError):  # RuntimeError: the loop has ended
            while True:
                self._loop.call_soon_threadsafe(self._give, link, link.pipe.recv())
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._lost, link)

    @staticmethod
    def _give(link: _Link, message: Message) -> None:
        answer = link.answers.get(message.number)
        if answer is not None:
            answer.put(message)

    def _lost(self, link: _Link) -> None:
        """A worker is gone: its tasks fail, another takes its place."""
        if self._ending or link not in self._links:
            return
        self.deaths += 1
        self._links.remove(link)
        log.warning("a process that decodes died (%d so far); another takes its place", self.deaths)
        gone: FoveaError = WorkerError("the process that decoded this died")
        for number, answer in tuple(link.answers.items()):
            answer.put(Message("failed", number, error=gone))
        self._loop.call_later(_PAUSE_S, self._replace)

    def _replace(self) -> None:
        if not self._ending:
            self._launch()
