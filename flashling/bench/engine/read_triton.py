"""A kernel that does nothing but read: what it reaches is a device's ceiling."""

# pyright: reportCallIssue=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

BLOCK, TURNS = 4096, 16


@triton.jit
def _read(x, out, BLOCK: tl.constexpr, TURNS: tl.constexpr):
    """Program i: the exclusive or of its BLOCK x TURNS words."""
    i = tl.program_id(0)
    at = i.to(tl.int64) * BLOCK * TURNS + tl.arange(0, BLOCK)
    acc = tl.zeros((BLOCK,), tl.int32)
    for turn in range(TURNS):
        acc ^= tl.load(x + at + turn * BLOCK)
    tl.store(out + i, tl.xor_sum(acc, 0))


def read(x: Tensor, out: Tensor) -> None:
    """Read x [n] int32; the exclusive or of each 65,536 words goes to out [n / 65,536] int32."""
    _read[(len(out),)](x, out, BLOCK, TURNS, num_warps=8)
