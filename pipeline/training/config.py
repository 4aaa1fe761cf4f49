"""What a training run is made of: `configs/train/*.yaml`. docs/training.md says what each key does."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.config import DetectorConfig, validate

VALIDATION_BATCH = 32


class TrainConfig(BaseModel):
    """One run. Samples are cut on first use and kept beside the run's state."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    images: Path  # a folder of photos
    clips: Path  # a folder of clips from cameras that stand still
    held_back_clips: tuple[str, ...] = ()  # file names, or patterns of them, for validation only; see `Material`
    clip_frames: int = Field(default=400, ge=20)  # of each clip, its first
    still_samples: int = Field(default=6000, ge=64)
    moving_samples: int = Field(default=7000, ge=8)
    validation_samples: int = Field(default=128, ge=VALIDATION_BATCH)
    passes: int = Field(default=0, ge=0)  # over each clip, coded for the inter family to learn from; 0: from crops
    detector: DetectorConfig = DetectorConfig(kind="motion")  # of regions in those passes
    enhancement: Literal["mgfe", "raa", "fsca", "none"] = "mgfe"
    depth: tuple[int, int] = (3, 4)  # blocks of analysis and synthesis, foreground and background
    intra_depth: tuple[int, int] = (3, 4)  # of plates
    from_weights: Path | None = None  # begin with these weights, where no earlier run is found
    device: str = "cpu"
    bf16: bool = True
    compile: bool = False
    record: tuple[Literal["intra", "inter"], ...] = ()  # families whose steps CUDA records and plays back
    batch: int = Field(default=8, ge=1)
    steps: int = Field(default=60_000, ge=1)
    minutes: float = Field(default=1e9, gt=0)  # stop after this long; a later run goes on from the saved state
    anneal: Literal["steps", "minutes"] = "steps"  # what the learning rate falls along
    rate: float = Field(default=1e-3, gt=0)
    clip: float = Field(default=200.0, gt=0)  # of the gradient norm; 30 to 100 is usual
    average: float = Field(default=0.999, ge=0, lt=1)  # of the weights, exponentially
    held_back: int = Field(default=128, ge=VALIDATION_BATCH)  # of the still samples, for validation only
    seed: int = 1
    save_s: float = 180.0
    report_s: float = 20.0
    validate_every: int = 1000

    @property
    def shape(self) -> dict[str, Any]:
        """The arguments of CodecNets, which a weights file keeps."""
        return {"enhancement": self.enhancement, "depth": self.depth, "intra_depth": self.intra_depth}

    @model_validator(mode="after")
    def _something_is_left(self) -> TrainConfig:
        if self.still_samples <= self.held_back:
            raise ValueError(f"still_samples {self.still_samples} must be more than held_back {self.held_back}")
        if self.passes and self.from_weights is None:
            raise ValueError("passes code the clips with from_weights: there are none")
        return self


def load_train(path: Path, changes: dict[str, object]) -> TrainConfig:
    """Read a training configuration; `changes` (from the command line) replace its keys. Raises ConfigError."""
    return validate(path, TrainConfig, changes)
