"""Routed experts with e4m3 weights on CUDA.

A few tokens: each pair of a token and a slot streams its expert's weights through registers,
since a product of one row has nothing to share. More tokens: the pairs are sorted by expert, and
each tile of a weight meets the tokens of its expert on the tensor cores (`many_triton.py`).
"""

# this file hides the package of its name from the checker, which takes kernels for functions
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..linear import Fp8, Int4, Weight, linear, quantise
from ..linear.triton import product
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded, silu_times
from . import experts as op
from . import swiglu as swiglu_op
from .many_triton import (
    BLOCK,
    INTERPRETED,
    SHARED_TOKENS,
    _many_down_kernel,
    _many_gate_up_kernel,
)
from .rows_triton import combine, prepare, sort
from .swiglu_triton import swiglu_quantised

Shared = tuple[Weight, Weight] | None


@dataclass(frozen=True)
class Few:
    """Rows of a weight that a program streams, and its warps, for the two products."""

    gate_up: int = 4
    gate_up_warps: int = 4
    down: int = 16
    down_warps: int = 4


@dataclass(frozen=True)
class Many:
    """Tokens and weight rows of a tile, warps and stages, for the two products.

    `gate_up` counts hidden rows: each is a row of the gate and one of up. Swapped, the weight is
    the left operand.
    """

    tokens: int
    gate_up: int
    down: int
    warps: int
    stages: int
    is_swapped: bool = True


# more tokens, although they hardly share an expert (4 meet 30 of 256 in 32 pairs), are quicker on
# the tensor cores
FEW_TOKENS = 2
# the most that an expert's mean number of tokens may be, and the tile. One tile should hold all
# of them, or the weights are read twice. 16 KiB of weights a stage, 4 stages and 2 or 3 programs
# a multiprocessor keep the memory busy
MANY = (
    (8, Many(16, 64, 128, 4, 4)),
    (16, Many(32, 64, 128, 4, 4)),
    (48, Many(64, 64, 128, 4, 4)),
)
# above that the tensor cores are the limit: 128 tokens by 256 rows are 85 products for each byte
# from the cache. The third sum that blocks of scales need leaves registers for half of the rows
MOST = {
    None: Many(128, 128, 256, 8, 4),
    BLOCK.value: Many(128, 64, 128, 8, 4, is_swapped=False),
}


def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Weight,
    down: Weight,
    shared: Shared = None,
    *,
    tile: Few | Many | None = None,
) -> Tensor:
    """As the op. `tile` overrides the shapes of the tiles and, by its type, the way."""
    if not _served(x, gate_up, down):
        return vars(op)["body"](x, weights, chosen, gate_up, down, shared)
    x, weights, chosen = x.contiguous(), weights.contiguous(), chosen.contiguous()
    if not len(x):
        return torch.empty_like(x)
    if isinstance(gate_up, Int4):
        # it builds on what is below
        from .int4 import experts as fours

        assert isinstance(down, Int4) and tile is None
        return fours(x, weights, chosen, gate_up, down, shared)
    assert isinstance(gate_up, Fp8) and isinstance(down, Fp8)
    if tile is None:
        tile = _tile(len(x), chosen.shape[1], gate_up, down, shared)
    if isinstance(tile, Few):
        assert _fits(tile, gate_up, down, shared)
        return _few((x, weights, chosen), gate_up, down, shared, tile)
    return _many(x, weights, chosen, gate_up, down, shared, tile)


def _served(x: Tensor, gate_up: Weight, down: Weight) -> bool:
    """Whether kernels serve this call: bfloat16, e4m3 or int4 weights of one kind, no gradient."""
    if x.dtype != torch.bfloat16 or (torch.is_grad_enabled() and x.requires_grad):
        return False
    if isinstance(gate_up, Int4) and isinstance(down, Int4):
        return True
    return (
        isinstance(gate_up, Fp8)
        and isinstance(down, Fp8)
        and gate_up.group == down.group
        # a 16-byte copy must not cross a row
        and gate_up.shape[2] % 16 == down.shape[2] % 16 == 0
    )


