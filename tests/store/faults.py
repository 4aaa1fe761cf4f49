"""`python -m tests.store.faults [--every N]`: a recording is disturbed at each of its file operations, those of SQLite
too, in each of the ways of faulty_disk.c. Afterwards the archive must be sound, and lack at most a second for each
disturbance. Exit status 1 for the first that does not hold. Needs a C compiler.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import StoreError
from pipeline.store import Sink, Store, check, open_segment
from pipeline.types import CodedFrame, Detection
from tests.streams import INFO, make_packets

FPS = 10
FRAMES = 50
PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)
MODES = {"error": 1, "full": 2, "kill": 3, "power": 4}
FULL_FOR = 40  # operations: so long the disk stays full
_MOST_FAILURES = 200
_KILLED = 137
_FAILED = b"\xff"


@dataclass(frozen=True, slots=True)
class Ended:
    """What a recording says of itself: the frames that its sink took, and how often it failed."""

    taken: tuple[int, ...]
    failures: int
    killed: bool


def compiler() -> str | None:
    return shutil.which("cc") or shutil.which("gcc")


def build(directory: Path) -> Path:
    """The library; raises CalledProcessError if the compiler refuses."""
    out = directory / "faulty_disk.so"
    source = Path(__file__).with_name("faulty_disk.c")
    command = [compiler() or "cc", "-shared", "-fPIC", "-O1", "-w", "-o", out, source, "-ldl"]
    subprocess.run(command, check=True)
    return out


def record(root: Path, report: int) -> None:
    """Record FRAMES frames in segments of two seconds; after each failure begin a new segment with the next frame.
    Writes to the descriptor `report` what it has done."""
    packets = make_packets(FRAMES, fps=FPS, gop=FPS, segment=2 * FPS)
    n = failures = 0
    while n < FRAMES and failures < _MOST_FAILURES:
        fresh = True
        try:
            with Store(root) as store:
                sink = Sink(store, "gate", INFO)
                try:
                    while n < FRAMES:
                        packet = replace(packets[n], key=True, plate=b"plate") if fresh else packets[n]
                        fresh = False
                        n += 1
                        sink.append(CodedFrame(packet, (PERSON,)))
                        os.write(report, bytes([packet.index]))
                finally:
                    sink.close()
        except StoreError as error:
            if "\n" in str(error):
                raise
            failures += 1
            os.write(report, _FAILED)


def disturbed(library: ctypes.CDLL, root: Path, mode: int, first: int) -> tuple[Ended, int]:
    """Record in a process of its own with one disturbance; also returns how many operations there were."""
    reads, writes = os.pipe()
    counts, counted = os.pipe()
    child = os.fork()
    if child == 0:
        last = first + (FULL_FOR if mode == MODES["full"] else 1)
        library.fault_arm(str(root).encode(), mode, ctypes.c_long(first), ctypes.c_long(last))
        status = 1
        try:
            record(root, writes)
            os.write(counted, str(library.fault_count()).encode())
            status = 0
        finally:
            os._exit(status)
    os.close(writes)
    os.close(counted)
    _, status = os.waitpid(child, 0)
    with os.fdopen(reads, "rb") as said, os.fdopen(counts, "rb") as operations:
        text, total = said.read(), operations.read()
    code = os.waitstatus_to_exitcode(status)
    if code not in (0, _KILLED):
        raise AssertionError("the recording ended in an unexpected error")
    taken = tuple(text.replace(_FAILED, b""))
    return Ended(taken, text.count(_FAILED), code == _KILLED), int(total or 0)


def judge(root: Path, ended: Ended) -> str | None:
    """What is wrong after the next sink has opened, None if nothing."""
    with Store(root) as store:
        Sink(store, "gate", INFO).close()
        faults = check(store)
        if faults:
            return f"check: {faults[0].path}: {faults[0].fault.reason}"
        with ExitStack() as stack:
            readers = [open_segment(store, segment, stack) for segment in store.segments("gate")]
            stored = [item.packet.index for reader in readers for item in reader.packets()]
    if stored != sorted(set(stored)):
        return f"frames out of order or twice: {stored}"
    missing = sorted(set(ended.taken) - set(stored))
    if len(missing) > FPS * (ended.failures + ended.killed):
        return f"{len(missing)} of {len(ended.taken)} frames are missing after {ended.failures} failures: {missing}"
    if ended.killed and not ended.failures and missing and missing != list(range(missing[0], ended.taken[-1] + 1)):
        return f"frames from before the last second are missing: {missing}"
    return None


def run(every: int, modes: list[str], scratch: Path) -> int:
    library = ctypes.CDLL(None)
    root = scratch / "archive"
    ended, operations = disturbed(library, root, 0, 0)
    assert (len(ended.taken), ended.failures, judge(root, ended)) == (FRAMES, 0, None)
    for mode in modes:
        started, runs, killed, failures = time.monotonic(), 0, 0, 0
        for first in range(1, operations + 1, every):
            shutil.rmtree(root, ignore_errors=True)
            ended, _ = disturbed(library, root, MODES[mode], first)
            wrong = judge(root, ended)
            if wrong is not None:
                print(f"{mode} at operation {first} of {operations}: {wrong}", file=sys.stderr)
                return 1
            runs, killed, failures = runs + 1, killed + ended.killed, failures + ended.failures
        seconds = time.monotonic() - started
        print(f"{mode}: {runs} of {operations} operations, {killed} deaths, {failures} failures, {seconds:.0f} s")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store.faults")
    parser.add_argument("--every", type=int, default=1, help="disturb every so many operations")
    parser.add_argument("--mode", choices=MODES, action="append")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        if "LD_PRELOAD" not in os.environ:
            environment = os.environ | {"LD_PRELOAD": str(build(Path(directory)))}
            command = [sys.executable, "-m", "tests.store.faults", *sys.argv[1:]]
            return subprocess.run(command, env=environment, check=False).returncode
        return run(options.every, options.mode or list(MODES), Path(directory).resolve())


if __name__ == "__main__":
    sys.exit(main())
