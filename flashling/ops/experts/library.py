"""The routed experts on the framework's own grouped e4m3 product, to measure kernels against."""

from __future__ import annotations

import torch
from torch import Tensor, int32

from ..linear import FLOAT8, Fp8, Weight, linear, quantise
from . import swiglu
from .rows_triton import combine, sort


def experts_library(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Fp8,
    down: Fp8,
    shared: tuple[Weight, Weight] | None = None,
) -> Tensor:
    """As `experts`, for bfloat16 rows and one scale an output row."""
    k = chosen.shape[1]
    order, counts = sort(chosen, gate_up.shape[0])
    ends, token = counts.cumsum(0, dtype=int32), order // k
    numbers, scale = quantise(x)
    # a copy of bytes, since there is none of e4m3 numbers
    rows = numbers.view(torch.uint8).index_select(0, token).view(FLOAT8)
    hidden = swiglu(_products(rows, scale.index_select(0, token), gate_up, ends))
    found = _products(*quantise(hidden), down, ends)
    slots = torch.empty_like(found).index_copy_(0, order.long(), found).unflatten(0, (-1, k))
    own = None if shared is None else linear(swiglu(linear(x, shared[0])), shared[1])
    return combine(slots, weights, own)


def _products(rows: Tensor, scale: Tensor, weight: Fp8, ends: Tensor) -> Tensor:
    """Sorted rows [S, I] times their expert's weight [E, O, I]^T; ends [E]: where they end."""
    return torch._scaled_grouped_mm(  # pyright: ignore[reportPrivateImportUsage]
        rows,
        weight.numbers.mT,
        scale,
        weight.scale,
        offs=ends,
        out_dtype=torch.bfloat16,
        use_fast_accum=True,
    )
