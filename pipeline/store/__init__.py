"""The archive: segment files and their index. schema.sql states what holds, `check` verifies it.

Knows no codec: packets come in coded and go out coded.
"""

from pipeline.store.check import StoreFault, check, open_segment, read_through
from pipeline.store.index import CameraSummary, Segment, Store, StoredDetection
from pipeline.store.sink import Sink

__all__ = [
    "CameraSummary",
    "Segment",
    "Sink",
    "Store",
    "StoreFault",
    "StoredDetection",
    "check",
    "open_segment",
    "read_through",
]
