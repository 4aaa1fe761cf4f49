"""`python -m tests.store.measure WHAT ...`: what the archive promises in numbers, by hand and on a quiet machine.

hour IN.fov DIR      an archive of an hour, made of a stream repeated, with a gap of five minutes in its middle
seek DIR             the first picture and the exact frame, median of fifty moments
export DIR OUT.mp4   memory and duration of the export of all of it
aging DIR            a thousand segments lose their backgrounds
readers DIR          two readers while three cameras are written, for ten minutes (--seconds)
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import random
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.bitstream import StreamReader
from pipeline.config import AgeStep, RetentionConfig
from pipeline.store import Sink, Store, activity, age, check, covered
from pipeline.types import CodedFrame, Detection, Layer, Packet
from tests.streams import INFO, WALL_US, make_packets

HOUR_US = 3_600_000_000
GAP_US = 300_000_000
PERSON = Detection(10.0, 20.0, 60.0, 90.0, "person", 0.9, 7)


def hour(stream: Path, root: Path) -> None:
    with stream.open("rb") as file, Store(root) as store:
        reader = StreamReader(file)
        packets = [item.packet for item in reader.packets()]
        step_us = packets[-1].pts_us - packets[0].pts_us + round(1e6 / (reader.info.fps or 10))
        sink = Sink(store, "gate", reader.info)
        for copy in range(HOUR_US // step_us):
            for packet in packets:
                sink.append(CodedFrame(_moved(packet, copy, step_us, len(packets)), (PERSON,)))
        sink.close()
        (summary,) = store.summary()
    print(f"{summary.frames} frames in {summary.segments} segments of {reader.info.width}x{reader.info.height}")


def _moved(packet: Packet, copy: int, step_us: int, count: int) -> Packet:
    pts_us = packet.pts_us + copy * step_us
    wall_us = WALL_US + pts_us + GAP_US * (pts_us > HOUR_US // 2)
    return replace(packet, index=packet.index + copy * count, pts_us=pts_us, wall_us=wall_us)


def seek(root: Path, threads: int) -> None:
    from functools import partial

    from pipeline.codec import Decoder
    from pipeline.player import Player

    rng = random.Random(1)
    with Store(root, readonly=True) as store:
        (camera,) = store.summary()
        assert camera.first_wall_us is not None
        assert camera.last_wall_us is not None
        first, exact, first_work, work = [], [], [], []
        # No plate is kept: those of a stream that is repeated are all the same.
        with Player(store, "gate", make_decoder=partial(Decoder, device="cpu", threads=threads, plates=0)) as player:
            list(player.seek(camera.first_wall_us))  # weights and the like
            for _ in range(50):
                at_us = rng.randrange(camera.first_wall_us, camera.last_wall_us)
                started, used = time.perf_counter(), time.process_time()
                for number, _ in enumerate(player.seek(at_us)):
                    (exact if number else first).append(time.perf_counter() - started)
                    (work if number else first_work).append(time.process_time() - used)
    for name, values in (
        ("first picture", first),
        ("exact frame", exact),
        ("processor time of the first picture", first_work),
        ("processor time of both", work),
    ):
        print(f"{name}: median {1000 * statistics.median(values):.0f} ms, worst {1000 * max(values):.0f} ms")


def export(root: Path, out: Path, threads: int) -> None:
    from functools import partial

    import av

    from pipeline.clip import ClipRequest, export_clip
    from pipeline.codec import Decoder

    with Store(root, readonly=True) as store:
        (camera,) = store.summary()
        assert camera.first_wall_us is not None
        assert camera.last_wall_us is not None
        request = ClipRequest("gate", camera.first_wall_us, camera.last_wall_us + 1, show_time=True, show_boxes=True)
        started = time.monotonic()
        print(f"before the first frame: {_memory()}")

        def progress(part: float, frames: int) -> None:
            if frames % 1000 == 0:
                print(f"{part:.0%}, {frames} frames, {_memory()}, {time.monotonic() - started:.0f} s")

        decoder = partial(Decoder, device="cpu", threads=threads)
        clip = export_clip(store, request, out, make_decoder=decoder, keep=False, progress=progress)
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert video.duration is not None
        assert video.time_base is not None
        seconds = float(video.duration * video.time_base)
    spanned = (camera.last_wall_us - camera.first_wall_us) / 1e6
    print(f"{clip.result.frames} frames of {camera.frames}, {len(clip.gaps)} gaps, {len(clip.faults)} faults")
    print(f"{seconds:.3f} s in the file, {spanned:.3f} s from the first frame's begin to the last one's")
    print(f"at the end: {_memory()}, {time.monotonic() - started:.0f} s")


def _memory() -> str:
    """This process's memory. Resident counts the pages of libraries too, which are on disk and shared between
    processes; its own is what nothing but this process has."""
    kib = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            kib[name] = int(value.split()[0])
    return f"{kib['VmHWM'] >> 10} MiB resident at most, {kib['RssAnon'] >> 10} MiB its own"


def aging(root: Path) -> None:
    with Store(root) as store:
        sink = Sink(store, "gate", INFO)
        for packet in make_packets(10_000, fps=10, gop=10, segment=10, size=300):
            sink.append(CodedFrame(packet, (PERSON,)))
        sink.close()
        foreground = _digest(store, Layer.FOREGROUND)
        size = sum(path.stat().st_size for path in root.rglob("*.bg"))
        policy = {"gate": RetentionConfig(background=AgeStep(days=1))}
        unlinked = [0.0]
        started = time.perf_counter()
        with _timed_unlinks(unlinked):
            done = age(store, policy, now_us=WALL_US + 2 * 86_400_000_000)
        seconds = time.perf_counter() - started
        assert _digest(store, Layer.FOREGROUND) == foreground
        assert not list(root.rglob("*.bg"))
        assert check(store) == ()
    segments, freed = sum(purge.segments for purge in done), sum(purge.bytes for purge in done)
    print(f"{segments} segments, {freed} of {size} bytes freed, every foreground file byte for byte the same")
    print(f"{seconds - unlinked[0]:.3f} s and {unlinked[0]:.3f} s of unlinks")


class _timed_unlinks:
    def __init__(self, total: list[float]) -> None:
        self._total = total

    def __enter__(self) -> None:
        import os

        self._unlink = unlink = os.unlink

        def timed(*arguments: Any, **options: Any) -> None:
            started = time.perf_counter()
            unlink(*arguments, **options)
            self._total[0] += time.perf_counter() - started

        os.unlink = timed

    def __exit__(self, *error: object) -> None:
        import os

        os.unlink = self._unlink


def _digest(store: Store, layer: Layer) -> str:
    digest = hashlib.sha256()
    for segment in store.segments("gate"):
        digest.update(store.path(segment, layer).read_bytes())
    return digest.hexdigest()


def readers(root: Path, seconds: float) -> int:
    context = multiprocessing.get_context("spawn")
    results: Any = context.SimpleQueue()
    Store(root).close()
    others = [context.Process(target=_read, args=(root, seconds, results)) for _ in range(2)]
    for process in others:
        process.start()
    took = sorted(_write(root, seconds))
    for process in others:
        process.join()
    failed = any(process.exitcode for process in others)
    for _ in range(0 if failed else 2):
        print(f"a reader: {results.get()}")
    p99 = took[int(len(took) * 0.99)]
    print(f"{len(took)} appends: p50 {1000 * took[len(took) // 2]:.2f} ms, p99 {1000 * p99:.1f} ms, "
          f"worst {1000 * took[-1]:.0f} ms")  # fmt: skip
    with Store(root, readonly=True) as store:
        faults = check(store)
    print(f"check: {len(faults)} faults")
    return int(failed or bool(faults))


def _write(root: Path, seconds: float) -> Iterator[float]:
    packets = make_packets(round(seconds * 10), fps=10, gop=20, segment=600, size=20_000)
    begin_s, begin_us = time.monotonic(), time.time_ns() // 1000
    with Store(root) as store:
        sinks = [Sink(store, camera, INFO) for camera in ("gate", "hall", "yard")]
        for packet in packets:
            time.sleep(max(0.0, begin_s + packet.pts_us / 1e6 - time.monotonic()))
            coded = CodedFrame(replace(packet, wall_us=begin_us + packet.pts_us), (PERSON,))
            for sink in sinks:
                started = time.perf_counter()
                sink.append(coded)
                yield time.perf_counter() - started
        for sink in sinks:
            sink.close()


def _read(root: Path, seconds: float, results: Any) -> None:
    """Ask and replay whatever there is, over and over, as a server with a busy page would."""
    from pipeline.replay import replay
    from tests.streams import FakeDecoder

    asked = shown = 0
    end_s = time.monotonic() + seconds
    with Store(root, readonly=True) as store:
        while time.monotonic() < end_s:
            now_us = time.time_ns() // 1000
            for camera in store.cameras():
                covered(store, camera, from_us=now_us - HOUR_US, to_us=now_us)
                store.events(camera, label="person", from_us=now_us - HOUR_US, to_us=now_us)
                activity(store, camera, from_us=now_us - HOUR_US, to_us=now_us, bucket_us=60_000_000)
                run = replay(store, camera, now_us - 30_000_000, now_us, make_decoder=FakeDecoder)
                shown += sum(1 for _ in run)
                if run.faults:
                    raise AssertionError(run.faults[0])
                asked += 4
            time.sleep(0.2)
    results.put(f"{asked} requests, {shown} frames")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store.measure")
    parser.add_argument("what", choices=["hour", "seek", "export", "aging", "readers"])
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    if options.what == "hour":
        hour(*options.paths)
    elif options.what == "seek":
        seek(*options.paths, options.threads)
    elif options.what == "export":
        export(*options.paths, options.threads)
    elif options.what == "aging":
        aging(*options.paths)
    else:
        return readers(*options.paths, options.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
