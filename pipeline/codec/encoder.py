"""Frames and masks in, packets out. One encoder a camera. Frame by frame, or several at a time in mini-GOPs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec import weights
from pipeline.codec.blocks import grown
from pipeline.codec.brain import Brain
from pipeline.codec.change import ChangeDetector, CleanScene, KeptSource, block_means
from pipeline.codec.effort import BEST, EFFORTS
from pipeline.codec.group import MOST, Group, pack, turns
from pipeline.codec.layer import NOTHING, Coded, Job, cells_worth_coding, encode_layer, encode_still
from pipeline.codec.model import LEAST_BITS
from pipeline.codec.modes import Vectors, is_moving, places_of
from pipeline.codec.native import on_host
from pipeline.codec.nets import QUALITIES, step_size
from pipeline.codec.passes import cell_errors
from pipeline.codec.plate import encode_plate
from pipeline.codec.rate import BackgroundBalance, RateControl
from pipeline.codec.search import MotionSearch
from pipeline.codec.state import Cells, Geometry, LayerState, Planes, cell_tensor, mix
from pipeline.codec.tuning import Tuning
from pipeline.errors import CodecError
from pipeline.types import CELL, Frame, Layer, Packet, RoiMask, StreamInfo

MINI_GOP = 16  # frames
_ELSEWHERE = 3.0  # times the usual change, where frames in between are not expected to differ from those beside
_MEASURE_EVERY = 4  # frames, of the errors that balance foreground and background: none that is refined


def choose_device(device: str) -> str:
    """`auto` is the CPU, whose compiled loops a GPU has none of: 16 cores encoded 2.7 times as many frames as the H200
    beside them (docs/capacity.md, "GPUs"). Raises CodecError for CUDA that is not there."""
    if device == "auto":
        return "cpu"
    if device == "cuda" and not torch.cuda.is_available():
        raise CodecError("device cuda was asked for, but torch sees no CUDA device")
    return device


def quality_step(quality: float) -> int:
    """`quality` 0..100 -> the stream's 1..61: refined foregrounds and plates are above that."""
    return min(QUALITIES - 1, max(0, round(1 + 0.6 * quality)))


@dataclass(frozen=True)
class _Seen:
    """A frame to be coded, with its padded `picture`."""

    frame: Frame
    mask: RoiMask
    picture: Planes

    @cached_property
    def means(self) -> Tensor:
        """Of the picture's blocks, worked out where they are asked for."""
        return block_means(self.picture)


@dataclass(slots=True)
class _Segment:
    """What hangs on a plate: the plate as a decoder has it, the block means of the picture that it was made of, the
    times of its opening and of the last key frame, and since that the source of each background cell."""

    plate: Planes
    source: Tensor
    start_us: int
    key_us: int
    kept: KeptSource


