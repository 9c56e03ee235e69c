"""SwiGLU in Triton, alone or with the rows quantised on the way out."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..linear import FLOAT8
from ..linear.quantise_triton import _quantised
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import silu_times
from . import swiglu as op


@triton.jit
def _swiglu(x, out, F, BLOCK_F: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK_F + tl.arange(0, BLOCK_F)
    wait_for_inputs()
    gate = tl.load(x + row * 2 * F + at, mask=at < F, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * F + F + at, mask=at < F, other=0.0).to(tl.float32)
    tl.store(out + row * F + at, silu_times(gate, up, out.dtype.element_ty), mask=at < F)


composed = torch.compile(vars(op)["body"])


def swiglu(x: Tensor) -> Tensor:
    """As the op; with a gradient it is the body, compiled."""
    if x.dtype == torch.float64 or (torch.is_grad_enabled() and x.requires_grad):
        return composed(x)
    x, hidden = x.contiguous(), x.shape[-1] // 2
    out = x.new_empty(*x.shape[:-1], hidden)
    if out.numel():
        # 8 numbers a thread are 16 bytes
        width = min(1024, triton.next_power_of_2(hidden))
        grid = (out.numel() // hidden, triton.cdiv(hidden, width))
        _swiglu[grid](x, out, hidden, BLOCK_F=width, num_warps=4, **OVERLAP)
    return out


@triton.jit
def _swiglu_quantised(
    x,
    numbers,
    scale,
    F: tl.constexpr,
    GROUP: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
    DTYPE: tl.constexpr,
):
    """One row a program, in G groups padded to W."""
    row = tl.program_id(0).to(tl.int64)
    group, column = tl.arange(0, G), tl.arange(0, W)
    is_group = group < F // GROUP
    inside = is_group[:, None] & (column < GROUP)[None, :]
    at = group[:, None] * GROUP + column[None, :]
    wait_for_inputs()
    gate = tl.load(x + row * 2 * F + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(x + row * 2 * F + F + at, mask=inside, other=0.0).to(tl.float32)
    found, size = _quantised(silu_times(gate, up, DTYPE).to(tl.float32))
    tl.store(numbers + row * F + at, found, mask=inside)
    tl.store(scale + row * (F // GROUP) + group, size, mask=is_group)


def swiglu_quantised(x: Tensor, group: int | None) -> tuple[Tensor, Tensor]:
    """quantise(swiglu(x), group), bit for bit: x [T, 2F] bfloat16 -> numbers [T, F] e4m3, scale [T]
    or [T, F / group] float32.
    """
    assert x.is_contiguous() and x.dtype == torch.bfloat16
    rows, hidden = x.shape[0], x.shape[1] // 2
    width = group or hidden
    numbers = torch.empty(rows, hidden, dtype=FLOAT8, device=x.device)
    scale = torch.empty(rows, hidden // width, dtype=torch.float32, device=x.device)
    if rows:
        across, wide = triton.next_power_of_2(hidden // width), triton.next_power_of_2(width)
        _swiglu_quantised[(rows,)](
            *(x, numbers, scale),
            F=hidden,
            GROUP=width,
            G=across,
            W=wide,
            DTYPE=tl.bfloat16,
            num_warps=min(max(across * wide // 512, 1), 16),
            **OVERLAP,
        )
    return numbers, scale if group else scale[:, 0]
