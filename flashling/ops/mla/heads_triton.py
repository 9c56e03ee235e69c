"""A product for each head in Triton: few rows stream the heads' weights, and in exact mode any."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import dot, rounded


@dataclass(frozen=True)
class Tile:
    """Outputs of a program, its warps, and its rows at most."""

    outputs: int
    warps: int = 4
    rows: int = 64


# up to so many rows are one tile; the library is as quick with more
FEW_ROWS = 16
# in exact mode the wide side of the instruction, so that rows may be any number; with 8 warps the
# weight and the rows of 512 inputs fit into registers on their way
EXACT = Tile(64, 8)
# bytes of weights that a program has on their way before its rows are there
TILE_BYTES = 16384


def by_head(x: Tensor, weight: Tensor, tile: Tile | None = None) -> Tensor:
    """x [H, T, K] times weight [H, K, O] -> [H, T, O], for few rows T in memory as [T, H, O].

    A weight whose rows are 1 apart is as well as one whose outputs are. `tile` names the kernel's
    shape whatever the number of rows, as exact mode has one; otherwise more go to the library.
    """
    heads, rows, inputs = x.shape
    outputs = weight.shape[2]
    tile = EXACT if tile is None and is_exact() else tile
    if tile is None and rows > FEW_ROWS:
        return torch.bmm(x, weight)
    wide = triton.next_power_of_2(inputs)
    tile = tile or Tile(min(max(TILE_BYTES // (2 * wide), 16), triton.next_power_of_2(outputs)))
    # rows lead, as whoever takes all heads of a row wants it
    y = x.new_empty(rows, heads, outputs)
    if not rows:
        return y.transpose(0, 1)
    tall = max(triton.next_power_of_2(min(rows, tile.rows)), 16)
    _by_head[(heads, triton.cdiv(outputs, tile.outputs), triton.cdiv(rows, tall))](
        x,
        weight,
        y,
        rows,
        x.stride(0),
        x.stride(1),
        inputs,
        outputs,
        *weight.stride(),
        max(tile.outputs, 16),
        max(wide, 16),
        tall,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        **OVERLAP,
    )
    return y.transpose(0, 1)


@triton.jit(do_not_specialize=["rows"])
def _by_head(
    x,
    weight,
    y,
    rows,
    x_head,
    x_row,
    INPUTS: tl.constexpr,
    OUTPUTS: tl.constexpr,
    W_HEAD: tl.constexpr,
    W_IN: tl.constexpr,
    W_OUT: tl.constexpr,
    O: tl.constexpr,
    K: tl.constexpr,
    T: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (h, o, t): O outputs of head h for T rows."""
    h = tl.program_id(0)
    out = tl.program_id(1) * O + tl.arange(0, O)
    k, t = tl.arange(0, K), tl.program_id(2) * T + tl.arange(0, T)
    at = h.to(tl.int64) * W_HEAD + out[:, None] * W_OUT + k * W_IN
    w = tl.load(weight + at, (out < OUTPUTS)[:, None] & (k < INPUTS), 0.0)
    wait_for_inputs()
    at = h * x_head + t.to(tl.int64)[:, None] * x_row + k
    v = tl.load(x + at, (t < rows)[:, None] & (k < INPUTS), 0.0)
    found = dot(w, tl.trans(v), tl.zeros((O, T), tl.float32), WIDE)
    at = (t[None, :].to(tl.int64) * tl.num_programs(0) + h) * OUTPUTS + out[:, None]
    is_real = (t < rows)[None, :] & (out < OUTPUTS)[:, None]
    tl.store(y + at, rounded(found, y.dtype.element_ty), is_real)
