"""What Lightning's kernels share: how they are cut, where rows lie, and how a chunk is folded.

Every form folds in the same way: values, faded in float32, enter the product as two bfloat16
numbers each (16 bits), so that what is carried for thousands of chunks is not rounded to 8.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from ..rounding import dot
from . import Carry

# a product has at least a warp group's 64 rows: a 16-row tile was once compiled into accesses
# outside of its shared memory
LEAST = 64


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut: columns of the values and the state that a program holds at a time,
    its warps, the stages of its loads, the registers of a thread at most, and up to how many
    programs the columns of a head are shared out.
    """

    columns: int
    warps: int
    stages: int = 1
    registers: int | None = None
    programs: int = 0


class Rows(NamedTuple):
    """The rows of a step: q, k [T, H, K], v [T, H, V]; starts, ends and tails [N] int32 of its
    sequences on the device, no tails where nothing is carried; the rows of a chunk.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    starts: Tensor
    ends: Tensor
    tails: Tensor | None
    chunk: int

    def strides(self) -> tuple[int, ...]:
        """The row and the head stride of q, k and v."""
        return tuple(x.stride(i) for x in (self.q, self.k, self.v) for i in (0, 1))


def kept_of(carry: Carry | None, tails: Tensor | None) -> tuple[Any, ...]:
    """A carry as the kernels take it: the state's tensor first, the strides last."""
    if carry is None or tails is None:
        return (None,) * 4 + (0,) * 6
    where = carry.state.stride()[:2], carry.tail.stride()[:4]
    slots = carry.slots.contiguous()
    return carry.state, carry.tail, slots, tails.contiguous(), *where[0], *where[1]


def interpreted() -> bool:
    """Triton's interpreter multiplies the bits of bfloat16 operands: there they are widened."""
    return triton.knobs.runtime.interpret


def keep(rows: Rows, carry: Carry) -> None:
    """Lay the rows of the last, open chunks in the tails."""
    _, heads, width = rows.v.shape
    _keep[(len(rows.starts), rows.chunk)](
        rows.k,
        rows.v,
        rows.starts,
        rows.ends,
        *kept_of(carry, rows.tails)[1:],
        *rows.strides()[2:],
        heads,
        triton.next_power_of_2(heads),
        rows.chunk,
        width,
    )


@triton.jit
def two(x):
    """x as the sum of two bfloat16 numbers."""
    high = x.to(tl.bfloat16)
    return high, (x - high.to(tl.float32)).to(tl.bfloat16)


@triton.jit
def folded(state, k, v, s, rows, C: tl.constexpr, WIDE: tl.constexpr):
    """The state [K, W] after `rows` rows, the last of keys k [C, K] and values v [C, W]; those
    before them are zero.
    """
    back = C - 1 - tl.arange(0, C)
    # the values fade, not the keys: a slice of them is the smaller tile to convert
    high, low = two(v.to(tl.float32) * tl.exp(-s * back)[:, None])
    state = state * tl.exp(-s * rows)
    state = dot(tl.trans(k), low, state, WIDE)
    return dot(tl.trans(k), high, state, WIDE)


@triton.jit
def _keep(
    k,
    v,
    starts,
    ends,
    tail,
    slots,
    tails,
    state_slot,
    state_head,
    tail_slot,
    tail_side,
    tail_row,
    tail_head,
    k_row,
    k_head,
    v_row,
    v_head,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
):
    """Program (sequence, r): new row r of the last chunk goes to the tail. A kernel of its own,
    since the programs of all slices read the tail's keys, each in its own time.
    """
    sequence, r = tl.program_id(0), tl.program_id(1)
    start = tl.load(starts + sequence)
    held = tl.load(tails + sequence)
    rows = tl.load(ends + sequence) - start + held
    closed = tl.maximum((rows + C - 1) // C - 1, 0)
    if (r >= tl.where(closed > 0, 0, held)) & (r < rows - closed * C):
        h, i = tl.arange(0, ROWS)[:, None], tl.arange(0, K)
        inside = h < HEADS
        row = start.to(tl.int64) - held + closed * C + r
        to = tail + tl.load(slots + sequence) * tail_slot + r * tail_row + h * tail_head + i
        tl.store(to, tl.load(k + row * k_row + h * k_head + i, inside), inside)
        tl.store(to + tail_side, tl.load(v + row * v_row + h * v_head + i, inside), inside)
