"""Kernels that do next to nothing: what reading and launching cost at best."""

# a kernel's language has no types, and a launch takes more than its parameters
# pyright: reportCallIssue=false, reportArgumentType=false

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

# integers of a program's turn, and its turns
BLOCK, TURNS = 2048, 16


@triton.jit
def _read(x, out, TURNS: tl.constexpr, BLOCK: tl.constexpr):
    total = tl.zeros((BLOCK,), tl.int32)
    for i in range(TURNS):
        place = (tl.program_id(0).to(tl.int64) * TURNS + i) * BLOCK
        total ^= tl.load(x + place + tl.arange(0, BLOCK))
    tl.store(out + tl.program_id(0), tl.xor_sum(total, 0))


def read(x: Tensor, out: Tensor) -> None:
    """Read x int32, whole turns of all programs; out has an int32 for each program."""
    assert x.numel() % (BLOCK * TURNS) == 0 and out.numel() >= x.numel() // (BLOCK * TURNS)
    _read[(x.numel() // (BLOCK * TURNS),)](x, out, TURNS, BLOCK)


@triton.jit
def _copy(x, y, TURNS: tl.constexpr, BLOCK: tl.constexpr):
    for i in range(TURNS):
        place = (tl.program_id(0).to(tl.int64) * TURNS + i) * BLOCK + tl.arange(0, BLOCK)
        tl.store(y + place, tl.load(x + place))


def copy(x: Tensor, y: Tensor) -> None:
    """Copy x int32 to y, whole turns of all programs. The framework's own copy of so much is left
    to the copy engine inside of a graph, at half of the speed.
    """
    assert x.numel() % (BLOCK * TURNS) == 0 and y.numel() == x.numel()
    _copy[(x.numel() // (BLOCK * TURNS),)](x, y, TURNS, BLOCK)


@triton.jit
def _nothing(x):
    pass


def nothing(x: Tensor) -> None:
    """An empty launch."""
    _nothing[(1,)](x)
