"""Latent attention over pages in exact mode: one partition for a single row and a prompt's rows.

A sequence is cut into parts at places that depend on nothing, so that all rows of a prompt meet the
same parts and a program reads a page once for several of them. What a row gets from a part, and how
its parts are joined, asks neither how many rows a program has nor which.
"""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from ..device import current
from ..overlap import OVERLAP, wait_for_inputs
from .page_triton import LOWEST, meet_if, rows_of


@dataclass(frozen=True)
class Tile:
    """Columns (a head of a row each) of a program, its warps and stages."""

    columns: int
    warps: int
    stages: int


# a single row's heads, as outside of exact mode; and two rows over one read of a page, whose sums
# are 128 registers of each thread then as well
ONE, TWO = Tile(32, 4, 2), Tile(64, 8, 2)
# where a page and the queries of these do not fit, for any number of columns. Never beside the
# others: on Hopper its bits were not theirs, and tiles of one stage had an illegal memory access
LEAST = Tile(16, 4, 1)
# bytes of a page, and of a column's query and weights
PAGE_BYTES, COLUMN_BYTES = 64 * 576 * 2, (576 + 64) * 2
# pages of the first parts, and how many parts are as long before they become twice as long: 16
# parts at 8,192 tokens, 81 at 262,144. Longer ones are too few programs for a lone sequence
PAGES, PARTS = 8, 16
# parts of a column that are joined at a time: all those of 4,096 tokens
JOINED = 8
# parts of all rows of a prompt that are read at once: each is 64 KiB at 32 heads
ROW_PARTS = 4096


def tile_of(columns: int) -> Tile:
    """The tile for so many heads of a sequence's rows."""
    room = current().program_bytes - PAGE_BYTES
    wanted = (TWO, ONE) if columns > ONE.columns else (ONE,)
    return next((t for t in wanted if t.columns * COLUMN_BYTES <= room), LEAST)


