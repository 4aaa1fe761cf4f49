"""The archive: segment files and their index. schema.sql states what holds, `check` verifies it.

Knows no codec: packets come in coded and go out coded. To show an archive, open a `Store(root, readonly=True)`: it has
`cameras`, `segments`, `summary`, `detections`, `tracks` and `events`; the functions `covered`, `gaps` and `activity`
make a timeline of it. All may be called from any thread.
"""

from pipeline.store.check import StoreFault, check, open_segment, read_through
from pipeline.store.forecast import Forecast, finite, forecast
from pipeline.store.index import Store
from pipeline.store.keeper import Keeper, keep, purge_line
from pipeline.store.pins import pin, pins, unpin
from pipeline.store.repair import Mended, repair
from pipeline.store.retention import GB, age, purge_low_disk, purges, remove_range
from pipeline.store.rows import (
    EVER_US,
    GAP_US,
    Activity,
    CameraSummary,
    Event,
    Level,
    Pin,
    Purge,
    Segment,
    Span,
    StoredDetection,
    StoredTrack,
)
from pipeline.store.seen import Seen
from pipeline.store.sink import Sink
from pipeline.store.timeline import activity, covered, gaps
from pipeline.store.transfer import Transferred, transfer

__all__ = [
    "EVER_US",
    "GAP_US",
    "GB",
    "Activity",
    "CameraSummary",
    "Event",
    "Forecast",
    "Keeper",
    "Level",
    "Mended",
    "Pin",
    "Purge",
    "Seen",
    "Segment",
    "Sink",
    "Span",
    "Store",
    "StoreFault",
    "StoredDetection",
    "StoredTrack",
    "Transferred",
    "activity",
    "age",
    "check",
    "covered",
    "finite",
    "forecast",
    "gaps",
    "keep",
    "open_segment",
    "pin",
    "pins",
    "purge_line",
    "purge_low_disk",
    "purges",
    "read_through",
    "remove_range",
    "repair",
    "transfer",
    "unpin",
]
