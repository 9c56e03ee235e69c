"""A run is one frozen value: everything that decides what is trained, on what, and how long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from ..config import ModelConfig
from ..model.ling import Ling
from ..model.past import Form
from .optim import Optim
from .schedule import Schedule
from .source import Source


@dataclass(frozen=True)
class Recipe:
    """What `train` runs.

    name, model: what is trained. data: called in every process, returns its `Source`.
    steps, seconds: the run ends at whichever comes first; seconds of wall clock add up over
    resumes. Where steps is None the schedule follows the clock, and a resumed run can no longer
    equal an uninterrupted one bit for bit.
    tokens: at most so many per batch; a step is `accumulate` batches on every process.
    start: a run's checkpoint (a folder with weights.safetensors) or a model's folder, perhaps
    quantised, to begin from instead of `seed`.
    dtype: what the working model computes in; masters are float32. None: bfloat16 on CUDA.
    compile: a torch.compile backend for every block ("inductor"). recompute: keep only the
    blocks' inputs for the backward pass. shard: split over processes by FSDP2; without it every
    process holds all of a small model, which is faster. form: of MLA, as in `Fresh`.
    save_every, keep: full checkpoints, in steps. snapshot_every: weights alone, for merging.
    merge, merge_as: how many of the last saved weights make the final model, and the learning-rate
    decay that the merge stands for. max_bad: non-finite steps in a row that end the run.
    evaluate: called with the model every `evaluate_every` steps, in every process; its figures are
    logged.
    """

    name: str
    model: ModelConfig
    data: Callable[[], Source]
    out: str = ""
    steps: int | None = None
    seconds: float | None = None
    tokens: int = 65_536
    accumulate: int = 1
    optim: Optim = field(default_factory=Optim)
    schedule: Schedule = field(default_factory=Schedule)
    mtp_weight: float = 0.1
    balance_rate: float = 1e-3
    start: str | None = None
    seed: int = 0
    device: str | None = None
    dtype: Literal["bfloat16", "float32", "float64"] | None = None
    compile: str | None = None
    recompute: bool = False
    shard: bool = True
    form: Form = "expanded"
    log_every: int = 10
    tensorboard: bool = True
    save_every: int = 1_000
    keep: int = 2
    snapshot_every: int = 0
    merge: int = 1
    merge_as: Literal["linear", "sqrt"] = "linear"
    max_bad: int = 20
    evaluate: Callable[[Ling], dict[str, float]] | None = None
    evaluate_every: int = 0

    def __post_init__(self) -> None:
        if self.steps is None and self.seconds is None:
            raise ValueError(f"recipe {self.name!r} has no end: give steps or seconds")
        for what in ("tokens", "accumulate", "log_every", "save_every", "keep", "merge"):
            if getattr(self, what) < 1:
                raise ValueError(f"recipe {self.name!r}: {what} {getattr(self, what)} must be >= 1")
        if self.snapshot_every and self.save_every % self.snapshot_every:
            raise ValueError(
                f"recipe {self.name!r}: save_every {self.save_every} must be a multiple of "
                f"snapshot_every {self.snapshot_every}, so that merged weights are evenly spaced"
            )

    @property
    def spacing(self) -> int:
        """Steps between saved weights."""
        return self.snapshot_every or self.save_every

    @property
    def folder(self) -> Path:
        """Where the run keeps checkpoints, logs and the final model: `out` or runs/<name>."""
        return Path(self.out or f"runs/{self.name}")

    def with_(self, **changes: Any) -> Recipe:
        """A copy with some fields changed."""
        return replace(self, **changes)
