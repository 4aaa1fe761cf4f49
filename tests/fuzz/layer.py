"""Entropy-coded payloads through the codec's decoder: a plate, or both layers of a key frame or of the mini-GOP after
it.

An input is one byte that says which frame of a short real stream it replaces, then plate, foreground and background,
each behind a u16 of its length. A payload that decodes although it was damaged has passed a checksum of 16 bits, which
one in 65,536 may; what must not happen is anything but a frame or a StreamError.
"""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from functools import cache

import torch

from pipeline.codec import Decoder, Encoder
from pipeline.types import Packet, StreamInfo
from tests.codec.clips import small_brain, walk

SIZE = 64
_LENGTH = struct.Struct("<H")


@cache
def _stream() -> tuple[StreamInfo, tuple[Packet, ...]]:
    """Small nets: what they have learned is nothing to the parse."""
    torch.set_num_threads(1)
    encoder = Encoder(width=SIZE, height=SIZE, quality=40.0, device="cpu", brain=small_brain())
    return encoder.info, tuple(encoder.encode_all(list(walk(5, SIZE, SIZE, noise=2.0))))


@cache
def _decoder() -> Decoder:
    return Decoder(_stream()[0], device="cpu", brain=small_brain())


def pack(number: int, parts: tuple[bytes, bytes, bytes]) -> bytes:
    return bytes((number,)) + b"".join(_LENGTH.pack(len(part)) + part for part in parts)


def unpack(data: bytes) -> tuple[int, list[bytes]]:
    """The inverse of `pack`; what is missing is empty."""
    at, parts = 1, []
    for _ in range(3):
        (length,) = _LENGTH.unpack(data[at : at + 2].ljust(2, b"\0"))
        parts.append(data[at + 2 : at + 2 + length])
        at += 2 + length
    return data[0] if data else 0, parts


def make(rng: random.Random) -> bytes:
    _, packets = _stream()
    number = rng.choice([n for n, packet in enumerate(packets) if packet.nbytes])
    packet = packets[number]
    parts = [packet.plate, packet.foreground, packet.background]
    chosen = rng.choice([k for k, part in enumerate(parts) if part])
    parts[chosen] = _damage(rng, parts[chosen], rng.choice([part for part in parts if part]))
    return pack(number, (parts[0], parts[1], parts[2]))


def _damage(rng: random.Random, data: bytes, other: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        kind, place = rng.randrange(6), rng.randrange(len(damaged)) if damaged else 0
        if kind == 0 and damaged:
            damaged[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            damaged[place : place + 4] = rng.randbytes(4)
        elif kind == 2:
            damaged[place:] = rng.randbytes(4 * rng.randrange(40))
        elif kind == 3:
            damaged[place : place + 4 * rng.randrange(1, 8)] = (
                rng.choice((b"\xff", b"\0", b"\xf0")) * 4 * rng.randrange(40)
            )
        elif kind == 4:
            damaged[place:] = other[rng.randrange(len(other)) :]
        else:
            damaged[:1] = bytes((rng.randrange(256),))
    return bytes(damaged)


def run(data: bytes) -> None:
    _, packets = _stream()
    decoder = _decoder()
    number, (plate, foreground, background) = unpack(data)
    number %= len(packets)
    decoder.set_plate(plate if number == 0 and plate else packets[0].plate)
    for packet in packets[:number]:
        decoder.decode(replace(packet, plate=b""))
    decoder.decode(replace(packets[number], plate=b"", foreground=foreground, background=background))
    for packet in packets[number + 1 :]:
        decoder.decode(packet)
