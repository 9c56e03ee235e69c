"""RMSNorm, and the grouped form with a gate that closes a Lightning layer."""

from __future__ import annotations

import torch
from torch import Tensor

from ..op import op, wide


@op(cuda="compile")
def norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """x [..., D] scaled to unit mean square over D, times weight [D].

    The scaling is made in float32 (float64 stays) and rounded to x's dtype before the weight.
    """
    f = wide(x)
    return (f * (f.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype) * weight


@op(cuda="compile")
def group_norm_gate(
    x: Tensor, weight: Tensor, gate: Tensor, groups: int, eps: float = 1e-6
) -> Tensor:
    """x [T, G * W] normed in each of its `groups` by that group's mean square, times weight
    [G * W], times sigmoid(gate [T, G * W]); float32 throughout, rounded once to gate's dtype.
    """
    f = wide(x).unflatten(-1, (groups, -1))
    f = (f * (f.square().mean(-1, keepdim=True) + eps).rsqrt()).flatten(-2)
    return (f * wide(weight) * torch.sigmoid(wide(gate))).to(gate.dtype)
