"""How many bytes each layer took when: what a viewer sees of where the bits went."""

from __future__ import annotations

from contextlib import ExitStack

from pipeline.errors import StreamError
from pipeline.serve.archive import Archive
from pipeline.store import Segment, Store, open_segment

EXACT_US = 600_000_000  # a longer range is shown by segments


def bytes_by_time(
    archive: Archive, camera: str, *, from_us: int, to_us: int, buckets: int
) -> tuple[list[int], list[int]]:
    """Bytes of foreground (with plates) and of background in each of the buckets of [from_us, to_us)."""
    sums = _Sums(from_us, to_us, buckets)
    store = archive.store
    for segment in store.segments(camera, from_us=from_us, to_us=to_us):
        if to_us - from_us > EXACT_US or not _by_frame(store, segment, sums):
            _evenly(segment, sums)
    return list(map(round, sums.foreground)), list(map(round, sums.background))


class _Sums:
    def __init__(self, from_us: int, to_us: int, buckets: int) -> None:
        self.from_us, self.to_us, self.buckets = from_us, to_us, buckets
        self.width_us = (to_us - from_us) / buckets
        self.foreground, self.background = [0.0] * buckets, [0.0] * buckets


def _by_frame(store: Store, segment: Segment, sums: _Sums) -> bool:
    """Add a segment's packets in the range; whether it could be read."""
    with ExitStack() as stack:
        try:
            reader = open_segment(store, segment, stack)
            for item in reader.packets(reader.find(wall_us=sums.from_us)):
                packet = item.packet
                if packet.wall_us >= sums.to_us:
                    break
                if packet.wall_us >= sums.from_us:
                    place = min(sums.buckets - 1, int((packet.wall_us - sums.from_us) / sums.width_us))
                    sums.foreground[place] += len(packet.plate) + len(packet.foreground)
                    sums.background[place] += len(packet.background)
        except (StreamError, OSError):
            return False
    return True


def _evenly(segment: Segment, sums: _Sums) -> None:
    """Spread a segment's bytes over its length."""
    first_us, last_us = segment.first_wall_us, max(segment.last_wall_us, segment.first_wall_us + 1)
    low = max(0, int((first_us - sums.from_us) / sums.width_us))
    high = min(sums.buckets - 1, int((last_us - sums.from_us) / sums.width_us))
    for place in range(low, high + 1):
        begin_us = sums.from_us + place * sums.width_us
        share = (min(last_us, begin_us + sums.width_us) - max(first_us, begin_us)) / (last_us - first_us)
        sums.foreground[place] += max(0.0, share) * segment.bytes_foreground
        sums.background[place] += max(0.0, share) * segment.bytes_background * segment.has_background
