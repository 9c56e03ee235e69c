"""A norm and the linear map behind it in one, so that e4m3 rows are made where they are normed."""

from __future__ import annotations

from torch import Tensor

from ..linear import Weight, linear
from ..norm import add_norm, group_norm_gate
from ..op import op


@op(cuda=".triton:add_norm_linear")
def add_norm_linear(
    x: Tensor, delta: Tensor, norm: Tensor, weight: Weight, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """x + delta [T, D], and `linear` of the normed sum, `add_norm` by norm [D], with weight
    [O, D]: [T, O].
    """
    x, y = add_norm(x, delta, norm, eps)
    return x, linear(y, weight)


@op(cuda=".triton:gated_linear")
def gated_linear(
    x: Tensor, norm: Tensor, gate: Tensor, groups: int, weight: Weight, eps: float = 1e-6
) -> Tensor:
    """`linear` of `group_norm_gate` of x and gate, both [T, D], with weight [O, D]: [T, O]."""
    return linear(group_norm_gate(x, norm, gate, groups, eps), weight)
