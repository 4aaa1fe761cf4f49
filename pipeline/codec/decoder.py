"""Packets in, frames out."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace
from itertools import islice

import torch

from pipeline.codec import weights
from pipeline.codec.brain import Brain
from pipeline.codec.encoder import choose_device
from pipeline.codec.group import Group, Opened, needed, turns
from pipeline.codec.layer import decode_layer
from pipeline.codec.plate import decode_plate
from pipeline.codec.state import Cells, Geometry, LayerState, Planes, cell_tensor, mix
from pipeline.errors import StreamError
from pipeline.types import Frame, Layer, LayerName, Packet, StreamInfo


class Decoder:
    """Decodes one stream. Starts at a packet with a plate, or at any key frame after `set_plate`.

    A frame decoded as `foreground` leaves the background waiting for the next key frame. A key frame may be given again
    at once, as `full` after `foreground`: its foreground is there already.

    Raises CodecError when the stream's weights are missing, StreamError when a packet is not valid or its symbols are
    not those that were coded; decoding can go on at the next key frame.
    """

    def __init__(
        self,
        info: StreamInfo,
        *,
        device: str = "auto",
        threads: int | None = None,
        whole: bool = False,
        plates: int = 1,
        brain: Brain | None = None,
    ) -> None:
        """`plates`: how many stay decoded, 1.5 bytes a pixel each, for who comes back to a segment."""
        if threads is not None:
            torch.set_num_threads(threads)
        brain = brain or weights.load(info.fingerprint, choose_device(device))
        self._brain = replace(brain, whole=whole, threads=torch.get_num_threads())
        self._geometry = Geometry(info.height, info.width)
        self._chains = tuple(
            _Chain(LayerState(layer, self._geometry, self._brain.device, self._brain.tables)) for layer in Layer
        )
        self._most_plates = plates
        self._plates: OrderedDict[bytes, tuple[Planes, Cells]] = OrderedDict()  # coded -> decoded, the latest last
        self._plate: Planes | None = None
        self._unclean: Cells | None = None
        self._ready = [False, False]  # each layer: a key frame was seen and nothing failed since
        self._held = False  # the background's plane shows what was last decoded on this plate
        self._index = -1
        self._key: bytes | None = None  # the foreground of the packet decoded last, if that was a key frame

    def set_plate(self, plate: bytes) -> None:
        """Take a segment's plate; the next packet must be a key frame."""
        # Nothing in a packet says which plate it was coded on: after a damaged plate the old one must not serve.
        self._plate = self._unclean = None
        self._ready, self._held, self._key = [False, False], False, None
        found = self._plates.pop(plate, None)
        if found is None:
            with self._brain.at_work():
                found = decode_plate(self._brain, self._geometry, plate)
        self._plate, self._unclean = self._plates[plate] = found
        if len(self._plates) > self._most_plates:
            self._plates.popitem(last=False)

    @property
    def unclean(self) -> Cells | None:
        """Cells (rows, cols) of the plate that were never seen without an object in them."""
        return self._unclean

    @property
    def cells(self) -> Cells:
        """Cells (rows, cols) that were foreground in the frame decoded last."""
        return self._chains[Layer.FOREGROUND].shown.cells

    def decode(self, packet: Packet, layer: LayerName = "full", *, held: bool = False) -> Frame:
        """The frame; `foreground`: foreground cells over the plate, without a look at the background. With `held` they
        lie over the background as it was last decoded on this plate, if it was."""
        with self._brain.at_work():
            return self._decode(packet, layer, held)

    def _decode(self, packet: Packet, layer: LayerName, held: bool) -> Frame:
        if packet.plate:
            self.set_plate(packet.plate)
        if self._plate is None:
            raise StreamError(f"frame {packet.index}: no plate yet")
        if not packet.key and packet.index <= self._index:
            raise StreamError(f"frame {packet.index} does not follow frame {self._index}")
        before, self._index = self._index, packet.index
        foreground = self._chains[Layer.FOREGROUND]
        if not (packet.key and packet.index == before and packet.foreground == self._key):
            self._key = None
            self._layer(Layer.FOREGROUND, packet, packet.foreground)
            self._key = packet.foreground if packet.key else None
        background = self._chains[Layer.BACKGROUND]
        if layer == "full":
            self._held = False
            self._layer(Layer.BACKGROUND, packet, packet.background)
            self._held = True
        else:
            self._ready[Layer.BACKGROUND] = False  # it missed a frame
        planes = foreground.shown.plane
        if layer == "full" or (held and self._held):
            cells = cell_tensor(foreground.shown.cells, self._brain.device)
            planes = mix(cells, foreground.shown.plane, background.shown.plane)
        y, u, v = self._geometry.crop(planes)
        return Frame(y, u, v, packet.index, packet.pts_us, packet.wall_us)

    def _layer(self, layer: Layer, packet: Packet, payload: bytes) -> None:
        chain = self._chains[layer]
        if packet.key and self._plate is not None:
            chain.reset(self._plate)
            self._ready[layer] = True
        if not self._ready[layer] or self._plate is None:
            raise StreamError(f"frame {packet.index}: its {layer.name.lower()} has no key frame to start from")
        self._ready[layer] = False
        try:
            chain.decode(self._brain, self._plate, payload, packet.sums[layer])
        except StreamError as error:
            raise StreamError(f"frame {packet.index}: {layer.name.lower()}: {error}") from error
        self._ready[layer] = True


class _Chain:
    """One layer's frames, packet by packet. `shown`: the one of the packet decoded last."""

    def __init__(self, state: LayerState) -> None:
        self._state = state
        self._begin(Opened(0), 0)

    def _begin(self, opened: Opened, checksum: int) -> None:
        self._opened, self._expected, self._found = opened, checksum, 0
        self._group, self._place = Group(self._state, opened.size), -1
        self._left = iter(zip(turns(opened.size), opened.has, strict=True)) if opened.size else iter(())
        self.shown = self._state.shown

    def reset(self, plate: Planes) -> None:
        """A key frame follows."""
        self._state.reset(plate)
        self._begin(Opened(0), 0)

    def decode(self, brain: Brain, plate: Planes, payload: bytes, checksum: int) -> None:
        """Decode what a packet's frame needs. Raises StreamError, also where what was found is not what was coded."""
        if self._place + 1 >= self._group.size:
            cells = self._state.past.cells.size
            self._begin(Opened.of(payload, self._state.layer, brain.tables, cells), checksum)
        elif payload:
            raise StreamError("a payload where the mini-GOP goes on")
        self._place += 1
        reader, count = self._opened.reader, needed(self._group.size)[self._place]
        for turn, has in islice(self._left, count):
            state = self._group.begin(turn)
            if has and reader is not None:
                self._found += decode_layer(brain, state, plate, reader)
            else:
                state.commit_empty()
            self._group.coded(turn, state, plate)
        self.shown = self._group.at(self._place)
        if reader is not None and count and self._group.whole:
            reader.finish()
            if self._found & 0xFFFF != self._expected:
                raise StreamError("its symbols do not match their checksum")
