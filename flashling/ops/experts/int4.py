"""Routed experts with weights of four bits on CUDA. Up to some tokens each pair of a token and a
slot streams its expert's weights; more of them meet weights that are unpacked first. In exact mode
any number of pairs streams.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..exact import is_exact
from ..linear import Int4, Weight, linear
from ..linear import int4_triton as fours
from . import grouped_matmul, swiglu
from .triton import combine, sort

# beyond so many tokens reading an expert once for each pair takes longer than unpacking all
FEW_TOKENS = 128
GATE_UP, DOWN = fours.Few4(16, warps=4), fours.Few4(16, warps=2)


def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Int4,
    down: Int4,
    shared: tuple[Weight, Weight] | None,
) -> Tensor:
    """As the op, for bfloat16 rows and no gradient."""
    if len(x) <= FEW_TOKENS or is_exact():
        parts = zip(x.split(FEW_TOKENS), chosen.split(FEW_TOKENS), strict=True)
        outs = [_few(rows, own, gate_up, down) for rows, own in parts]
        found = outs[0] if len(outs) == 1 else torch.cat(outs)
    else:
        found = _grouped(x, chosen, gate_up, down)
    own = None if shared is None else linear(swiglu(linear(x, shared[0])), shared[1])
    return combine(found, weights, own)


def _few(x: Tensor, chosen: Tensor, gate_up: Int4, down: Int4) -> Tensor:
    both = fours.few(x, gate_up, GATE_UP, chosen).flatten(0, 1)
    found = fours.few(both, down, DOWN, chosen.reshape(-1, 1), is_gated=True)
    return found.view(*chosen.shape, -1)


def _grouped(x: Tensor, chosen: Tensor, gate_up: Int4, down: Int4) -> Tensor:
    order, counts = sort(chosen, len(gate_up.words))
    rows = x.index_select(0, order // chosen.shape[1])
    hidden = swiglu(grouped_matmul(rows, fours.unpacked(gate_up, x.dtype), counts.long()))
    found = grouped_matmul(hidden, fours.unpacked(down, x.dtype), counts.long())
    return torch.empty_like(found).index_copy_(0, order.long(), found).view(*chosen.shape, -1)
