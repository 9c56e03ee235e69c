"""What stands before the walk over tiles of `hopper_triton.py`: which tiles there are, and the
quantised rows of pairs in the order of experts.
"""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..linear import FLOAT8
from ..linear.quantise_triton import _quantised
from ..overlap import OVERLAP, wait_for_inputs

# tokens of a tile, and those that it may have more; what of a table comes before its tiles
TOKENS, EXTRA, HEAD = 128, 32, 3
# pairs whose places a program tells, numbers that one quantises
PLACES, QUANTISED = 1024, 4096

Rows = tuple[Tensor, Tensor]


def tiles(order: Tensor, counts: Tensor, extra: int) -> tuple[Tensor, Tensor]:
    """Of sorted pairs, `order` [P] and counts [E] as of `sort`: the table of their tiles
    [3 + 3 n] int32, and the place of each pair in the order [P] int32.

    The table has how many tiles there are, two zeros that count those taken, and of each tile
    its expert, its first pair and its number of pairs: TOKENS, `extra` more if that saves a
    tile, or fewer for the last of an expert.
    """
    num, pairs = len(counts), len(order)
    most = min(num, pairs)
    most += (pairs - most) // (TOKENS + extra)
    table = torch.empty(HEAD + 3 * most, dtype=torch.int32, device=counts.device)
    places = torch.empty_like(order)
    _tiles[(max(num, triton.cdiv(pairs, PLACES)),)](
        *(order, counts, table, places, num, pairs),
        PADDED=triton.next_power_of_2(num),
        TOKENS=TOKENS,
        EXTRA=extra,
        HEAD=HEAD,
        PLACES=PLACES,
        num_warps=4,
        **OVERLAP,
    )
    return table, places


def spread(x: Tensor, places: Tensor, k: int, group: int | None) -> tuple[Rows, Rows]:
    """Rows of x [T, K] as `quantise` has them, each at the places [T * k] of its pairs, numbers
    [P, K] e4m3 and scales [K / group or 1, P and more], so that those of neighbours lie together;
    and as `quantise` gives them.
    """
    numbers, scale = _room(len(places), x, group)
    own = torch.empty_like(x, dtype=FLOAT8)
    own_scale = x.new_empty(len(x), len(scale), dtype=torch.float32)
    _launch(x, places, (numbers, scale), (own, own_scale), own_scale.stride(), k, group)
    return (numbers, scale), (own, own_scale if group else own_scale[:, 0])


def by_group(x: Tensor, group: int | None) -> Rows:
    """Rows of x [P, K] as `quantise` has them, but scales [K / group or 1, P and more]."""
    numbers, scale = _room(len(x), x, group)
    _launch(x, x, (numbers, scale), (numbers, scale), scale.stride()[::-1], 0, group)
    return numbers, scale


def turned(rows: Rows) -> Rows:
    """Rows [P, K] as of `quantise` with the scales of `by_group`."""
    numbers, scale = rows
    scale = scale.view(len(scale), -1).T
    found = scale.new_empty(len(scale), _length(len(numbers)))
    found[:, : len(numbers)] = scale
    return numbers, found


def _length(rows: int) -> int:
    """Scales of so many rows: a tile that begins with the last pair reads on."""
    return rows + TOKENS + EXTRA


def _room(rows: int, x: Tensor, group: int | None) -> Rows:
    numbers = torch.empty(rows, x.shape[1], dtype=FLOAT8, device=x.device)
    scale = torch.empty(x.shape[1] // (group or x.shape[1]), _length(rows), device=x.device)
    return numbers, scale


def _launch(
    x: Tensor,
    places: Tensor,
    spread_to: Rows,
    own: Rows,
    own_strides: tuple[int, ...],
    k: int,
    group: int | None,
) -> None:
    rows, inputs = x.shape
    width = group or inputs
    across, wide = triton.next_power_of_2(inputs // width), triton.next_power_of_2(width)
    each = max(1, QUANTISED // (across * wide))
    numbers, scale = spread_to
    _spread[(triton.cdiv(rows, each),)](
        *(x, places, numbers, scale, scale.stride(0), *own, *own_strides, rows),
        INPUTS=inputs,
        GROUP=width,
        SLOTS=k,
        R=each,
        G=across,
        W=wide,
        num_warps=max(each * across * wide // 1024, 1),
        **OVERLAP,
    )


@triton.jit(do_not_specialize=["pairs"])
def _tiles(
    order,
    counts,
    table,
    places,
    NUM,
    pairs,
    PADDED: tl.constexpr,
    TOKENS: tl.constexpr,
    EXTRA: tl.constexpr,
    HEAD: tl.constexpr,
    PLACES: tl.constexpr,
):
    """Program e: the tiles of expert e, and the places of some pairs."""
    expert, e = tl.program_id(0), tl.arange(0, PADDED)
    place = expert * PLACES + tl.arange(0, PLACES)
    wait_for_inputs()
    pair = tl.load(order + place, mask=place < pairs, other=0)
    tl.store(places + pair, place, mask=place < pairs)
    if expert < NUM:
        count = tl.load(counts + e, mask=e < NUM, other=0)
        own = tl.sum(tl.where(e == expert, count, 0), 0)
        first = tl.sum(tl.where(e < expert, count, 0), 0)
        num = (count + TOKENS + EXTRA - 1) // (TOKENS + EXTRA)
        tile = tl.sum(tl.where(e < expert, num, 0), 0)
        end, left = first + own, own - TOKENS * tl.sum(tl.where(e == expert, num, 0), 0)
        while first < end:
            size = TOKENS + (EXTRA if left > 0 else 0)
            at = table + HEAD + 3 * tile
            tl.store(at, expert)
            tl.store(at + 1, first)
            tl.store(at + 2, tl.minimum(size, end - first))
            first += size
            left -= EXTRA
            tile += 1
        if expert == NUM - 1:
            tl.store(table, tile)
            tl.store(table + 1, 0)
            tl.store(table + 2, 0)


@triton.jit(do_not_specialize=["scale_row", "own_row", "own_group", "rows"])
def _spread(
    x,
    places,
    numbers,
    scale,
    scale_row,
    own,
    own_scale,
    own_row,
    own_group,
    rows,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
):
    """R rows a program, each in G groups padded to W, where they stand and at SLOTS places."""
    i, column = tl.arange(0, R * G), tl.arange(0, W)
    row, group = tl.program_id(0) * R + i // G, i % G
    is_group = (group < INPUTS // GROUP) & (row < rows)
    inside = is_group[:, None] & (column < GROUP)[None, :]
    at = (group * GROUP)[:, None] + column[None, :]
    wait_for_inputs()
    own_at = (row.to(tl.int64) * INPUTS)[:, None] + at
    found, size = _quantised(tl.load(x + own_at, mask=inside, other=0.0).to(tl.float32))
    tl.store(own + own_at, found, mask=inside)
    tl.store(own_scale + row.to(tl.int64) * own_row + group * own_group, size, mask=is_group)
    for slot in tl.static_range(SLOTS):
        place = tl.load(places + row * SLOTS + slot, mask=row < rows, other=0).to(tl.int64)
        tl.store(numbers + (place * INPUTS)[:, None] + at, found, mask=inside)
        tl.store(scale + group.to(tl.int64) * scale_row + place, size, mask=is_group)
