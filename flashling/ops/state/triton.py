"""States in 8 bits in Triton: every layer and head by one launch, each way."""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..lightning import CHUNK
from ..rounding import dot, rounded
from . import LEAST as SMALLEST
from . import MOST as LARGEST
from . import quantise_state as quantise_op
from . import restore_state as restore_op

LEAST = tl.constexpr(SMALLEST)
MOST = tl.constexpr(LARGEST)
# added and taken away, it leaves an integer, ties to even
HALVES = tl.constexpr(1.5 * 2**23)
# the sides of a product
SMALLEST_SIDE = 64


@dataclass(frozen=True)
class Tile:
    """Key channels of a program, and its warps."""

    rows: int
    warps: int


QUANTISE = Tile(rows=64, warps=8)
RESTORE = Tile(rows=32, warps=4)


def quantise_state(
    state: Tensor, tail: Tensor, decay: Tensor, *, tile: Tile = QUANTISE
) -> tuple[Tensor, Tensor]:
    """As the op, of a float32 state and a bfloat16 tail; otherwise the body. A program holds rows
    of a head's state in registers while the open chunk is folded into them.
    """
    (layers, heads, keys, values), rows = state.shape, tail.shape[2]
    is_served = state.dtype == torch.float32 and tail.dtype == torch.bfloat16
    sides = keys, values
    if not is_served or any(n < SMALLEST_SIDE or n & (n - 1) for n in sides):
        return vars(quantise_op)["body"](state, tail, decay)
    if not state.is_contiguous() or tail.stride(-1) != 1:
        raise ValueError("a state must be contiguous, and the last dimension of its tail")
    numbers = torch.empty_like(state, dtype=torch.int8)
    scale = state.new_empty(state.shape[:3], dtype=torch.bfloat16)
    _quantise_state[(layers * heads * (keys // tile.rows),)](
        state,
        tail,
        decay.to(state.device),
        numbers,
        scale,
        rows,
        *tail.stride()[:4],
        heads,
        CHUNK,
        keys,
        values,
        tile.rows,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
    )
    return numbers, scale


def restore_state(
    numbers: Tensor, scale: Tensor, decay: Tensor, rows: int, out: Tensor, *, tile: Tile = RESTORE
) -> Tensor:
    """As the op, into float32; otherwise the body."""
    layers, heads, keys, values = numbers.shape
    sides = keys, values
    if out.dtype != torch.float32 or any(n < SMALLEST_SIDE or n & (n - 1) for n in sides):
        return vars(restore_op)["body"](numbers, scale, decay, rows, out)
    if not all(x.is_contiguous() for x in (numbers, scale, out)):
        raise ValueError("numbers, scales and the state must be contiguous")
    _restore[(layers * heads * (keys // tile.rows),)](
        numbers,
        scale,
        decay.to(numbers.device),
        out,
        rows,
        keys,
        values,
        tile.rows,
        num_warps=tile.warps,
    )
    return out


@triton.jit(do_not_specialize=["rows"])
def _quantise_state(
    state,
    tail,
    decay,
    numbers,
    scale,
    rows,
    tail_layer,
    tail_side,
    tail_row,
    tail_head,
    HEADS: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per layer, head and ROWS key channels."""
    part, head = tl.program_id(0) % (K // ROWS), tl.program_id(0) // (K // ROWS)
    n, i, w = tl.arange(0, C)[:, None], part * ROWS + tl.arange(0, ROWS), tl.arange(0, V)
    s = tl.load(decay + head)
    at = head.to(tl.int64) * K * V + i[:, None] * V + w
    now = tl.load(state + at) * tl.exp(-s * rows)
    keys_at = tail + head // HEADS * tail_layer + head % HEADS * tail_head + n * tail_row
    keys = tl.load(keys_at + i, n < rows, 0.0)
    values = tl.load(keys_at + tail_side + w, n < rows, 0.0).to(tl.float32)
    values *= tl.exp(-s * tl.maximum(rows - 1 - n, 0))
    # two bfloat16 numbers each, 16 bits
    high = values.to(tl.bfloat16)
    now = dot(tl.trans(keys), (values - high.to(tl.float32)).to(tl.bfloat16), now, WIDE)
    now = dot(tl.trans(keys), high, now, WIDE)
    # a maximum passes over NaN, a sum does not
    top = tl.max(tl.abs(now), 1) + tl.sum(now * 0.0, 1)
    size = rounded(tl.where(top < LEAST, 0.0, top / MOST), tl.bfloat16)
    tl.store(scale + head * K + i, size)
    size = size.to(tl.float32)
    found = now / tl.where(size == 0.0, 1.0, size)[:, None]
    found = tl.minimum(tl.maximum(found + HALVES - HALVES, -MOST), MOST)
    found = tl.where((size == 0.0)[:, None] | (found != found), 0.0, found)
    tl.store(numbers + at, found.to(tl.int8))


@triton.jit(do_not_specialize=["rows"])
def _restore(
    numbers,
    scale,
    decay,
    out,
    rows,
    K: tl.constexpr,
    V: tl.constexpr,
    ROWS: tl.constexpr,
):
    """One program per layer, head and ROWS key channels."""
    part, head = tl.program_id(0) % (K // ROWS), tl.program_id(0) // (K // ROWS)
    i, w = part * ROWS + tl.arange(0, ROWS), tl.arange(0, V)
    at = head.to(tl.int64) * K * V + i[:, None] * V + w
    size = tl.load(scale + head * K + i).to(tl.float32) * tl.exp(tl.load(decay + head) * rows)
    tl.store(out + at, tl.load(numbers + at).to(tl.float32) * size[:, None])
