"""Feed-forward layers: SwiGLU, and many of them side by side as routed experts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..exact import product, silu
from ..linear import Weight, linear
from ..op import op, wide


@op(cuda=".swiglu_triton:swiglu")
def swiglu(x: Tensor) -> Tensor:
    """x [..., 2F], gate then up -> silu(gate) * up [..., F]."""
    gate, up = x.chunk(2, -1)
    return silu(gate) * up


@op(cuda=".grouped:grouped_matmul")
def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """Rows of x [S, D], sorted by expert, times their expert's weight [E, O, D]^T -> [S, O].

    counts [E] int64: how many rows each expert has.
    """
    outs = []
    at = 0
    for expert, count in enumerate(counts.tolist()):
        if count:
            outs.append(product(x[at : at + count], weight[expert]))
            at += count
    return torch.cat(outs) if outs else x.new_empty(0, weight.shape[1])


def load(chosen: Tensor, num: int) -> Tensor:
    """How many of `chosen` [T, k] int64 went to each of `num` experts: counts [num] int64."""
    flat = chosen.flatten()
    # not bincount, which waits for the device
    counts = torch.zeros(num, dtype=flat.dtype, device=flat.device)
    return counts.scatter_add_(0, flat, torch.ones_like(flat))


@op(cuda=".triton:experts")
def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Weight,
    down: Weight,
    shared: tuple[Weight, Weight] | None = None,
) -> Tensor:
    """Sum over k of weights[t, k] * Expert[chosen[t, k]](x[t]), plus Shared(x[t]).

    x [T, D], weights [T, k] float32, chosen [T, k] int64, gate_up [E, 2F, D], down [E, D, F],
    shared: gate_up [2F', D] and down [D, F'] of the expert that every token visits -> [T, D] in
    x's dtype. An expert's two products and its SwiGLU are rounded to that dtype; they are
    weighted and summed in float32, in slot order, the shared one last, and rounded once.
    """
    k = chosen.shape[1]
    order = chosen.flatten().argsort(stable=True)
    counts = load(chosen, gate_up.shape[0])
    hidden = swiglu(_products(x.index_select(0, order // k), gate_up, counts))
    found = _products(hidden, down, counts)
    slots = torch.empty_like(found).index_copy(0, order, found).unflatten(0, (-1, k))
    total = wide(slots[:, 0]) * weights[:, 0, None]
    for i in range(1, k):
        total = total + wide(slots[:, i]) * weights[:, i, None]
    if shared is not None:
        total = total + wide(linear(swiglu(linear(x, shared[0])), shared[1]))
    return total.to(x.dtype)


def _products(x: Tensor, weight: Weight, counts: Tensor) -> Tensor:
    """Rows of x, sorted by expert, times their expert's weight, plain or e4m3."""
    if isinstance(weight, Tensor):
        return grouped_matmul(x, weight, counts)
    rows = x.split(counts.tolist())
    outs = [linear(part, weight[e]) for e, part in enumerate(rows) if len(part)]
    return torch.cat(outs) if outs else x.new_empty(0, weight.shape[1])
