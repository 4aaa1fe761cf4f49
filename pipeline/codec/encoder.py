"""Frames and masks in, packets out. One encoder a camera; frame by frame, no look-ahead."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.codec import weights
from pipeline.codec.change import ChangeDetector, CleanScene, KeptSource
from pipeline.codec.layer import Brain, Coded, Job, encode_layer
from pipeline.codec.maps import Vectors
from pipeline.codec.nets import QUALITIES, step_size
from pipeline.codec.plate import encode_plate
from pipeline.codec.rate import RateControl
from pipeline.codec.search import MotionSearch
from pipeline.codec.state import Cells, Geometry, LayerState, Planes
from pipeline.errors import CodecError
from pipeline.types import Frame, Layer, Packet, RoiMask, StreamInfo


@dataclass(frozen=True, slots=True)
class Tuning:
    """The encoder's free choices; a decoder needs none of them. Chosen on the development clips, see
    docs/experiments.md."""

    background_offset: int = -8  # quality steps from foreground to background (12 halve the quantiser step)
    plate_offset: int = 6  # from foreground to plate: paid once a segment, used in every frame
    background_importance: float = 0.5  # what the analysis is told of background cells
    thrift: float = 1.0  # of the quantiser
    thrift_background: float = 1.3
    motion_share: float = 0.15  # search motion in the background when more than this share of it changed
    new_plate_slack: float = (
        4.0  # times the usual threshold: a plate is dear, so little drift is left to the background
    )
    new_plate_share: float = 0.5  # at a key frame, open a new segment when more than this share left the plate


def choose_device(device: str) -> str:
    """`auto` is CUDA where it is there. Raises CodecError for CUDA that is not."""
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CodecError("device cuda was asked for, but torch sees no CUDA device")
    return device


def quality_step(quality: float) -> int:
    """`quality` 0..100 -> the stream's 0..63."""
    return min(QUALITIES - 1, max(0, round(3 + 0.6 * quality)))


