"""What the Lightning kernels share: how they are cut, a carry, and how a chunk is folded.

A state stays in float32 and a chunk is folded in the same way by all: values, faded in float32,
enter the product as two bfloat16 numbers each (16 bits), so that what is carried for thousands of
chunks is not rounded to 8.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..rounding import INTERPRETED, dot
from .grid import Carry

# a product has at least a warp group's 64 rows: a 16-row tile was once compiled into accesses
# outside of its shared memory
LEAST = 64


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut: columns of the values and the state that a program holds at a time,
    its warps, the stages of its loads, and the registers of a thread at most.
    """

    columns: int
    warps: int
    stages: int = 1
    registers: int | None = None


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


@triton.jit
def two(x):
    """x as the sum of two bfloat16 numbers."""
    if INTERPRETED:
        high = x.to(tl.bfloat16)
    else:
        # the compiler, left to itself, converts what has two uses one by one, not in pairs
        high = tl.inline_asm_elementwise(
            "cvt.rn.bf16x2.f32 $0, $2, $1;", "=r,r,r", [x], tl.bfloat16, is_pure=True, pack=2
        )
    return high, (x - high.to(tl.float32)).to(tl.bfloat16)


@triton.jit
def folded(state, k, v, s, C: tl.constexpr, WIDE: tl.constexpr):
    """The state [K, W] after a chunk of keys k [C, K] and values v [C, W]."""
    back = C - 1 - tl.arange(0, C)
    # the values fade, not the keys: a slice of them is the smaller tile to convert
    high, low = two(v.to(tl.float32) * tl.exp(-s * back)[:, None])
    state = state * tl.exp(-s * C)
    state = dot(tl.trans(k), low, state, WIDE)
    return dot(tl.trans(k), high, state, WIDE)
