from __future__ import annotations

import multiprocessing
import os
from itertools import pairwise
from pathlib import Path

from pipeline.footage import CodedFootage, Counters, Ledger, Receipt, SourceCounts
from pipeline.graph import SinkStage
from pipeline.recording import ArchiveSink, Recordings
from pipeline.store import Store, check
from pipeline.store.timeline import covered
from pipeline.types import CodedFrame
from tests.streams import INFO, make_packets


def stage(root: Path) -> SinkStage:
    return SinkStage(lambda info: ArchiveSink(root, "gate", info))


def footage(first: int, last: int, *, session: int = 1) -> CodedFootage:
    packets = make_packets(60, gop=15, segment=30)[first:last]
    return CodedFootage(INFO, session, tuple(CodedFrame(packet) for packet in packets), is_live=True)


def _die(root: Path) -> None:
    stage(root).process(footage(0, 25))
    os._exit(9)


def test_what_a_dead_writer_left_is_counted_and_the_gap_noted(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    packets = make_packets(60, gop=15, segment=30)
    with Store(root):
        pass
    held = Recordings(root, "gate")
    mark = held.mark()
    writer = multiprocessing.get_context("spawn").Process(target=_die, args=(root,))
    writer.start()
    writer.join()
    stored = held.stored(mark)
    assert 0 < stored <= 25
    keys = [packet.index for packet in packets if packet.plate and packet.index >= 25]
    heir = stage(root)
    heir.process(footage(keys[0], 60))
    heir.close()
    assert held.stored(mark) == stored + 60 - keys[0]
    with Store(root, readonly=True) as store:
        spans = covered(store, "gate", from_us=0, to_us=1 << 60, gap_us=0)
        assert [(a.to_us, b.from_us) for a, b in pairwise(spans)][-1] == (
            packets[stored - 1].wall_us, packets[keys[0]].wall_us
        )  # fmt: skip
        assert list(check(store)) == []


def test_another_session_is_another_recording_and_its_gap_is_noted(tmp_path: Path) -> None:
    root = tmp_path / "archive"
    sink = SinkStage(lambda info: ArchiveSink(root, "gate", info))
    sink.process(footage(0, 25))
    sink.process(CodedFootage(None, 0, ()))
    sink.process(footage(0, 25, session=2))
    receipt = sink.process(CodedFootage(None, 0, ()))
    sink.close()
    assert len(receipt.latencies_s) == 0 or min(receipt.latencies_s) > 0
    with Store(root, readonly=True) as store:
        assert [segment.epoch for segment in store.segments("gate")] == [1, 2]


def test_a_ledger_knows_what_became_of_every_frame() -> None:
    ledger = Ledger()
    ledger.read(SourceCounts(frames_in=30, dropped=4, lost=1))
    ledger.store(Receipt(Counters(coded=18, bytes_foreground=5)))
    assert ledger.total.frames_in == 30
    total = ledger.settle(stored=15, died=True)
    assert (total.coded, total.dropped, total.killed, total.lost, total.restarts) == (15, 4, 11, 1, 1)
    ledger.read(SourceCounts(frames_in=10))
    ledger.store(Receipt(Counters(coded=8)))
    total = ledger.settle()
    assert (total.frames_in, total.coded, total.dropped, total.killed) == (40, 23, 6, 11)


def test_a_file_that_resumes_reads_again_what_was_not_stored() -> None:
    ledger = Ledger()
    ledger.read(SourceCounts(frames_in=30))
    ledger.store(Receipt(Counters(coded=18)))
    total = ledger.settle(stored=16, resumes=True, died=True)
    assert (total.frames_in, total.coded, total.killed) == (16, 16, 0)
