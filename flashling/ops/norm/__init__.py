"""RMSNorm, alone or after a residual sum, and the grouped form with a gate of a Lightning layer."""

from __future__ import annotations

from torch import Tensor

from ..exact import sigmoid
from ..op import op, wide


def _normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    f = wide(x)
    return (f * (f.square().mean(-1, keepdim=True) + eps).rsqrt()).to(x.dtype) * weight


@op(cuda=".triton:norm")
def norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """x [..., D] scaled to unit mean square over D, times weight [D].

    The scaling is made in float32 (float64 stays) and rounded to x's dtype before the weight.
    """
    return _normed(x, weight, eps)


@op(cuda=".triton:add_norm")
def add_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """x + delta, both [T, D] of one dtype and their sum rounded to it, and the norm of that sum:
    one step of a residual stream and what the next layer reads.
    """
    x = x + delta
    return x, _normed(x, weight, eps)


@op(cuda=".triton:group_norm_gate")
def group_norm_gate(
    x: Tensor, weight: Tensor, gate: Tensor, groups: int, eps: float = 1e-6
) -> Tensor:
    """x [T, G * W] normed in each of its `groups` by that group's mean square, times weight
    [G * W], times sigmoid(gate [T, G * W]); float32 throughout, rounded once to gate's dtype.
    """
    f = wide(x).unflatten(-1, (groups, -1))
    f = (f * (f.square().mean(-1, keepdim=True) + eps).rsqrt()).flatten(-2)
    return (f * wide(weight) * sigmoid(wide(gate))).to(gate.dtype)
