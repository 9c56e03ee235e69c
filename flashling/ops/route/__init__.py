"""The router: which experts a token goes to, and with what weight."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..exact import product, sigmoid
from ..op import op, wide


@dataclass(frozen=True)
class Choice:
    """How experts are chosen: k of those in the best `kept` of `groups` groups."""

    k: int
    groups: int
    kept: int
    normalise: bool
    scale: float


@op(cuda=".triton:route")
def route(x: Tensor, router: Tensor, bias: Tensor, choice: Choice) -> tuple[Tensor, Tensor]:
    """x [T, D], router [E, D], bias [E] -> weights [T, k] float32 and experts [T, k] int64.

    Sigmoid scores in float32; the bias takes part in the selection only. A group's score is the
    sum of its two best; ties go to the lowest index. Weights are normalised, then scaled.
    """
    scores = sigmoid(product(wide(x), wide(router).to(wide(x).dtype)))
    biased = scores + bias.to(scores.dtype)
    grouped = biased.unflatten(-1, (choice.groups, -1))  # [T, G, E / G]
    best = grouped.topk(min(2, grouped.shape[-1]), -1).values.sum(-1)
    kept = _first(best, choice.kept)
    out = torch.ones_like(best, dtype=torch.bool).scatter(-1, kept, False)
    biased = grouped.masked_fill(out[..., None], -torch.inf).flatten(-2)
    experts = _first(biased, choice.k)
    weights = scores.gather(-1, experts)
    if choice.normalise:
        weights = weights / (weights.sum(-1, keepdim=True) + 1e-20)
    return weights * choice.scale, experts


def _first(x: Tensor, k: int) -> Tensor:
    """Indices of the k largest along the last axis, the lower index first among equals."""
    return x.sort(dim=-1, descending=True, stable=True).indices[..., :k]
