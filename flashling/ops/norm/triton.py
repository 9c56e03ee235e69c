"""The norms in Triton: a program per row, or per row and group."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..overlap import OVERLAP, wait_for_inputs
from . import add_norm as add_norm_op
from . import group_norm_gate as group_norm_gate_op
from . import norm as norm_op

SERVED = (torch.bfloat16, torch.float32)
# numbers of a row that one warp holds, 8 to a thread: a bfloat16 row of 4,096 is one load of 16
# bytes in each of 512 threads, so that a single token waits for memory once
WARP_COLUMNS, MOST_WARPS = 256, 16

# chains of small steps where a gradient is needed; nothing is compiled before its first call
norm_chain = torch.compile(vars(norm_op)["body"])
add_norm_chain = torch.compile(vars(add_norm_op)["body"])
group_norm_gate_chain = torch.compile(vars(group_norm_gate_op)["body"])


def norm(x: Tensor, weight: Tensor, eps: float = 1e-6, *, tile: int | None = None) -> Tensor:
    """As the op; float64, and rows that need a gradient, take the compiled body. tile: warps."""
    if not _is_served(x, weight):
        return norm_chain(x, weight, eps)
    out = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype))
    _launch(x.reshape(-1, x.shape[-1]), None, None, weight, out, eps, tile)
    return out


def add_norm(
    x: Tensor, delta: Tensor, weight: Tensor, eps: float = 1e-6, *, tile: int | None = None
) -> tuple[Tensor, Tensor]:
    """As the op; float64, and rows that need a gradient, take the compiled body. tile: warps."""
    if not _is_served(x, delta, weight) or x.dtype != delta.dtype:
        return add_norm_chain(x, delta, weight, eps)
    if x.shape != delta.shape or x.ndim != 2:
        raise ValueError(f"add_norm of {tuple(x.shape)} and {tuple(delta.shape)}")
    total = x.new_empty(x.shape)
    out = x.new_empty(x.shape, dtype=torch.promote_types(x.dtype, weight.dtype))
    _launch(x, delta, total, weight, out, eps, tile)
    return total, out


def group_norm_gate(
    x: Tensor,
    weight: Tensor,
    gate: Tensor,
    groups: int,
    eps: float = 1e-6,
    *,
    tile: int | None = None,
) -> Tensor:
    """As the op; float64, and rows that need a gradient, take the compiled body. tile: warps."""
    if not _is_served(x, weight, gate):
        return group_norm_gate_chain(x, weight, gate, groups, eps)
    if x.shape != gate.shape or x.ndim != 2 or x.shape[1] % groups:
        raise ValueError(f"{groups} groups of {tuple(x.shape)}, gate {tuple(gate.shape)}")
    x, gate = _rows(x), _rows(gate)
    out = x.new_empty(x.shape, dtype=gate.dtype)
    width = x.shape[1] // groups
    columns = triton.next_power_of_2(width)
    if len(x):
        _group_norm_gate[(len(x), groups)](
            x,
            weight.contiguous(),
            gate,
            out,
            x.stride(0),
            gate.stride(0),
            eps,
            width,
            columns,
            num_warps=tile or _warps(columns),
            **OVERLAP,
        )
    return out


def _is_served(*tensors: Tensor) -> bool:
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    return not learns and all(t.dtype in SERVED for t in tensors)


def _rows(x: Tensor) -> Tensor:
    """Rows whose numbers lie end to end; where a row begins is free."""
    return x if x.stride(-1) == 1 else x.contiguous()


def _warps(columns: int) -> int:
    return min(max(columns // WARP_COLUMNS, 1), MOST_WARPS)


def _launch(
    x: Tensor,
    delta: Tensor | None,
    total: Tensor | None,
    weight: Tensor,
    out: Tensor,
    eps: float,
    tile: int | None,
) -> None:
    x = _rows(x)
    delta = None if delta is None else _rows(delta)
    columns = triton.next_power_of_2(x.shape[1])
    if len(x):
        _norm[(len(x),)](
            x,
            delta,
            total,
            weight.contiguous(),
            out,
            x.stride(0),
            0 if delta is None else delta.stride(0),
            eps,
            x.shape[1],
            columns,
            num_warps=tile or _warps(columns),
            **OVERLAP,
        )


@triton.jit
def _norm(
    x,
    delta,
    total,
    weight,
    out,
    x_stride,
    delta_stride,
    eps,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program t: row t, to which that of delta is first added if there is one."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, COLUMNS)
    inside = d < WIDTH
    w = tl.load(weight + d, inside, 0.0).to(tl.float32)
    wait_for_inputs(EARLY=True)
    f = tl.load(x + row * x_stride + d, inside, 0.0).to(tl.float32)
    if delta is not None:
        f += tl.load(delta + row * delta_stride + d, inside, 0.0).to(tl.float32)
        # what is normed is the stream as it is kept
        rounded = f.to(total.dtype.element_ty)
        tl.store(total + row * WIDTH + d, rounded, inside)
        f = rounded.to(tl.float32)
    unit = tl.rsqrt(tl.sum(f * f, 0) / WIDTH + eps)
    y = (f * unit).to(x.dtype.element_ty).to(tl.float32) * w
    tl.store(out + row * WIDTH + d, y.to(out.dtype.element_ty), inside)


@triton.jit
def _group_norm_gate(
    x,
    weight,
    gate,
    out,
    x_stride,
    gate_stride,
    eps,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program (t, g): group g of row t."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, COLUMNS)
    inside = d < WIDTH
    d += tl.program_id(1) * WIDTH
    w = tl.load(weight + d, inside, 0.0).to(tl.float32)
    wait_for_inputs(EARLY=True)
    f = tl.load(x + row * x_stride + d, inside, 0.0).to(tl.float32)
    g = tl.load(gate + row * gate_stride + d, inside, 0.0).to(tl.float32)
    unit = tl.rsqrt(tl.sum(f * f, 0) / WIDTH + eps)
    y = f * unit * w * tl.sigmoid(g)
    tl.store(out + (row * tl.num_programs(1) * WIDTH) + d, y.to(out.dtype.element_ty), inside)
