"""Rows quantised to e4m3 in Triton: a program for one of them, or for several."""

# this file hides the package of its name from the checker
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportReturnType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..overlap import OVERLAP, wait_for_inputs
from . import FLOAT8
from . import TINY as SMALLEST
from . import TOP as LARGEST
from . import quantise as quantise_op

# from so many rows on a program quantises several of them, so many numbers together
ROWS_ALONE, QUANTISED = 2048, 4096

TOP, TINY = tl.constexpr(LARGEST), tl.constexpr(SMALLEST)
# the interpreter rounds to e4m3 wrongly and multiplies e4m3 as integers
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)


@triton.jit
def _rounded(x):
    """x as e4m3 numbers, ties to even."""
    if INTERPRETED:
        # adding 1.5 * 2^23 units in the last place of e4m3 rounds to them; none is below 2^-9
        power = (x.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
        magic = tl.maximum(power, 2.0**-6) * (1.5 * 2.0**20)
        x = (x + magic) - magic
    return x.to(tl.float8e4nv)


@triton.jit
def _quantised(x):
    """x [G, W] float32 -> e4m3 numbers [G, W] and scales [G], as the op's body."""
    scale = tl.maximum(tl.div_rn(tl.max(tl.abs(x), 1), TOP), TINY)
    # no magnitude over its own largest rounds above the top, so nothing is clamped
    if INTERPRETED:
        q = tl.div_rn(x, scale[:, None])
    else:
        # one step from the product with the reciprocal to the quotient, for a third of a
        # division: equal after rounding for every pair of bfloat16 mantissas (tests/ops)
        inverse = (1.0 / scale)[:, None]
        q = x * inverse
        q = tl.fma(tl.fma(-q, scale[:, None], x), inverse, q)
    return _rounded(q), scale


@triton.jit(do_not_specialize=["rows"])
def _quantise(
    x,
    numbers,
    scale,
    stride,
    rows,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
):
    """R rows a program, each in G groups padded to W."""
    i, column = tl.arange(0, R * G), tl.arange(0, W)
    row, group = tl.program_id(0).to(tl.int64) * R + i // G, i % G
    is_group = (group < INPUTS // GROUP) & (row < rows)
    inside = is_group[:, None] & (column < GROUP)[None, :]
    at = (group * GROUP)[:, None] + column[None, :]
    wait_for_inputs()
    found = tl.load(x + (row * stride)[:, None] + at, mask=inside, other=0.0).to(tl.float32)
    found, size = _quantised(found)
    tl.store(numbers + (row * INPUTS)[:, None] + at, found, mask=inside)
    tl.store(scale + row * (INPUTS // GROUP) + group, size, mask=is_group)


def quantise(x: Tensor, group: int | None = None) -> tuple[Tensor, Tensor]:
    """As the op, bit for bit."""
    rows, inputs = x.shape
    if x.dtype == torch.float64 or not inputs:
        return vars(quantise_op)["body"](x, group)
    x = x if x.stride(1) == 1 else x.contiguous()
    width = group or inputs
    numbers = torch.empty(rows, inputs, dtype=FLOAT8, device=x.device)
    scale = torch.empty(rows, inputs // width, dtype=torch.float32, device=x.device)
    if rows:
        across, wide = _padded(inputs, width)
        # many programs of a short row each would be held up by their launch
        each = 1 if rows < ROWS_ALONE else max(1, QUANTISED // (across * wide))
        _quantise[(triton.cdiv(rows, each),)](
            *(x, numbers, scale, x.stride(0), rows),
            INPUTS=inputs,
            GROUP=width,
            R=each,
            G=across,
            W=wide,
            # 32 numbers a thread
            num_warps=min(max(each * across * wide // 1024, 1), 16),
            **OVERLAP,
        )
    return numbers, scale if group else scale[:, 0]


def _padded(inputs: int, group: int) -> tuple[int, int]:
    """The groups of a row and the width of one, each up to a power of two."""
    return triton.next_power_of_2(inputs // group), triton.next_power_of_2(group)