def _tile(tokens: int, k: int, gate_up: Fp8, down: Fp8, shared: Shared) -> Few | Many:
    few = Few()
    if tokens <= FEW_TOKENS and not is_exact() and _fits(few, gate_up, down, shared):
        return few
    mean = tokens * k / gate_up.shape[0]
    return next((tile for most, tile in MANY if mean <= most), MOST[gate_up.group])


def _fits(tile: Few, gate_up: Fp8, down: Fp8, shared: Shared) -> bool:
    """Whether whole tiles cover the weights, and the shared expert is one more of the routed."""
    # a tile lies in one block of scales
    least = max(tile.gate_up, tile.down, 1 if gate_up.group is None else BLOCK.value)
    fits = all(n >= least and n == triton.next_power_of_2(n) for n in down.shape[1:])
    return fits and (shared is None or _are_alike(gate_up, down, shared))


def _are_alike(gate_up: Fp8, down: Fp8, shared: tuple[Weight, Weight]) -> bool:
    """Whether the shared expert has the form and the shapes of a routed one."""
    return all(
        isinstance(own, Fp8) and own.group == each.group and own.shape == each.shape[1:]
        for own, each in zip(shared, (gate_up, down), strict=True)
    )


@triton.jit
def _rounded(x, scale):
    """x / scale rounded to e4m3, as float32."""
    if INTERPRETED:
        q = tl.div_rn(x, scale)
        power = (q.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
        # adding 1.5 * 2^23 units of the last place of e4m3 rounds there
        magic = tl.maximum(power, 0.015625) * 1572864.0
        q = (q + magic) - magic
    else:
        # one step from the product with the reciprocal to the quotient, for a third of a
        # division: equal after rounding for every pair of bfloat16 mantissas (tests/ops)
        inverse = 1.0 / scale
        q = x * inverse
        q = tl.fma(tl.fma(-q, scale, x), inverse, q).to(tl.float8e4nv).to(tl.float32)
    return q


@triton.jit
def _quantised(x, BLOCKS: tl.constexpr):
    """A row x [K] as `quantise` has it: numbers [K], float32, and its scale, or [K / 128]."""
    x = x.to(tl.float32)
    if BLOCKS:
        K: tl.constexpr = x.shape[0]
        rows = tl.reshape(x, (K // BLOCK, BLOCK))
        scale = tl.maximum(tl.div_rn(tl.max(tl.abs(rows), 1), 448.0), 2.0**-100)
        numbers = tl.reshape(_rounded(rows, scale[:, None]), (K,))
    else:
        scale = tl.maximum(tl.div_rn(tl.max(tl.abs(x), 0), 448.0), 2.0**-100)
        numbers = _rounded(x, scale)
    return numbers, scale


@triton.jit
def _scales(scale, first, ROWS: tl.constexpr, K: tl.constexpr, BLOCKS: tl.constexpr):
    """The scales of ROWS rows of a weight from `first` on: [ROWS], or [K / 128] of the one row of
    blocks that they lie in."""
    if BLOCKS:
        found = tl.load(scale + first // BLOCK * (K // BLOCK) + tl.arange(0, K // BLOCK))
    else:
        found = tl.load(scale + first + tl.arange(0, ROWS))
    return found


@triton.jit
def _product(w, w_scale, x, x_scale, BLOCKS: tl.constexpr):
    """w [R, K] e4m3 times x [K], with their scales -> [R]."""
    K: tl.constexpr = w.shape[1]
    if BLOCKS:
        rows = tl.reshape(x, (K // BLOCK, BLOCK)) * (x_scale * w_scale)[:, None]
        found = tl.sum(w.to(tl.float32) * tl.reshape(rows, (1, K)), 1)
    else:
        found = tl.sum(w.to(tl.float32) * x[None, :], 1) * x_scale * w_scale
    return found


@triton.jit
def _few_gate_up_kernel(
    x,
    chosen,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    hidden,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """hidden [T, S, F]: ROWS of one token and slot. The slot after those of the chosen experts, if
    S has one, is the shared expert's."""
    # the shared expert comes first
    token, slot = tl.program_id(1), (tl.program_id(2) + SLOTS) % tl.num_programs(2)
    columns = tl.arange(0, D)
    at = tl.arange(0, ROWS)[:, None] * D + columns[None, :]
    if slot < SLOTS:
        # which expert this is the kernel before decides, so nothing can be fetched sooner
        wait_for_inputs()
        expert = tl.load(chosen + token * SLOTS + slot)
        w = numbers + expert * (2 * F * D)
        s = scale + expert * (2 * F // BLOCK * (D // BLOCK) if BLOCKS else 2 * F)
    else:
        w, s = shared_numbers, shared_scale
    first = tl.program_id(0) * ROWS
    # the weights before the row, which is quantised while they are on their way
    gate_w, up_w = tl.load(w + first * D + at), tl.load(w + (F + first) * D + at)
    gate_s, up_s = _scales(s, first, ROWS, D, BLOCKS), _scales(s, F + first, ROWS, D, BLOCKS)
    wait_for_inputs()
    row, row_scale = _quantised(tl.load(x + token * D + columns), BLOCKS)
    gate = _product(gate_w, gate_s, row, row_scale, BLOCKS)
    up = _product(up_w, up_s, row, row_scale, BLOCKS)
    found = silu_times(gate, up, hidden.dtype.element_ty)
    to = hidden + (token * tl.num_programs(2) + slot) * F + first
    tl.store(to + tl.arange(0, ROWS), found)


@triton.jit
def _few_down_kernel(
    hidden,
    chosen,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    found,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """found [T, S, D]: ROWS of one token and slot. One expert after another: programs that read
    nine at once would all wait for the addresses of nine regions of memory."""
    token, slot = tl.program_id(1), tl.program_id(2)
    first = tl.program_id(0) * ROWS
    columns = tl.arange(0, F)
    at = (first + tl.arange(0, ROWS))[:, None] * F + columns[None, :]
    # the experts were chosen before the kernel that is waited for below
    if slot < SLOTS:
        expert = tl.load(chosen + token * SLOTS + slot)
        w = numbers + expert * (D * F)
        s = scale + expert * (D // BLOCK * (F // BLOCK) if BLOCKS else D)
    else:
        w, s = shared_numbers, shared_scale
    down = tl.load(w + at)
    down_scale = _scales(s, first, ROWS, F, BLOCKS)
    wait_for_inputs()
    pair = token * tl.num_programs(2) + slot
    row, row_scale = _quantised(tl.load(hidden + pair * F + columns), BLOCKS)
    part = _product(down, down_scale, row, row_scale, BLOCKS)
    to = found + pair * D + first
    tl.store(to + tl.arange(0, ROWS), rounded(part, found.dtype.element_ty))


def _few(rows: tuple[Tensor, ...], gate_up: Fp8, down: Fp8, shared: Shared, tile: Few) -> Tensor:
    (x, weights, chosen), (_, width, hidden) = rows, down.shape
    tokens, k = chosen.shape
    slots = k + (shared is not None)
    first, second = shared or (gate_up, down)
    between, found = x.new_empty(tokens, slots, hidden), x.new_empty(tokens, slots, width)
    facts = {"D": width, "F": hidden, "SLOTS": k, "BLOCKS": gate_up.group is not None, **OVERLAP}
    _few_gate_up_kernel[(hidden // tile.gate_up, tokens, slots)](
        *(x, chosen, gate_up.numbers, gate_up.scale, first.numbers, first.scale, between),
        ROWS=tile.gate_up,
        num_warps=tile.gate_up_warps,
        **facts,
    )
    _few_down_kernel[(width // tile.down, tokens, slots)](
        *(between, chosen, down.numbers, down.scale, second.numbers, second.scale, found),
        ROWS=tile.down,
        num_warps=tile.down_warps,
        **facts,
    )
    return combine(found[:, :k], weights, found[:, k] if shared else None)


def _is_hopper() -> bool:
    return current().capability[0] == 9 and not INTERPRETED.value


def _many(
    x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Fp8, down: Fp8, shared: Shared, tile: Many
) -> Tensor:
    (num, width, hidden), (tokens, k) = down.shape, chosen.shape
    if tile == MOST[gate_up.group] and _is_hopper():
        # it is written for that generation alone
        from . import hopper_triton as hopper

        if hopper.fits(gate_up, down):
            found, rows = hopper.products(x, *sort(chosen, num), k, gate_up, down)
            if is_exact() and shared and _are_alike(gate_up, down, shared):
                return combine(found, weights, hopper.of_one(rows, *shared))
            return combine(found, weights, _shared(x, rows, shared, gate_up.group))
    # exact mode keeps the weight on the left, as the kernels above do
    tile = tile if tile.is_swapped or not is_exact() else MANY[-1][1]
    inside = _is_one_more(tokens, gate_up, down, shared)
    first, second = shared if shared and inside else (gate_up, down)
    order, counts, *rows = prepare(x, chosen, num, gate_up.group, inside)
    # each expert with a pair has one tile, and one more for each further `tile.tokens`
    most = min(num, tokens * k)
    tiles = most + (tokens * k - most) // tile.tokens + inside * triton.cdiv(tokens, tile.tokens)
    facts = {"D": width, "F": hidden, "SLOTS": k, "SHARED": int(inside)}
    facts |= {"NUM_PAD": triton.next_power_of_2(num), "TOKENS": tile.tokens}
    facts |= {"BLOCKS": gate_up.group is not None, "IS_SWAPPED": tile.is_swapped}
    step = (tile.tokens + max(2 * tile.gate_up, tile.down)) * BLOCK.value
    stages = current().stages(step, tile.stages)
    facts |= {"num_warps": tile.warps, "num_stages": stages, **OVERLAP}
    slots = k + inside
    between, found = x.new_empty(tokens * slots, hidden), x.new_empty(tokens, slots, width)
    _many_gate_up_kernel[(tiles * triton.cdiv(hidden, tile.gate_up),)](
        *(*rows, order, counts, gate_up.numbers, gate_up.scale),
        *(first.numbers, first.scale, between, num, tokens),
        ROWS=tile.gate_up,
        **facts,
    )
    _many_down_kernel[(tiles * triton.cdiv(width, tile.down),)](
        *(*quantise(between, down.group), order, counts, down.numbers, down.scale),
        *(second.numbers, second.scale, found, num, tokens),
        ROWS=tile.down,
        **facts,
    )
    own = found[:, k] if inside else _shared(x, rows, shared, gate_up.group)
    return combine(found[:, :k], weights, own)


def _is_one_more(tokens: int, gate_up: Fp8, down: Fp8, shared: Shared) -> bool:
    """Whether the shared expert goes with the routed ones."""
    return shared is not None and (
        (is_exact() or tokens <= SHARED_TOKENS) and _are_alike(gate_up, down, shared)
    )


def _shared(x: Tensor, rows: Sequence[Tensor], shared: Shared, group: int | None) -> Tensor | None:
    """The shared expert's part of x, whose quantised rows are at hand."""
    if shared is None:
        return None
    first, second = shared
    if not all(isinstance(w, Fp8) and w.group == group for w in shared):
        return linear(swiglu_op(linear(x, first)), second)
    assert isinstance(first, Fp8) and isinstance(second, Fp8)
    numbers, scale = rows
    hidden = swiglu_quantised(product(numbers, scale, first, x.dtype), group)
    return product(*hidden, second, x.dtype)
