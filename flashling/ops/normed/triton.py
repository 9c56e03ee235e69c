"""Norms that quantise their rows on the way out, in Triton: a program per row."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..linear import FLOAT8, Fp8, Weight, linear
from ..linear.quantise_triton import _quantised
from ..linear.triton import Few, choose, product
from ..norm import add_norm, group_norm_gate
from ..norm.triton import _rows, _warps
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded


def add_norm_linear(
    x: Tensor, delta: Tensor, norm: Tensor, weight: Weight, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """As the op; the bits of its parts."""
    if not _is_served(weight, x, delta, norm) or x.dtype != delta.dtype:
        total, y = add_norm(x, delta, norm, eps)
        return total, linear(y, weight)
    assert isinstance(weight, Fp8)
    x, delta, total = _rows(x), _rows(delta), x.new_empty(x.shape)
    numbers, scale = _room(x, weight.group)
    _add_norm_quantised[(len(x),)](
        *(x, delta, norm.contiguous(), total, numbers, scale, x.stride(0), delta.stride(0), eps),
        WIDTH=x.shape[1],
        GROUP=weight.group or x.shape[1],
        num_warps=_warps(x.shape[1]),
        **OVERLAP,
    )
    return total, product(numbers, _as(scale, weight), weight, x.dtype)


def gated_linear(
    x: Tensor, norm: Tensor, gate: Tensor, groups: int, weight: Weight, eps: float = 1e-6
) -> Tensor:
    """As the op."""
    width = x.shape[1] // groups
    fits = _is_served(weight, gate, x, norm) and width == triton.next_power_of_2(width)
    if not fits:
        return linear(group_norm_gate(x, norm, gate, groups, eps), weight)
    assert isinstance(weight, Fp8)
    x, gate = _rows(x), _rows(gate)
    numbers, scale = _room(x, weight.group)
    _gate_quantised[(len(x),)](
        *(x, norm.contiguous(), gate, numbers, scale, x.stride(0), gate.stride(0), eps),
        WIDTH=width,
        GROUPS=groups,
        GROUP=weight.group or x.shape[1],
        num_warps=_warps(x.shape[1]),
        **OVERLAP,
    )
    return product(numbers, _as(scale, weight), weight, gate.dtype)


def _is_served(weight: Weight, *tensors: Tensor) -> bool:
    """Whether rows (the first of `tensors`) are quantised by a kernel of their own anyway."""
    first, *others = tensors
    if not isinstance(weight, Fp8) or first.dtype != torch.bfloat16 or not len(first):
        return False
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in tensors)
    known = all(t.dtype in (torch.bfloat16, torch.float32) for t in others)
    is_whole = first.shape[1] == triton.next_power_of_2(first.shape[1])
    return not learns and known and is_whole and not isinstance(choose(len(first), weight), Few)


def _room(x: Tensor, group: int | None) -> tuple[Tensor, Tensor]:
    rows, width = x.shape
    numbers = torch.empty(rows, width, dtype=FLOAT8, device=x.device)
    scale = torch.empty(rows, width // (group or width), dtype=torch.float32, device=x.device)
    return numbers, scale


def _as(scale: Tensor, weight: Fp8) -> Tensor:
    return scale if weight.group else scale[:, 0]


@triton.jit
def _store(y, numbers, scale, row, WIDTH: tl.constexpr, GROUP: tl.constexpr):
    """Quantise the bfloat16 numbers y [WIDTH] of a row, in groups."""
    G: tl.constexpr = WIDTH // GROUP
    found, size = _quantised(tl.reshape(y.to(tl.float32), (G, GROUP)))
    at = tl.arange(0, G)[:, None] * GROUP + tl.arange(0, GROUP)[None, :]
    tl.store(numbers + row * WIDTH + at, found)
    tl.store(scale + row * G + tl.arange(0, G), size)


@triton.jit
def _add_norm_quantised(
    x,
    delta,
    norm,
    total,
    numbers,
    scale,
    x_stride,
    delta_stride,
    eps,
    WIDTH: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Program t: row t, step by step as `add_norm` and `quantise` have it."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, WIDTH)
    w = tl.load(norm + d).to(tl.float32)
    wait_for_inputs()
    f = tl.load(x + row * x_stride + d).to(tl.float32)
    f += tl.load(delta + row * delta_stride + d).to(tl.float32)
    kept = f.to(total.dtype.element_ty)
    tl.store(total + row * WIDTH + d, kept)
    f = kept.to(tl.float32)
    unit = tl.rsqrt(tl.sum(f * f, 0) / WIDTH + eps)
    y = (f * unit).to(x.dtype.element_ty).to(tl.float32) * w
    _store(y.to(x.dtype.element_ty), numbers, scale, row, WIDTH, GROUP)


@triton.jit
def _gate_quantised(
    x,
    norm,
    gate,
    numbers,
    scale,
    x_stride,
    gate_stride,
    eps,
    WIDTH: tl.constexpr,
    GROUPS: tl.constexpr,
    GROUP: tl.constexpr,
):
    """Program t: row t [GROUPS, WIDTH]."""
    row = tl.program_id(0).to(tl.int64)
    d = tl.arange(0, GROUPS)[:, None] * WIDTH + tl.arange(0, WIDTH)[None, :]
    w = tl.load(norm + d).to(tl.float32)
    wait_for_inputs()
    f = tl.load(x + row * x_stride + d).to(tl.float32)
    g = tl.load(gate + row * gate_stride + d).to(tl.float32)
    unit = tl.rsqrt(tl.sum(f * f, 1) / WIDTH + eps)
    y = rounded(f * unit[:, None] * w * tl.sigmoid(g), gate.dtype.element_ty)
    y = tl.reshape(y, (GROUPS * WIDTH,))
    _store(y, numbers, scale, row, GROUPS * WIDTH, GROUP)
