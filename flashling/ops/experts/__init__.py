"""Feed-forward layers: SwiGLU, and many of them side by side as routed experts."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..op import op, wide


@op(cuda="compile")
def swiglu(x: Tensor) -> Tensor:
    """x [..., 2F], gate then up -> silu(gate) * up [..., F]."""
    gate, up = x.chunk(2, -1)
    return F.silu(gate) * up


@op(cuda=".grouped:grouped_matmul")
def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Rows of x [S, D], sorted by expert, times their expert's weight [E, O, D]^T -> [S, O].

    counts [E] int64: how many rows each expert has.
    """
    outs = []
    at = 0
    for expert, count in enumerate(counts.tolist()):
        if count:
            outs.append(F.linear(x[at : at + count], weight[expert]))
            at += count
    return torch.cat(outs) if outs else x.new_empty(0, weight.shape[1])


@op()
def experts(
    x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Tensor, down: Tensor
) -> tuple[Tensor, Tensor]:
    """Sum over k of weights[t, k] * Expert[chosen[t, k]](x[t]), and the load of every expert.

    x [T, D], weights [T, k] float32, chosen [T, k] int64, gate_up [E, 2F, D], down [E, D, F]
    -> [T, D] in x's dtype (products weighted and summed in float32, in slot order, rounded
    once) and rows per expert [E] int64.
    """
    k = chosen.shape[1]
    flat = chosen.flatten()
    order = flat.argsort(stable=True)
    # not bincount, which waits for the device
    counts = torch.zeros(len(gate_up), dtype=flat.dtype, device=x.device)
    counts.scatter_add_(0, flat, torch.ones_like(flat))
    hidden = swiglu(grouped_matmul(x.index_select(0, order // k), gate_up, counts))
    found = grouped_matmul(hidden, down, counts)
    slots = torch.empty_like(found).index_copy(0, order, found).unflatten(0, (-1, k))
    total = wide(slots[:, 0]) * weights[:, 0, None]
    for i in range(1, k):
        total = total + wide(slots[:, i]) * weights[:, i, None]
    return total.to(x.dtype), counts
