"""Routed experts with weights of four bits on the tensor cores, for tokens that share experts.

As with e4m3 the pairs of a token and a slot are sorted by expert, and the weight is the left
operand: that of the dense kernel (`ops/linear/int4_triton.py`).
"""

# this file hides the package of its name from the checker, which takes kernels for functions
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import triton
import triton.language as tl
from torch import Tensor

from ..linear import Int4
from ..linear.int4_triton import (
    BLOCK,
    SMALLER,
    _add_product,
    _arrange_row,
    _input,
    arranged,
    neighbours,
)
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded, silu_times
from .many_triton import _find_any, _weight
from .rows_triton import _place, _room, sort
from .sort_triton import MANY


@dataclass(frozen=True)
class Tile4:
    """Tokens and weight rows of a tile (of the first product hidden rows: each is a row of the gate
    and one of up), inputs of a step, warps and stages.
    """

    tokens: int
    rows: int
    inputs: int
    warps: int
    stages: int

    def step_bytes(self, parts: int) -> int:
        """What a step brings to shared memory: tokens, and words and scales of `parts` rows for
        each of the tile's.
        """
        return self.inputs * (2 * self.tokens + parts * self.rows * 9 // 16)

    @property
    def near(self) -> int:
        """As `neighbours`."""
        return neighbours(self.rows, self.tokens, self.warps)

    @property
    def facts(self) -> dict[str, int]:
        """What a kernel is told of it."""
        found = {"TOKENS": self.tokens, "ROWS": self.rows, "K": self.inputs, "NEAR": self.near}
        return found | {"num_warps": self.warps, "num_stages": self.stages}


@triton.jit(do_not_specialize=["tokens"])
def _prepare(
    chosen,
    order,
    counts,
    x,
    out,
    NUM,
    tokens,
    D,
    WIDE,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    COLUMNS: tl.constexpr,
    NEAR: tl.constexpr,
):
    """The first NUM programs sort, one an expert, and the others arrange COLUMNS of a row of x."""
    wait_for_inputs()
    program, pairs = tl.program_id(0), tokens * SLOTS
    if program < NUM:
        _place(chosen, order, counts, program, NUM, pairs, BLOCK_P, SLOTS if SHARED else 0)
    else:
        parts = tl.cdiv(WIDE, COLUMNS)
        row, part = (program - NUM) // parts, (program - NUM) % parts
        _arrange_row(x + row.to(tl.int64) * D, out, row, part, D, WIDE, COLUMNS, NEAR)
        if SHARED:
            tl.store(order + pairs + row, row * (SLOTS + 1) + SLOTS)


def prepare(
    x: Tensor, chosen: Tensor, num: int, shared: bool, near: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`sort(chosen, num, shared)` and `arranged(x, near)`, in one launch unless many pairs are
    sorted in another way: order, counts, x [T, I].
    """
    tokens, slots = chosen.shape
    if chosen.numel() >= MANY and not shared:
        return *sort(chosen, num), arranged(x, near)
    x, width = x.contiguous(), x.shape[1]
    order, counts, block = _room(chosen, num, tokens * (slots + shared))
    wide = triton.cdiv(width, BLOCK.value) * BLOCK.value
    out, columns = x.new_empty(tokens, wide), min(1024, triton.next_power_of_2(wide))
    _prepare[(num + tokens * triton.cdiv(wide, columns),)](
        *(chosen, order, counts, x, out, num, tokens, width, wide),
        SLOTS=slots,
        SHARED=int(shared),
        BLOCK_P=block,
        COLUMNS=columns,
        NEAR=near,
        num_warps=8,
        **OVERLAP,
    )
    return order, counts, out


@triton.jit
def _rows(at, first, is_row, WIDTH: tl.constexpr, MORE: tl.constexpr):
    """As `_step`, of the rows that are; a tile has rows to spare, which nothing is read for."""
    S: tl.constexpr = at.shape[1]
    mask = is_row[:, None]
    if MORE:
        mask = mask & (tl.arange(0, S) + first < WIDTH)[None, :]
    return tl.load(at + first, mask=mask, other=0.0)


@triton.jit(do_not_specialize=["tokens"])
def _gate_up(
    x,
    order,
    counts,
    words,
    scale,
    shared_words,
    shared_scale,
    hidden,
    NUM,
    tokens,
    D: tl.constexpr,
    F: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
    NEAR: tl.constexpr,
):
    """hidden [P, F] of sorted pairs, its columns in order: TOKENS of one expert, ROWS of its F."""
    # the tiles of one expert follow each other, so that its tokens and weights stay in the cache
    WIDE: tl.constexpr = (D + BLOCK - 1) // BLOCK * BLOCK
    OUT: tl.constexpr = (F + BLOCK - 1) // BLOCK * BLOCK
    tiles: tl.constexpr = (OUT + ROWS - 1) // ROWS
    wait_for_inputs()
    tile = tl.program_id(0) // tiles
    expert, first, end = _find_any(counts, tile, NUM, tokens, SLOTS, SHARED, TOKENS, NUM_PAD)
    if first >= end:
        return
    own = 2 * F * (D // 8), 2 * F * (D // GROUP)
    w, s = _weight(words, scale, shared_words, shared_scale, expert, NUM, own[0], own[1], SHARED)
    pairs = first + tl.arange(0, TOKENS)
    token = tl.load(order + tl.minimum(pairs, end - 1)) // (SLOTS + SHARED)
    column = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    rows = _input(column, NEAR)
    row = tl.minimum(rows, F - 1)[:, None]
    x_at = x + token.to(tl.int64)[:, None] * WIDE + tl.arange(0, K)[None, :]
    w_at = w + row * (D // 8) + tl.arange(0, K // 8)[None, :]
    s_at = s + row * (D // GROUP) + tl.arange(0, K // GROUP)[None, :]
    w_up, s_up = w_at + F * (D // 8), s_at + F * (D // GROUP)
    gate = tl.zeros((ROWS, TOKENS), tl.float32)
    up = tl.zeros((ROWS, TOKENS), tl.float32)
    for k in range(0, D, K):
        part = _rows(x_at, k, pairs < end, WIDE, WIDE % K != 0)
        gate = _add_product(gate, w_at, s_at, part, k, D, K, GROUP, NEAR)
        up = _add_product(up, w_up, s_up, part, k, D, K, GROUP, NEAR)
    found = tl.trans(silu_times(gate * SMALLER, up * SMALLER, hidden.dtype.element_ty))
    # the last block of columns may lack its second unit
    found = tl.where((rows < F)[None, :], found, 0.0)
    at = hidden + pairs.to(tl.int64)[:, None] * OUT + column[None, :]
    tl.store(at, found, mask=(pairs < end)[:, None] & (column < OUT)[None, :])


@triton.jit(do_not_specialize=["tokens"])
def _down(
    x,
    order,
    counts,
    words,
    scale,
    shared_words,
    shared_scale,
    out,
    NUM,
    tokens,
    D: tl.constexpr,
    F: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    K: tl.constexpr,
    NEAR: tl.constexpr,
):
    """out [P, D] in the pairs' own order, from x [P, F] in sorted order, its columns in theirs."""
    tiles: tl.constexpr = (D + ROWS - 1) // ROWS
    WIDE: tl.constexpr = (F + BLOCK - 1) // BLOCK * BLOCK
    # the pairs were sorted before the kernel that is waited for below
    tile = tl.program_id(0) // tiles
    expert, first, end = _find_any(counts, tile, NUM, tokens, SLOTS, SHARED, TOKENS, NUM_PAD)
    if first >= end:
        return
    own = D * (F // 8), D * (F // GROUP)
    w, s = _weight(words, scale, shared_words, shared_scale, expert, NUM, own[0], own[1], SHARED)
    pairs = first + tl.arange(0, TOKENS)
    place = tl.minimum(pairs, end - 1)
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row = tl.minimum(rows, D - 1)[:, None]
    x_at = x + place.to(tl.int64)[:, None] * WIDE + tl.arange(0, K)[None, :]
    w_at = w + row * (F // 8) + tl.arange(0, K // 8)[None, :]
    s_at = s + row * (F // GROUP) + tl.arange(0, K // GROUP)[None, :]
    wait_for_inputs()
    total = tl.zeros((ROWS, TOKENS), tl.float32)
    for k in range(0, F, K):
        part = _rows(x_at, k, pairs < end, WIDE, WIDE % K != 0)
        total = _add_product(total, w_at, s_at, part, k, F, K, GROUP, NEAR)
    pair = tl.load(order + place).to(tl.int64)
    at = out + pair[:, None] * D + rows[None, :]
    found = tl.trans(rounded(total * SMALLER, out.dtype.element_ty))
    tl.store(at, found, mask=(pairs < end)[:, None] & (rows < D)[None, :])


def grouped(
    x: Tensor,
    chosen: Tensor,
    gate_up: Int4,
    down: Int4,
    tiles: tuple[Tile4, Tile4],
    shared: tuple[Int4, Int4] | None = None,
) -> Tensor:
    """x [T, D] bfloat16 through the experts chosen [T, k] int64, of gate_up [E, 2F, D] and down
    [E, D, F]: [T, k, D] in x's dtype. shared: an expert of their shapes that all tokens visit in a
    slot more, after the k. tiles: of the two products, of as many tokens.
    """
    up, back = tiles
    assert (up.tokens, up.near) == (back.tokens, back.near)
    (num, width, hidden), (tokens, k) = down.shape, chosen.shape
    slots, has_shared = k + (shared is not None), shared is not None
    first, second = shared or (gate_up, down)
    weights = gate_up, first, down, second
    assert chosen.is_contiguous()
    assert all(w.words.is_contiguous() and w.scale.is_contiguous() for w in weights)
    assert first.group == gate_up.group and second.group == down.group
    # each expert with a pair has one tile, and one more for each further `up.tokens`
    most = min(num, tokens * k)
    count = most + (tokens * k - most) // up.tokens
    count += has_shared * triton.cdiv(tokens, up.tokens)
    facts = {"D": width, "F": hidden, "SLOTS": k, "SHARED": int(has_shared)}
    facts |= {"NUM_PAD": triton.next_power_of_2(num), **OVERLAP}
    order, counts, rows = prepare(x, chosen, num, has_shared, up.near)
    deep = triton.cdiv(hidden, BLOCK.value) * BLOCK.value
    between, found = x.new_empty(tokens * slots, deep), x.new_empty(tokens, slots, width)
    _gate_up[(count * triton.cdiv(deep, up.rows),)](
        *(rows, order, counts, gate_up.words, gate_up.scale, first.words, first.scale),
        *(between, num, tokens),
        GROUP=gate_up.group,
        **(facts | up.facts),
    )
    _down[(count * triton.cdiv(width, back.rows),)](
        *(between, order, counts, down.words, down.scale, second.words, second.scale),
        *(found, num, tokens),
        GROUP=down.group,
        **(facts | back.facts),
    )
    return found