class Encoder:
    """Turns one camera's frames into packets.

    `quality` 0..100 sets the foreground; the background follows. With `bitrate_bps` quality is the upper limit.
    `mini_gop`: how many frames `encode_all` codes together, at most. `bf16` and `whole`: see `Brain`. `effort` is the
    name of one of EFFORTS and may change between frames. `info` is what a decoder must be given. Raises CodecError for
    frames of another size.
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
        mini_gop: int = MINI_GOP,
        device: str = "auto",
        threads: int | None = None,
        fps: float = 0.0,
        bf16: bool = False,
        whole: bool = False,
        effort: str = BEST.name,
        tuning: Tuning | None = None,
        brain: Brain | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        mark = weights.newest() if brain is None else bytes(weights.FINGERPRINT)
        brain = brain or weights.load(mark, choose_device(device))
        self._brain = replace(brain, bf16=bf16, whole=whole, threads=torch.get_num_threads())
        self.info = StreamInfo(width=width, height=height, fingerprint=mark, fps=fps)
        self.tuning = tuning or Tuning()
        self._geometry = Geometry(height, width)
        if not 1 <= mini_gop <= MOST:
            raise CodecError(f"a mini-GOP of {mini_gop} frames: 1 to {MOST} are supported")
        self._gop_us, self._segment_us, self._mini_gop = gop_us, segment_us, mini_gop
        self._since_key = -1  # frames
        self._rate = RateControl(quality_step(quality), bitrate_bps, gop_s=gop_us / 1e6, segment_s=segment_us / 1e6)
        self._foreground, self._background = (
            LayerState(layer, self._geometry, self._brain.device, self._brain.tables) for layer in Layer
        )
        self._stays = 1.0  # share of the picture, when a plate was last made
        self._balance = BackgroundBalance(self.tuning.background_slack_db)
        self._search = MotionSearch(self._brain.nets.analysis_of("foreground").basis)
        self._change = ChangeDetector()
        self.effort = effort
        self._scene: CleanScene | None = None
        self._segment: _Segment | None = None
        self._busy: Cells = np.zeros(self._geometry.cells, np.bool_)  # the foreground of the last frame

    @property
    def effort(self) -> str:
        return self._effort.name

    @effort.setter
    def effort(self, name: str) -> None:
        if name not in EFFORTS:
            raise CodecError(f"effort {name!r}: none of {', '.join(EFFORTS)}")
        self._effort = EFFORTS[name]

    def encode(self, frame: Frame, mask: RoiMask) -> Packet:
        """Code one frame by itself. Frames come in order; `mask` has the frame's cells."""
        return self.encode_all(((frame, mask),))[0]

    def encode_all(self, frames: Sequence[tuple[Frame, RoiMask]]) -> list[Packet]:
        """Code some frames in a row, in mini-GOPs where no key frame is due: a packet each, in the same order."""
        for frame, mask in frames:
            self._check(frame, mask)
        packets: list[Packet] = []
        with self._brain.at_work():
            run: list[tuple[Frame, RoiMask]] = []
            for place, (frame, mask) in enumerate(frames):
                if self._due(frame):
                    packets += self._encode(run)
                    ahead = frames[place + 1 : place + self._mini_gop]  # no further than others wait
                    packets += self._encode([(frame, mask)], ahead[-1][0] if ahead else None)
                    run = []
                else:
                    run.append((frame, mask))
                    if len(run) == self._mini_gop:
                        packets += self._encode(run)
                        run = []
            packets += self._encode(run)
        return packets

    def _check(self, frame: Frame, mask: RoiMask) -> None:
        if (frame.height, frame.width) != (self._geometry.height, self._geometry.width):
            size = f"{self._geometry.width}x{self._geometry.height}"
            raise CodecError(f"frame {frame.index} is {frame.width}x{frame.height}, the stream {size}")
        if mask.cells.shape != self._geometry.cells:
            raise CodecError(f"mask of {mask.cells.shape} cells for a picture of {self._geometry.cells}")

    def _due(self, frame: Frame) -> bool:
        """Whether a frame has to be a key frame."""
        return self._segment is None or frame.pts_us - self._segment.key_us >= self._gop_us

    def _encode(self, run: Sequence[tuple[Frame, RoiMask]], ahead: Frame | None = None) -> list[Packet]:
        """Code a key frame, of which a frame some way `ahead` may tell how much of it stays, or a mini-GOP."""
        if not run:
            return []
        seen, q = [], 0
        for frame, mask in run:
            picture, q = self._geometry.pad(frame, self._brain.device), self._rate.quality(frame.pts_us)
            seen.append(_Seen(frame, mask, picture))
        anchor, size, plate = seen[-1], len(seen), b""
        if self._scene is None:
            self._scene = CleanScene(anchor.picture, anchor.mask.cells)
        scene, segment, key = self._scene, self._segment, self._due(anchor.frame)
        if segment is None or (key and self._wants_plate(segment, anchor, q)):
            segment, plate = self._open_segment(scene, anchor, q, ahead)
        if key:
            self._reset(segment, anchor.frame)
        self._since_key += size
        for item in seen[:-1]:
            self._look(segment, scene, item)
        groups = Group(self._foreground, size), Group(self._background, size)
        bodies: tuple[list[Coded], list[Coded]] = ([], [])
        for turn in turns(size):
            item, states = seen[turn.place], [group.begin(turn) for group in groups]
            if turn.after is None:
                coded = (
                    self._code_foreground(segment, states[0], item, self._refined(q, size)),
                    self._code_background(segment, scene, item, q, size),
                )
            else:
                lower = self._q(q, self.tuning.of_between(turn.depth))
                apart = groups[0].differ | groups[1].differ
                coded = (
                    self._code_foreground(segment, states[0], item, lower),
                    self._code_background_between(segment, states[1], item, lower, apart),
                )
            for group, state, body, one in zip(groups, states, bodies, coded, strict=True):
                group.coded(turn, state, segment.plate)
                body.append(one)
        for group, body in zip(groups, bodies, strict=True):
            group.close(body)
        packets = _packets(self._brain, seen, plate, key, bodies)
        for packet in packets:
            self._rate.spent(packet)
        if self._comes(_MEASURE_EVERY, size, ahead=1) and not self._comes(self.tuning.refine_every, size):
            self._balance.seen(*self._errors(anchor.picture, anchor.mask.cells))
        return packets

    def _comes(self, every: int, size: int, *, ahead: int = 0) -> bool:
        """Whether one of the last `size` frames, or of those `ahead` of them, is an `every`th since the key frame."""
        now = self._since_key + ahead
        return now // every > (now - size) // every

    def _look(self, segment: _Segment, scene: CleanScene, item: _Seen) -> None:
        """Learn from a frame before its anchor."""
        if self._effort.background_every == 1:
            busy = item.mask.cells
            self._change.see(item.means, segment.kept.means, busy)
            scene.update(item.picture, busy=busy, changed=np.zeros_like(busy))

    def _errors(self, picture: Planes, busy: Cells) -> tuple[float | None, float | None]:
        """Mean squared luma error of foreground and background as decoded."""
        cells = cell_tensor(busy, self._brain.device)
        luma, ours, theirs = picture[0], self._foreground.plane[0], self._background.plane[0]
        if on_host(luma):
            error = torch.empty(1, *busy.shape)
            cell_errors(luma[0].numpy(), ours[0].numpy(), theirs[0].numpy(), busy.copy(), error[0].numpy())
        else:
            shown = mix(cells, self._foreground.plane, self._background.plane)[0]
            error = torch.nn.functional.avg_pool2d((luma.float() - shown.float()).square()[None], CELL)[0]
        found = [float(error[area].mean()) if bool(area.any()) else None for area in (cells, ~cells)]
        return found[0], found[1]

    def _q(self, q: int, offset: int) -> int:
        return min(QUALITIES - 1, max(0, q + offset))

    def _background_q(self, q: int) -> int:
        return self._q(q, self.tuning.background_offset)

    def _step(self, q: int) -> float:
        return float(step_size(torch.tensor(q)))

    def _wants_plate(self, segment: _Segment, item: _Seen, q: int) -> bool:
        if item.frame.pts_us - segment.start_us >= self._segment_us:
            return True
        step, busy = self._step(self._background_q(q)), item.mask.cells
        left = self._change.differs(item.means, segment.source, step=step, slack=self.tuning.new_plate_slack)
        return bool(left[~busy].mean() > self.tuning.new_plate_share) if (~busy).any() else False

    def _open_segment(self, scene: CleanScene, item: _Seen, q: int, ahead: Frame | None) -> tuple[_Segment, bytes]:
        """A new plate, of the clean scene as it is known now, and its bytes."""
        before, step = block_means(scene.picture()), self._step(self._background_q(q))
        moved = self._change.differs(item.means, before, step=step)
        scene.update(item.picture, busy=item.mask.cells, changed=moved)
        source = scene.picture()
        if ahead is not None:
            later = block_means(self._geometry.pad(ahead, self._brain.device))
            self._stays = 1 - float(self._change.differs(later, item.means, step=step).mean())
        q_plate = self._q(q, self.tuning.of_plate(self._stays))
        encode = partial(encode_plate, self._brain, self._geometry, source, unclean=scene.unclean, effort=self._effort)
        payload, plate = encode(q=q_plate)
        affordable = self._rate.plate_quality(q_plate, len(payload))
        if affordable < q_plate:
            payload, plate = encode(q=affordable)
        means = block_means(source)
        pts_us = item.frame.pts_us
        self._segment = _Segment(plate, means, pts_us, pts_us, KeptSource(means))
        return self._segment, payload

    def _reset(self, segment: _Segment, frame: Frame) -> None:
        segment.key_us, segment.kept, self._since_key = frame.pts_us, KeptSource(segment.source), -1
        for layer in (self._foreground, self._background):
            layer.reset(segment.plate)

    def _refined(self, q: int, size: int) -> int:
        """The quality of an anchor's foreground."""
        return self._q(q, self.tuning.of_refined(size)) if self._comes(self.tuning.refine_every, size) else q

    def _code_foreground(self, segment: _Segment, state: LayerState, item: _Seen, q: int) -> Coded:
        cells, effort, picture = item.mask.cells, self._effort, item.picture
        importance = item.mask.importance.astype(np.float32) / 255
        lively, promised = cells_worth_coding(
            self._brain, state, picture, cells, q=q, importance=importance, least_bits=effort.lively_bits,
            exact=effort.layer_bits > 0,
        )  # fmt: skip
        if promised < effort.layer_bits and cells.any():
            job = Job(picture, cells, Vectors.still(places_of(cells)), importance, q, effort=effort)
            return encode_still(self._brain, state, job)
        return self._code(segment, state, picture, cells, lively, importance, q, self.tuning.thrift)

    def _code_background(self, segment: _Segment, scene: CleanScene, item: _Seen, q: int, size: int) -> Coded:
        """An anchor's."""
        state, q, busy = self._background, self._background_q(q), item.mask.cells
        due, uncovered = self._comes(self._effort.background_every, size), self._busy & ~busy
        self._busy = busy
        importance = np.full(busy.shape, self._balance.importance, np.float32)
        changed = np.zeros_like(busy)
        if due or uncovered.any():  # else what changes now is seen, and coded, with the next
            step, moving, kept = self._step(q), is_moving(state.past.mode), segment.kept
            self._change.see(item.means, kept.means, busy)
            changed = self._change.changed(item.means, kept.means, step=step, moving=moving) & ~busy
            scene.update(item.picture, busy=busy, changed=changed)
            if not due:  # what an object leaves behind may never have been seen
                changed &= uncovered
            changed &= self._worth_coding(state, item.picture, changed, q, importance)
            kept.keep(item.means, changed)
        thrift = self.tuning.thrift_background
        return self._code(segment, state, item.picture, changed, changed, importance, q, thrift)

    def _code_background_between(
        self, segment: _Segment, state: LayerState, item: _Seen, q: int, apart: Cells
    ) -> Coded:
        """What the mean of the two beside does not show well enough: near cells in which those differ (`apart`), and
        wherever there is something else."""
        q, busy, changed = self._background_q(q), item.mask.cells, np.zeros_like(item.mask.cells)
        importance = np.full(busy.shape, self._balance.importance, np.float32)
        if self._effort.background_every == 1:
            shown, step = block_means(state.plane), self._step(q)
            near = grown(apart)
            changed = near & self._change.differs(item.means, shown, step=step)
            changed |= self._change.differs(item.means, shown, step=step, slack=_ELSEWHERE)
            changed &= ~busy
            changed &= self._worth_coding(state, item.picture, changed, q, importance)
        thrift = self.tuning.thrift_background
        return self._code(segment, state, item.picture, changed, changed, importance, q, thrift)

    def _worth_coding(
        self, state: LayerState, picture: Planes, cells: Cells, q: int, importance: npt.NDArray[np.float32]
    ) -> Cells:
        """Which of the background's cells that have changed pay."""
        least = self._effort.layer_bits
        worth, promised = cells_worth_coding(
            self._brain, state, picture, cells, q=q, importance=importance,
            least_bits=0.0 if least else LEAST_BITS, exact=least > 0,
        )  # fmt: skip
        return worth & (promised >= least)

    def _code(
        self, segment: _Segment, state: LayerState, picture: Planes, cells: Cells, lively: Cells,
        importance: npt.NDArray[np.float32], q: int, thrift: float,
    ) -> Coded:  # fmt: skip
        """A layer's `cells`; motion is looked for in those that are `lively`."""
        if not cells.any():
            state.commit_empty()
            return NOTHING
        vectors = self._search.choose(
            picture, state, segment.plate, cells, lively=lively, importance=importance, q=q, move=state.age > 0,
            effort=self._effort,
        )  # fmt: skip
        job = Job(picture, cells, vectors, importance, q, thrift, self._effort)
        return encode_layer(self._brain, state, segment.plate, job)


def _packets(
    brain: Brain, seen: Sequence[_Seen], plate: bytes, key: bool, coded: tuple[list[Coded], list[Coded]]
) -> list[Packet]:
    """The packets of frames whose layers were `coded`, in coding order: the first carries it all."""
    payloads = [pack(layer, brain.tables, each) for layer, each in zip(Layer, coded, strict=True)]
    sums = [sum(one.checksum for one in each) & 0xFFFF for each in coded]
    packets = [
        Packet(
            index=item.frame.index,
            pts_us=item.frame.pts_us,
            wall_us=item.frame.wall_us,
            key=key,
            plate=plate,
            foreground=b"",
            background=b"",
            sums=(0, 0),
        )
        for item in seen
    ]
    packets[0] = replace(packets[0], foreground=payloads[0], background=payloads[1], sums=(sums[0], sums[1]))
    return packets
