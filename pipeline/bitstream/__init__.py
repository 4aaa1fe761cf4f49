"""The container of Fovea streams: packets to bytes and back, over damage. FORMAT.md is normative.

Sans-I/O: file objects in and out, never a path. The standard library, numpy and CRC32C only.
"""

from pipeline.bitstream.faults import Fault, Loss
from pipeline.bitstream.header import HEADER_BYTES, Header
from pipeline.bitstream.inspection import StreamReport, inspect_stream
from pipeline.bitstream.keyindex import KeyFrame
from pipeline.bitstream.merge import ReadPacket
from pipeline.bitstream.reader import StreamReader
from pipeline.bitstream.writer import StreamWriter

__all__ = [
    "HEADER_BYTES",
    "Fault",
    "Header",
    "KeyFrame",
    "Loss",
    "ReadPacket",
    "StreamReader",
    "StreamReport",
    "StreamWriter",
    "inspect_stream",
]