@triton.jit
def _begin(part, PAGES: tl.constexpr, PARTS: tl.constexpr):
    """The first page of a part."""
    return (((PARTS + part % PARTS) << (part // PARTS)) - PARTS) * PAGES


def parts(pages: int) -> int:
    """How many parts so many pages have."""
    count = 0
    while _begin.fn(count, PAGES, PARTS) < pages:
        count += 1
    return count


def attend(
    seen: Tensor,
    turned: Tensor,
    pages: Tensor,
    of: tuple[Tensor, Tensor, Tensor | None],
    scale: float,
    first: int,
    tile: Tile | None = None,
) -> Tensor:
    """Latents [H, T, R] mixed by the attention of queries seen [H, T, R] and turned [T, H, P]
    over the pages of (table, lengths, slots) from place `first` on; scale goes with powers of two.
    """
    table, lengths, slots = of
    heads, rows, rank = seen.shape
    size, turn = pages.shape[1], turned.shape[2]
    mixed = seen.new_empty(seen.shape)
    if not rows:
        return mixed
    num, each, most = len(lengths), rows // len(lengths), table.shape[1]
    columns, split = heads * each, parts(most)
    tile = tile or tile_of(columns)
    is_described = current().capability >= (9, 0)
    sums = seen.new_empty(num, split, columns, rank, dtype=torch.float32)
    peaks = seen.new_empty(2, num, split, columns, dtype=torch.float32)
    wide, narrow = (max(triton.next_power_of_2(n), 16) for n in (rank, turn))
    _attend_part[(triton.cdiv(columns, tile.columns), num, split)](
        seen,
        turned,
        *(
            TensorDescriptor.from_tensor(pages, [1, size, n]) if is_described else pages
            for n in (wide, narrow)
        ),
        pages,
        table,
        lengths,
        slots,
        sums,
        peaks[0],
        peaks[1],
        scale,
        seen.stride(0),
        seen.stride(1),
        turned.stride(0),
        turned.stride(1),
        pages.stride(0),
        table.stride(0),
        most,
        each,
        heads,
        first,
        rank,
        turn,
        size,
        tile.columns,
        wide,
        narrow,
        PAGES,
        PARTS,
        is_described,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **OVERLAP,
    )
    _join[(columns, num)](
        sums,
        peaks[0],
        peaks[1],
        lengths,
        mixed,
        most,
        split,
        each,
        heads,
        rank,
        size,
        PAGES,
        PARTS,
        JOINED,
        wide,
        num_warps=4,
        **OVERLAP,
    )
    return mixed


@triton.jit
def _edge(
    state,
    queries,
    pages,
    page,
    j,
    bounds,
    scale,
    FIRST: tl.constexpr,
    RANK: tl.constexpr,
    TURN: tl.constexpr,
    SIZE: tl.constexpr,
    WIDE: tl.constexpr,
):
    """The sums `state` after page j, which lies at `page`: a column sees the places from FIRST to
    its own of `bounds`, and what lies beyond all of these counts as zeros.
    """
    acc, m, l = state
    a, b = queries
    own, end = bounds
    i, r, p = tl.arange(0, SIZE), tl.arange(0, a.shape[1]), tl.arange(0, b.shape[1])
    place = j * SIZE + i
    is_kept = ((place >= FIRST) & (place < end))[:, None]
    at = page + i[:, None] * (RANK + TURN)
    c = tl.load(pages + at + r, is_kept & (r < RANK), 0.0)
    k = tl.load(pages + at + RANK + p, is_kept & (p < TURN), 0.0)
    is_seen = (place >= FIRST)[:, None] & (place[:, None] < own[None, :])
    return meet_if(j * SIZE < end, acc, m, l, a, b, c, k, is_seen, scale, WIDE)


# a launch is not to differ by where a step's tables happen to lie, how wide they are, or how many
# rows a prompt has
@triton.jit(
    do_not_specialize=["table_row", "most", "each"],
    do_not_specialize_on_alignment=["table", "lengths"],
)
def _attend_part(
    seen,
    turned,
    latents,
    rotated,
    pages,
    table,
    lengths,
    slots,
    sums,
    peak,
    mass,
    scale,
    seen_head,
    seen_row,
    turned_row,
    turned_head,
    page_stride,
    table_row,
    most,
    each,
    HEADS: tl.constexpr,
    FIRST: tl.constexpr,
    RANK: tl.constexpr,
    TURN: tl.constexpr,
    SIZE: tl.constexpr,
    COLUMNS: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    TURN_COLUMNS: tl.constexpr,
    PAGES: tl.constexpr,
    PARTS: tl.constexpr,
    IS_DESCRIBED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (b, n, s): a block of columns, each a head of one of a sequence's rows, over part s
    of sequence n, the longest parts first. Leaves the peak of the scores, the sum of their
    exponentials below it, and the latents mixed by these; nothing where the block sees no page of
    the part. Keys stand before columns, as outside of exact mode.
    """
    n = tl.program_id(1).to(tl.int64)
    splits = tl.num_programs(2)
    split = splits - 1 - tl.program_id(2)
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    h, row = x % HEADS, x // HEADS
    is_column = row < each
    # the kernel just before makes `seen` alone: what others wrote is there
    length = tl.load(lengths + n)
    own = length + row
    # what the block's first row sees, and its last
    least = length + tl.program_id(0) * COLUMNS // HEADS
    end = length + tl.minimum((tl.program_id(0) * COLUMNS + COLUMNS - 1) // HEADS, each - 1)
    count = tl.minimum(tl.cdiv(end, SIZE), most)
    begin = _begin(split, PAGES, PARTS)
    last = tl.minimum(_begin(split + 1, PAGES, PARTS), count)
    entries = table + (n if slots is None else tl.load(slots + n)) * table_row
    page = tl.load(entries + begin, begin < last, 0)
    wait_for_inputs()
    if begin >= last:
        return
    r = tl.arange(0, RANK_COLUMNS)
    p = tl.arange(0, TURN_COLUMNS)
    i = tl.arange(0, SIZE)
    at_row = n * each + row
    at = seen + h[:, None].to(tl.int64) * seen_head + at_row[:, None] * seen_row + r
    a = tl.load(at, is_column[:, None] & (r < RANK), 0.0)
    at = turned + at_row[:, None] * turned_row + h[:, None] * turned_head + p
    b = tl.load(at, is_column[:, None] & (p < TURN), 0.0)
    # a number, so that a column which has seen nothing yet keeps its zeros
    m = tl.full((COLUMNS,), LOWEST, tl.float32)
    # summed over keys at the end: each sum over the threads of a page would make them wait
    l = tl.zeros((SIZE, COLUMNS), tl.float32)
    acc = tl.zeros((RANK_COLUMNS, COLUMNS), tl.float32)
    # settled by the compiler, so that no branch is left without it
    if FIRST > 0:
        for j in range(begin, tl.minimum(1, last)):
            at_page = page.to(tl.int64) * page_stride
            acc, m, l = _edge(
                *((acc, m, l), (a, b), pages, at_page, j, (own, end), scale),
                *(FIRST, RANK, TURN, SIZE, WIDE),
            )
        begin = tl.maximum(begin, 1)
        page = tl.load(entries + tl.minimum(begin, last - 1))
    # pages that each row sees whole
    whole = tl.maximum(tl.minimum(least // SIZE, last), begin)
    for j in range(begin, whole):
        c = rows_of(latents, page, 0, page_stride, 0, RANK, RANK + TURN, i, r, IS_DESCRIBED)
        k = rows_of(rotated, page, 0, page_stride, RANK, TURN, RANK + TURN, i, p, IS_DESCRIBED)
        # looked up a page ahead, so that no load waits for it
        page = tl.load(entries + tl.minimum(j + 1, last - 1))
        acc, m, l = meet_if(j < last, acc, m, l, a, b, c, k, None, scale, WIDE)
    for j in range(whole, last):
        at_page = tl.load(entries + j).to(tl.int64) * page_stride
        acc, m, l = _edge(
            *((acc, m, l), (a, b), pages, at_page, j, (own, end), scale),
            *(FIRST, RANK, TURN, SIZE, WIDE),
        )
    at = (n * splits + split) * each * HEADS + x
    tl.store(peak + at, m, is_column)
    tl.store(mass + at, tl.sum(l, 0), is_column)
    to = sums + at[None, :] * RANK + r[:, None]
    tl.store(to, acc, is_column[None, :] & (r < RANK)[:, None])


@triton.jit(
    do_not_specialize=["most", "splits", "each"], do_not_specialize_on_alignment=["lengths"]
)
def _join(
    sums,
    peak,
    mass,
    lengths,
    mixed,
    most,
    splits,
    each,
    HEADS: tl.constexpr,
    RANK: tl.constexpr,
    SIZE: tl.constexpr,
    PAGES: tl.constexpr,
    PARTS: tl.constexpr,
    JOINED: tl.constexpr,
    DIMS: tl.constexpr,
):
    """Program (x, n): column x of sequence n, summed over its parts, JOINED at a time in order."""
    n = tl.program_id(1).to(tl.int64)
    x, columns = tl.program_id(0), tl.num_programs(0)
    h, row = x % HEADS, x // HEADS
    r = tl.arange(0, DIMS)
    count = tl.minimum(tl.cdiv(tl.load(lengths + n) + row, SIZE), most)
    wait_for_inputs()
    m, l = LOWEST, 0.0
    acc = tl.zeros((DIMS,), tl.float32)
    for begin in range(0, splits, JOINED):
        s = begin + tl.arange(0, JOINED)
        # the others were never written, and count as nothing
        used = (s < splits) & (_begin(s, PAGES, PARTS) < count)
        at = (n * splits + s) * columns + x
        peaks = tl.load(peak + at, used, LOWEST)
        masses = tl.load(mass + at, used, 0.0)
        found = tl.load(sums + at[:, None] * RANK + r, used[:, None] & (r < RANK), 0.0)
        top = tl.maximum(m, tl.max(peaks, 0))
        shrink, weight = tl.exp2(m - top), tl.exp2(peaks - top)
        acc = tl.fma(acc, shrink, tl.sum(found * weight[:, None], 0))
        l = tl.fma(l, shrink, tl.sum(masses * weight, 0))
        m = top
    y = acc / tl.where(l > 0, l, 1.0)
    to = (h.to(tl.int64) * tl.num_programs(1) * each + n * each + row) * RANK
    tl.store(mixed + to + r, y.to(mixed.dtype.element_ty), r < RANK)