class Encoder:
    """Turns one camera's frames into packets.

    `quality` 0..100 sets the foreground; the background follows. With `bitrate_bps` quality is the upper limit.
    `info` is what a decoder must be given. Raises CodecError for frames of another size.
    """

    def __init__(
        self,
        *,
        width: int,
        height: int,
        quality: float = 50.0,
        bitrate_bps: int | None = None,
        gop_us: int = 2_000_000,
        segment_us: int = 60_000_000,
        device: str = "auto",
        threads: int | None = None,
        fps: float = 0.0,
        info: StreamInfo | None = None,
        tuning: Tuning | None = None,
        brain: Brain | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        mark = weights.newest() if brain is None else bytes(weights.FINGERPRINT)
        self._brain = brain or weights.load(mark, choose_device(device))
        base = info or StreamInfo(width=width, height=height, fingerprint=mark, fps=fps)
        self.info = replace(base, width=width, height=height, fingerprint=mark)
        self.tuning = tuning or Tuning()
        self._geometry = Geometry(height, width)
        self._gop_us, self._segment_us = gop_us, segment_us
        self._rate = RateControl(quality_step(quality), bitrate_bps)
        self._layers = tuple(LayerState(layer, self._geometry, self._brain.device) for layer in Layer)
        self._search = MotionSearch()
        self._change = ChangeDetector()
        self._scene: CleanScene | None = None
        self._kept: KeptSource | None = None
        self._plate: Planes | None = None
        self._plate_source: Planes | None = None
        self._key_us = self._segment_start_us = 0

    @torch.inference_mode()
    def encode(self, frame: Frame, mask: RoiMask) -> Packet:
        """Code one frame. Frames come in order; `mask` has the frame's cells."""
        if (frame.height, frame.width) != (self._geometry.height, self._geometry.width):
            size = f"{self._geometry.width}x{self._geometry.height}"
            raise CodecError(f"frame {frame.index} is {frame.width}x{frame.height}, the stream {size}")
        if mask.cells.shape != self._geometry.cells:
            raise CodecError(f"mask of {mask.cells.shape} cells for a picture of {self._geometry.cells}")
        picture = self._geometry.pad(frame, self._brain.device)
        q = self._rate.quality(frame.pts_us)
        key = self._plate is None or frame.pts_us - self._key_us >= self._gop_us
        plate = (
            self._open_segment(picture, frame, mask.cells, q)
            if key and self._wants_plate(picture, frame, mask.cells, q)
            else b""
        )
        if key:
            self._reset(frame)
        foreground = self._foreground(picture, mask, q)
        background = self._background(picture, mask.cells, q)
        packet = Packet(
            index=frame.index,
            pts_us=frame.pts_us,
            wall_us=frame.wall_us,
            key=key,
            plate=plate,
            foreground=foreground.payload,
            background=background.payload,
            sums=(foreground.checksum, background.checksum),
        )
        self._rate.spent(packet)
        return packet

    def _q(self, q: int, offset: int) -> int:
        return min(QUALITIES - 1, max(0, q + offset))

    def _background_q(self, q: int) -> int:
        return self._q(q, self.tuning.background_offset)

    def _step(self, q: int) -> float:
        return float(step_size(torch.tensor(q)))

    def _wants_plate(self, picture: Planes, frame: Frame, busy: Cells, q: int) -> bool:
        if self._plate is None or self._plate_source is None or self._scene is None:
            return True
        if frame.pts_us - self._segment_start_us >= self._segment_us:
            return True
        step = self._step(self._background_q(q))
        left = self._change.differs(picture, self._plate_source, step=step, slack=self.tuning.new_plate_slack)
        return bool(left[~busy].mean() > self.tuning.new_plate_share) if (~busy).any() else False

    def _open_segment(self, picture: Planes, frame: Frame, busy: Cells, q: int) -> bytes:
        """A new plate, of the clean scene as it is known now."""
        if self._scene is None:
            self._scene = CleanScene(picture, busy)
        else:
            moved = self._change.differs(picture, self._scene.picture(), step=self._step(self._background_q(q)))
            self._scene.update(picture, busy=busy, changed=moved)
        source = self._scene.picture()
        q_plate = self._q(q, self.tuning.plate_offset)
        payload, self._plate = encode_plate(self._brain, self._geometry, source, unclean=self._scene.unclean, q=q_plate)
        self._plate_source = source
        self._segment_start_us = frame.pts_us
        return payload

    def _reset(self, frame: Frame) -> None:
        if self._plate is None or self._plate_source is None:
            raise CodecError("a key frame before any plate")
        self._key_us = frame.pts_us
        for layer in self._layers:
            layer.reset(self._plate)
        self._kept = KeptSource(self._plate_source)

    def _foreground(self, picture: Planes, mask: RoiMask, q: int) -> Coded:
        state = self._layers[Layer.FOREGROUND]
        if self._plate is None or not mask.cells.any():
            state.commit_empty()
            self._restore_plate(state, mask.cells)
            return Coded(b"", 0)
        vectors = self._search.choose(picture, state, self._plate, mask.cells, step=self._step(q), move=state.age > 0)
        importance = mask.importance.astype(np.float32) / 255
        job = Job(picture, mask.cells, vectors, importance, q, self.tuning.thrift)
        coded = encode_layer(self._brain, state, self._plate, job)
        self._restore_plate(state, mask.cells)
        return coded

    def _restore_plate(self, state: LayerState, cells: Cells) -> None:
        if self._plate is not None:
            state.restore(cells, self._plate)

    def _background(self, picture: Planes, busy: Cells, q: int) -> Coded:
        state = self._layers[Layer.BACKGROUND]
        if self._kept is None or self._plate is None or self._scene is None:
            raise CodecError("a background before any plate")
        q = self._background_q(q)
        changed = self._change.changed(picture, self._kept.planes, step=self._step(q)) & ~busy
        self._scene.update(picture, busy=busy, changed=changed)
        if not changed.any():
            state.commit_empty()
            return Coded(b"", 0)
        vectors = self._background_vectors(picture, state, changed, q)
        importance = np.full(changed.shape, self.tuning.background_importance, np.float32)
        job = Job(picture, changed, vectors, importance, q, self.tuning.thrift_background)
        coded = encode_layer(self._brain, state, self._plate, job)
        self._kept.keep(picture, changed)
        return coded

    def _background_vectors(self, picture: Planes, state: LayerState, changed: Cells, q: int) -> Vectors:
        if self._plate is None:
            raise CodecError("a background before any plate")
        move = state.age > 0 and bool(changed.mean() > self.tuning.motion_share)
        return self._search.choose(picture, state, self._plate, changed, step=self._step(q), move=move)
