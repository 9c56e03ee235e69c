"""Learning-rate schedules as one function of the step and of the share of the run that is done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """constant (for checkpoint merging), cosine, or wsd (constant, then a linear fall).

    warmup: steps of linear rise. floor: the share of the peak at the end. decay: the share of the
    run that wsd falls for.
    """

    kind: Literal["constant", "cosine", "wsd"] = "constant"
    warmup: int = 100
    floor: float = 0.0
    decay: float = 0.2

    def __post_init__(self) -> None:
        if self.kind not in ("constant", "cosine", "wsd"):
            raise ValueError(f"schedule {self.kind!r} is unknown; use constant, cosine or wsd")


def factor(schedule: Schedule, step: int, progress: float) -> float:
    """What the peak learning rate is multiplied by at `step` (from 0), `progress` in [0, 1]."""
    rise = min(1.0, (step + 1) / schedule.warmup) if schedule.warmup else 1.0
    left = 1.0 - min(max(progress, 0.0), 1.0)
    if schedule.kind == "cosine":
        fall = 0.5 - 0.5 * math.cos(math.pi * left)
    elif schedule.kind == "wsd" and schedule.decay > 0:
        fall = min(1.0, left / schedule.decay)
    else:
        return rise
    return rise * (schedule.floor + (1 - schedule.floor) * fall)
