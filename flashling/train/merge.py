"""Checkpoint merging (WSM, arXiv 2507.17634): a mean of weights instead of a falling rate.

A step's gradient is in every later checkpoint, so merge weights c_j act like a decay in which
step i is scaled by the sum of c_j over checkpoints after i; here c is derived from the decay.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from .checkpoint import WEIGHTS


def merge_weights(count: int, shape: str = "linear") -> list[float]:
    """Weights of `count` evenly spaced checkpoints, oldest first, that sum to one.

    linear: the rate falls in a line (all weights equal); sqrt: as 1 - sqrt(t), which falls
    steeply first. ValueError for another shape.
    """
    places = [i / count for i in range(count + 1)]
    if shape == "linear":
        rates = [1 - t for t in places]
    elif shape == "sqrt":
        rates = [1 - t**0.5 for t in places]
    else:
        raise ValueError(f"merge shape {shape!r} is unknown; use 'linear' or 'sqrt'")
    return [a - b for a, b in zip(rates, rates[1:], strict=False)]


def average(folders: Sequence[Path], weights: Sequence[float] | None = None) -> dict[str, Tensor]:
    """The weighted mean of checkpoints' weights, in float32, one tensor of each in memory.

    weights: one per folder, equal when absent. ValueError when the numbers differ.
    """
    shares = list(weights) if weights is not None else [1 / len(folders)] * len(folders)
    if len(shares) != len(folders) or not folders:
        raise ValueError(f"{len(folders)} checkpoints cannot be merged with {len(shares)} weights")
    out: dict[str, Tensor] = {}
    for folder, share in zip(folders, shares, strict=True):
        with safe_open(Path(folder) / WEIGHTS, "pt") as file:
            for name in file.keys():  # noqa: SIM118 - the file is no mapping
                tensor = file.get_tensor(name)
                if name in out:
                    out[name].add_(tensor, alpha=share)
                else:
                    out[name] = torch.mul(tensor, share)
    return out
