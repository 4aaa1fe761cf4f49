"""The training loop: two families of nets, intra (plates) and inter (foreground, background), each trained on its own.

Resumable: the state is written every few minutes, atomically, with optimiser, average, random states and step count.
Within a step the host asks the device for no number but for how many positions are coded.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.codec.exact import full_precision
from pipeline.codec.model import CodecNets, LayerInput
from pipeline.training.batches import Batch, Batches
from pipeline.training.coded import CodedBatches
from pipeline.training.config import VALIDATION_BATCH, TrainConfig
from pipeline.training.curve import QUALITIES, Curve, Gain, Point, Row
from pipeline.training.data import CORE, SampleSets
from pipeline.training.guard import Guard
from pipeline.training.losses import (
    compile_blocks,
    family_losses,
    family_parameters,
    keep_within_stream,
    set_bases,
)
from pipeline.training.recorded import MOST_SHARE, Recording
from pipeline.training.state import State, begin_with, interrupts_held, new_nets, saved_part

Report = Callable[[str], None]


class Trainer:
    """One family's run. `folder` holds FAMILY.pt (resumable, with the averaged weights), FAMILY.csv and FAMILY.png (the
    curve), and after fine-tuning FAMILY-gain.json. Raises UsageError, SourceError, CodecError."""

    def __init__(self, config: TrainConfig, family: str, samples: SampleSets, *, folder: Path, report: Report) -> None:
        self.config, self.family, self.report = config, family, report
        self.device = torch.device(config.device)
        self._path = folder / f"{family}.pt"
        self.curve = Curve(folder / f"{family}.csv")
        torch.manual_seed(config.seed)
        self.nets = self._first_nets(samples).to(self.device)
        keep_within_stream(self.nets, family)
        if config.compile:
            compile_blocks(self.nets)
        self.batches, self.check = self._batches(samples)
        self.parameters = family_parameters(self.nets, family)
        self.average = [p.detach().clone() for p in self.parameters]
        # Fused, for it can leave out a step without the host knowing.
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=config.rate, weight_decay=1e-4, betas=(0.9, 0.99), fused=True
        )
        self.step, self.seconds = 0, 0.0
        # Numbers of the device: read when they are shown, since reading waits for all that is under way.
        self._norm = torch.zeros((), device=self.device)
        self._recordings: dict[str, Recording[Batch]] = {}  # by kind of layer
        self.guard = Guard(self.device)
        self._sums = torch.zeros(4, device=self.device)  # since the last validation: loss, bits, squared error, steps
        if self._path.exists():
            self._restore(State.load(self._path, self.device))

    def _first_nets(self, samples: SampleSets) -> CodecNets:
        if self.config.from_weights is not None:
            return begin_with(self.config.from_weights, self.config)
        nets = new_nets(self.config)
        if not self._path.exists():  # else its bases are in the state
            set_bases(nets, samples.still, samples.moving)
        return nets

    def _batches(self, samples: SampleSets) -> tuple[Batches | CodedBatches, Batches | CodedBatches]:
        """To train on, and held back."""
        config, device = self.config, self.device
        if self.family == "inter" and config.passes:
            made, kept = samples.coded, samples.coded_validation
            return CodedBatches(made, device=device, seed=config.seed), CodedBatches(kept, device=device, seed=0)
        training, check = samples.still_parts if self.family == "intra" else (samples.moving, samples.validation)
        return (
            Batches(training, batch=config.batch, device=device, seed=config.seed),
            Batches(check, batch=VALIDATION_BATCH, device=device, seed=0),
        )

    def run(self) -> None:
        """Until the configured steps or minutes are over. Ctrl-C ends it after the step, saved."""
        self.curve.begin(self.step)
        first, before, begin = self.step, self.seconds, time.monotonic()
        saved = shown = begin
        with interrupts_held() as interrupted:
            while self.step < self.config.steps and self.seconds - before < self.config.minutes * 60:
                self._one_step()
                now = time.monotonic()
                self.seconds = before + now - begin
                if now - shown > self.config.report_s:
                    self.report(self._progress(self.step - first, now - begin))
                    shown = now
                if now - saved > self.config.save_s:
                    self._save()
                    saved = now
                if self.step % self.config.validate_every == 0:
                    self._validate()
                if interrupted():
                    self._save()
                    raise KeyboardInterrupt
        if self.curve.validated != self.step:
            self._validate()
        self._save()
        self._finish(trained=self.step > first)

    def _one_step(self) -> None:
        torch.manual_seed(self.config.seed + self.step)  # so that a run that was stopped ends as one that was not
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        losses = self._with_gradients(self.batches.next(self.family))
        self._norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        sound = self.guard.sound(self.step, losses[0], self._norm)
        self.optimiser.found_inf = (~sound).float()  # type: ignore[attr-defined]
        self.optimiser.step()
        self._sums += torch.where(sound, torch.cat((losses, torch.ones_like(losses[:1]))), 0.0)
        with torch.no_grad():
            decay = min(self.config.average, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        self.step += 1

    def _with_gradients(self, batch: Batch | LayerInput) -> Tensor:
        """(3,) losses of a batch, whose gradients the parameters then have."""
        config = self.config
        record = self.family in config.record and not config.compile and self.device.type == "cuda"
        if isinstance(batch, LayerInput) or not record:
            self.optimiser.zero_grad(set_to_none=True)
            losses = self._losses(batch)
            losses[0].backward()  # type: ignore[no-untyped-call]
            return losses.detach()
        if batch.kind not in self._recordings:
            most = int(MOST_SHARE * len(batch.q) * (CORE // 8) ** 2)
            self._recordings[batch.kind] = Recording(partial(self._losses, most=most), self.parameters, batch)
        return self._recordings[batch.kind].play(batch)

    def _losses(self, batch: Batch | LayerInput, *, most: int | None = None) -> Tensor:
        # Autocast drops its copies of the weights where the outermost context ends: that must be within the step.
        with full_precision(self.device), torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            return family_losses(self.nets, batch, most=most)

    def _learning_rate(self) -> float:
        along_time = self.config.anneal == "minutes"
        done = min(1.0, self.seconds / (self.config.minutes * 60) if along_time else self.step / self.config.steps)
        warm = min(1.0, (self.step + 1) / 200)
        return self.config.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def _progress(self, steps: int, seconds: float) -> str:
        config, speed = self.config, steps / seconds
        left = min((config.steps - self.step) / speed, config.minutes * 60 - seconds)
        loss = float(self._sums[0] / self._sums[3])
        return (
            f"{self.family} step {self.step}/{config.steps}, {speed:.2f} a second, {_duration(left)} left: "
            f"loss {loss:.1f}, gradient {float(self._norm):.0f}, rate {self._learning_rate():.1e}, {self.guard.told()}"
        )

    def _validate(self) -> None:
        """A row of the curve: the averaged weights on held-back samples."""
        points = self._points(self.average)
        loss, bits, squared_error, _ = (self._sums / self._sums[3]).tolist()
        self._sums.zero_()
        row: Row = {"step": self.step, "loss": loss, "bits": bits, "squared_error": squared_error}
        for q, point in zip(QUALITIES, points, strict=True):
            row |= {f"q{q}_loss": point.loss, f"q{q}_bits": point.bits, f"q{q}_squared_error": point.squared_error}
        row |= {"seconds": self.seconds, "rate": self._learning_rate(), "skipped": int(self.guard.skipped)}
        self.curve.add(row)
        shown = " ".join(f"[{p.loss:.0f} {p.bits:.1f}b {p.psnr_db:.2f}dB]" for p in points)
        self.report(f"{self.family} {self.step}: {shown}")

    def _points(self, parameters: Sequence[Tensor]) -> list[Point]:
        """These parameters on the held-back samples, at QUALITIES, in full precision."""
        with self._using(parameters), torch.no_grad(), full_precision(self.device):
            return [self._point(q) for q in QUALITIES]

    def _point(self, q: int) -> Point:
        """At one quality step."""
        torch.manual_seed(7)
        found = [family_losses(self.nets, batch) for batch in self.check.held(self.family, q)]
        return Point(*torch.stack(found).mean(0).tolist())

    @contextmanager
    def _using(self, parameters: Sequence[Tensor]) -> Iterator[None]:
        live = [p.detach().clone() for p in self.parameters]
        self._load(parameters)
        try:
            yield
        finally:
            self._load(live)

    def _load(self, parameters: Sequence[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, parameters, strict=True):
                parameter.copy_(value)

    def _finish(self, *, trained: bool) -> None:
        """The curve as a picture; after fine-tuning, what it gained."""
        picture = self.curve.path.with_suffix(".png")
        try:
            self.curve.draw(picture, f"{self.family}, {self.step} steps")
        except ImportError:
            self.report(f"{picture}: not drawn, for matplotlib is missing")
        gains = self._path.with_name(f"{self.family}-gain.json")
        if self.config.from_weights is None or not (trained or not gains.exists()):
            return
        before = family_parameters(begin_with(self.config.from_weights, self.config), self.family)
        apart = isinstance(self.check, CodedBatches)
        gain = Gain(self._points(before), self._points(self.average), apart)
        found = {"family": self.family, "step": self.step, "from_weights": self.config.from_weights.name}
        gains.write_text(json.dumps(found | gain.as_json(), indent=1))
        for line in (f"{self.family}: on held-back frames, before and after", *gain.lines()):
            self.report(line)

    def _save(self) -> None:
        State(
            step=self.step,
            nets=saved_part(self.nets, self.family),
            average=self.average,
            optimiser=self.optimiser.state_dict(),
            numpy=dict(self.batches.rng.bit_generator.state),
            seconds=self.seconds,
            skipped=int(self.guard.skipped),
            worst=float(self.guard.worst),
            recent=self.guard.recent,
        ).save(self._path)

    def _restore(self, state: State) -> None:
        self.step, self.seconds = state.step, state.seconds
        state.fill(self.nets, self.family)
        self.average = [a.to(self.device) for a in state.average]
        for group in state.optimiser["param_groups"]:  # of a run on another device, or before steps were fused
            group["fused"] = True
        self.optimiser.load_state_dict(state.optimiser)
        self.batches.rng.bit_generator.state = state.numpy
        self.guard.skipped += state.skipped
        self.guard.worst += state.worst
        if state.recent is not None:
            self.guard.recent.copy_(state.recent)
        self.report(f"{self.family}: resumed at step {self.step}")


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
