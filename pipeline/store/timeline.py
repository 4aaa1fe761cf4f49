"""What a timeline shows of an archive: where there is footage and what is left of it, gaps, what was seen when.

Reads the index alone, so that every answer takes milliseconds; safe to call from any thread.
"""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import UsageError
from pipeline.store import seen
from pipeline.store.index import Store
from pipeline.store.rows import GAP_US, Activity, Span

_MOST_BUCKETS = 10_000

# Islands of segments: each begins where the one before it ended too long ago, or at another level of aging.
_ISLANDS = """
    WITH chosen AS (
        SELECT s.first_wall_us AS first, s.last_wall_us AS last,
        CASE WHEN s.has_background THEN 'full' WHEN s.thinned THEN 'thin' ELSE 'foreground' END AS level
        FROM cameras c JOIN segments s ON s.camera = c.number
        WHERE c.id = :camera AND s.first_wall_us < :to_us AND s.last_wall_us >= :from_us
        AND s.first_wall_us >= :from_us - c.longest_us),
    marked AS (
        SELECT *, coalesce(first - max(last) OVER before > :gap_us OR level != lag(level) OVER run, 1) AS begins
        FROM chosen WINDOW run AS (ORDER BY first),
        before AS (ORDER BY first ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)),
    numbered AS (SELECT *, sum(begins) OVER (ORDER BY first ROWS UNBOUNDED PRECEDING) AS island FROM marked)
    SELECT min(first), max(last), level FROM numbered GROUP BY island ORDER BY island"""
_INNER_GAPS = """
    SELECT g.from_us, g.to_us FROM cameras c JOIN segments s ON s.camera = c.number JOIN gaps g ON g.segment = s.number
    WHERE c.id = :camera AND s.first_wall_us < :to_us AND s.first_wall_us >= :from_us - c.longest_us
    AND g.to_us > :from_us AND g.from_us < :to_us AND g.to_us - g.from_us > :gap_us ORDER BY g.from_us"""


def covered(store: Store, camera: str, *, from_us: int, to_us: int, gap_us: int = GAP_US) -> tuple[Span, ...]:
    """Where a camera has footage in [from_us, to_us), cut to it, in order. Silences of up to `gap_us` do not count; a
    timeline that shows a month asks for coarser ones."""
    values = {"camera": camera, "from_us": from_us, "to_us": to_us, "gap_us": gap_us}
    with store.reading() as database:
        islands = [Span(*row) for row in database.execute(_ISLANDS, values)]
        inner: list[tuple[int, int]] = database.execute(_INNER_GAPS, values).fetchall()
    found = []
    for span in islands:
        begin = span.from_us
        for gap_from, gap_to in inner:
            if begin <= gap_from and gap_to <= span.to_us:
                found.append(Span(begin, gap_from, span.level))
                begin = gap_to
        found.append(Span(begin, span.to_us, span.level))
    cut = (Span(max(s.from_us, from_us), min(s.to_us, to_us), s.level) for s in found)
    return tuple(span for span in cut if span.from_us <= span.to_us)


def gaps(spans: Sequence[Span], *, from_us: int, to_us: int, gap_us: int = GAP_US) -> tuple[tuple[int, int], ...]:
    """What lies between the spans of `covered`, and at the range's ends, where it is longer than `gap_us`."""
    found = []
    end = from_us
    for span in spans:
        if span.from_us - end > gap_us:
            found.append((end, span.from_us))
        end = max(end, span.to_us)
    if to_us - end > gap_us:
        found.append((end, to_us))
    return tuple(found)


def activity(
    store: Store, camera: str | None = None, *, from_us: int, to_us: int, bucket_us: int, label: str | None = None
) -> tuple[Activity, ...]:
    """How many tracks of each class touched each of the range's buckets; buckets without any are left out. Raises
    UsageError where there would be over ten thousand."""
    if bucket_us <= 0 or (to_us - from_us) / bucket_us > _MOST_BUCKETS:
        raise UsageError(f"buckets of {bucket_us} us: at most {_MOST_BUCKETS} of them fit into one answer")
    counts: dict[int, dict[str, int]] = {}
    last_bucket = -((from_us - to_us) // bucket_us) - 1
    query = seen.Query(camera, label, from_us, to_us)
    with store.reading() as database:
        for first, last, name, tracks in seen.activity(database, query, bucket_us):
            for bucket in range(max(first, 0), min(last, last_bucket) + 1):
                counts.setdefault(bucket, {}).setdefault(name, 0)
                counts[bucket][name] += tracks
    return tuple(
        Activity(from_us + bucket * bucket_us, min(from_us + (bucket + 1) * bucket_us, to_us), counts[bucket])
        for bucket in sorted(counts)
    )
