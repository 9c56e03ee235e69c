"""Latent attention over pages in Triton: each sequence's pages shared out, then joined."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import bmm, is_exact
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import dot
from . import BLOCK, halves
from . import mla_paged as op


@dataclass(frozen=True)
class Tile:
    """Heads and parts of a sequence per program, warps and stages."""

    heads: int
    splits: int
    warps: int
    stages: int


# 132 multiprocessors hold one program each, in 184 of their 227 KB: two pages of 64 x 576 (the
# next one arrives while this one is used) and the queries of 32 heads. A sequence is shared out
# in the same number of parts whatever its length, as many as fill the GPU: a single one of 4,096
# tokens is a page in each of 64 programs. Two at least, so that long and short ones mix.
MOST_SPLITS, LEAST_SPLITS = 128, 2
# in exact mode as many parts in any company, and the rows of a prompt that are read at once: each
# has up to 1 MiB of partial sums at 32 heads
EXACT_SPLITS, EXACT_ROWS = 16, 512
# a page is the 64 rows and the values' 512 columns are 8 times the 64 rows that one tensor
# instruction has, and 4 warps issue it together; with 8 they would make the scores twice
HEADS, WARPS, STAGES = 32, 4, 2
# bytes of a page, and of a head's query and what a program keeps for it
PAGE_BYTES, HEAD_BYTES = 64 * 576 * 2, 576 * 2 + 256
# partial sums that a program joins at once
JOINED = 8192


def tile_of(sequences: int, heads: int) -> Tile:
    """The tile for so many sequences and heads."""
    gpu = current()
    # the largest power of two that every multiprocessor has a program of
    programs = 1 << gpu.multiprocessors.bit_length() - 1
    splits = triton.next_power_of_2(triton.cdiv(programs, max(sequences, 1)))
    splits = min(max(splits, LEAST_SPLITS), MOST_SPLITS)
    # where a page and the queries of all heads do not fit, fewer heads; a product has at least 16
    fits = gpu.program_bytes - PAGE_BYTES >= HEADS * HEAD_BYTES
    rows = min(max(triton.next_power_of_2(heads), 16), HEADS if fits else 16)
    pages = (gpu.program_bytes - rows * HEAD_BYTES) // PAGE_BYTES
    return Tile(rows, splits, WARPS, min(pages, STAGES))


def mla_paged(
    q: Tensor,
    pages: Tensor,
    table: Tensor,
    lengths: Tensor,
    kv_b: Tensor,
    value_dim: int,
    slots: Tensor | None = None,
    first: int = 0,
    *,
    tile: Tile | None = None,
) -> Tensor:
    """As the op; bfloat16 alone is served, and no gradients: anything else takes the body."""
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (q, pages, kv_b))
    learns = learns or first > 0 or len(q) != len(lengths)
    if learns or any(t.dtype != torch.bfloat16 for t in (q, pages, kv_b)):
        return vars(op)["body"](q, pages, table, lengths, kv_b, value_dim, slots, first)
    size, width, rank = pages.shape[1], pages.shape[2], kv_b.shape[1]
    if size & (size - 1) or pages.stride(2) != 1 or pages.stride(1) != width:
        raise ValueError(f"pages {tuple(pages.shape)} with strides {pages.stride()}")
    if table.dtype != torch.int32 or lengths.dtype != torch.int32:
        raise ValueError(f"table and lengths must be int32, not {table.dtype}, {lengths.dtype}")
    wk, wv = halves(kv_b, q.shape[1], value_dim)
    plain, turned = q.split([wk.shape[1], width - rank], -1)
    # heads lead: [H, N, R]
    seen = bmm(plain.transpose(0, 1), wk)
    scale = q.shape[-1] ** -0.5 / math.log(2)
    of = table, lengths.contiguous(), slots
    mixed = _attend(seen, turned, pages, of, scale, tile)
    return bmm(mixed, wv.transpose(1, 2)).transpose(0, 1)


def over_pages(q: Tensor, context: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
    """`mla_over` with the bits of `mla_paged`: each row is a sequence of its own length over the
    same pages.
    """
    rows, length = len(q), len(context)
    pages = F.pad(context, (0, 0, 0, -length % BLOCK)).unflatten(0, (-1, BLOCK))
    table = torch.arange(len(pages), dtype=torch.int32, device=q.device)[None]
    seen = torch.arange(length - rows + 1, length + 1, dtype=torch.int32, device=q.device)
    one = torch.zeros(rows, dtype=torch.int64, device=q.device)
    parts = zip(*(x.split(EXACT_ROWS) for x in (q, seen, one)), strict=True)
    return torch.cat([mla_paged(a, pages, table, n, kv_b, value_dim, s) for a, n, s in parts])


def _attend(
    seen: Tensor,
    turned: Tensor,
    pages: Tensor,
    of: tuple[Tensor, Tensor, Tensor | None],
    scale: float,
    tile: Tile | None,
) -> Tensor:
    """Latents [H, N, R] mixed by the attention of queries seen [H, N, R] and turned [N, H, P]
    over the pages of (table, lengths, slots); scale goes with powers of two.
    """
    table, lengths, slots = of
    heads, num, rank = seen.shape
    size, turn = pages.shape[1], turned.shape[2]
    mixed = seen.new_empty(seen.shape)
    if not num:
        return mixed
    if tile is None:
        tile = tile_of(num, heads)
        tile = replace(tile, splits=EXACT_SPLITS) if is_exact() else tile
    turned = turned if turned.stride(2) == 1 else turned.contiguous()
    table = table if table.stride(1) == 1 else table.contiguous()
    slots = None if slots is None else slots.contiguous()
    parts = seen.new_empty(num, tile.splits, heads, rank, dtype=torch.float32)
    peaks = seen.new_empty(2, num, tile.splits, heads, dtype=torch.float32)
    columns = triton.next_power_of_2(rank)
    _attend_part[(num, tile.splits, triton.cdiv(heads, tile.heads))](
        seen,
        turned,
        pages,
        table,
        lengths,
        slots,
        parts,
        peaks[0],
        peaks[1],
        scale,
        seen.stride(0),
        turned.stride(0),
        turned.stride(1),
        pages.stride(0),
        table.stride(0),
        table.shape[1],
        heads,
        rank,
        turn,
        size,
        tile.splits,
        tile.heads,
        columns,
        max(triton.next_power_of_2(turn), 16),
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **OVERLAP,
    )
    joined = min(max(JOINED // tile.splits, 16), columns)
    _join_parts[(num, heads, triton.cdiv(rank, joined))](
        parts,
        peaks[0],
        peaks[1],
        lengths,
        mixed,
        table.shape[1],
        rank,
        size,
        tile.splits,
        joined,
        num_warps=4,
        **OVERLAP,
    )
    return mixed


@triton.jit
def _shares(length, most, SIZE: tl.constexpr, SPLITS: tl.constexpr):
    """How many pages a sequence has, and how many each of its parts."""
    count = tl.minimum(tl.cdiv(length, SIZE), most)
    return count, tl.maximum(tl.cdiv(count, SPLITS), 1)


# a launch is not to differ by where a step's tables happen to lie, or how wide they are
@triton.jit(
    do_not_specialize=["table_row", "most"],
    do_not_specialize_on_alignment=["table", "lengths"],
)
def _attend_part(
    seen,
    turned,
    pages,
    table,
    lengths,
    slots,
    parts,
    peak,
    mass,
    scale,
    seen_head,
    turned_row,
    turned_head,
    page_stride,
    table_row,
    most,
    HEADS: tl.constexpr,
    RANK: tl.constexpr,
    TURN: tl.constexpr,
    SIZE: tl.constexpr,
    SPLITS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    TURN_COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (n, s, b): a block of heads over part s of sequence n. Leaves the peak of the
    scores, the sum of their exponentials below it, and the latents mixed by these; nothing
    where the part has no pages.

    Everything is transposed, keys before heads, so that a page is the tall side of both products
    and is read once: its first columns are the keys' and the values' latent.
    """
    n = tl.program_id(0).to(tl.int64)
    split = tl.program_id(1)
    wait_for_inputs()
    length = tl.load(lengths + n)
    count, share = _shares(length, most, SIZE, SPLITS)
    first = split * share
    last = tl.minimum(first + share, count)
    if first >= last:
        return
    h = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
    r = tl.arange(0, COLUMNS)
    p = tl.arange(0, TURN_COLUMNS)
    i = tl.arange(0, SIZE)
    WIDTH: tl.constexpr = RANK + TURN
    at = seen + h[:, None].to(tl.int64) * seen_head + n * RANK + r
    a = tl.load(at, (h < HEADS)[:, None] & (r < RANK), 0.0)
    at = turned + n * turned_row + h[:, None] * turned_head + p
    b = tl.load(at, (h < HEADS)[:, None] & (p < TURN), 0.0)
    m = tl.full((ROWS,), float("-inf"), tl.float32)
    l = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((COLUMNS, ROWS), tl.float32)
    entries = table + (n if slots is None else tl.load(slots + n)) * table_row
    page = tl.load(entries + first)
    for j in range(first, last):
        row = pages + page.to(tl.int64) * page_stride + i[:, None] * WIDTH
        # looked up a page ahead, so that no load waits for it
        page = tl.load(entries + tl.minimum(j + 1, last - 1))
        real = j * SIZE + i < length
        c = tl.load(row + r, real[:, None] & (r < RANK), 0.0)
        k = tl.load(row + RANK + p, real[:, None] & (p < TURN), 0.0)
        s = dot(k, tl.trans(b), tl.zeros((SIZE, ROWS), tl.float32), WIDE)
        s = dot(c, tl.trans(a), s, WIDE)
        s = tl.where(real[:, None], s * scale, float("-inf"))
        top = tl.maximum(m, tl.max(s, 0))
        e = tl.exp2(s - top)
        shrink = tl.exp2(m - top)
        l = l * shrink + tl.sum(e, 0)
        acc = dot(tl.trans(c), e.to(c.dtype), acc * shrink, WIDE)
        m = top
    at = (n * SPLITS + split) * HEADS + h
    tl.store(peak + at, m, h < HEADS)
    tl.store(mass + at, l, h < HEADS)
    to = parts + at[None, :] * RANK + r[:, None]
    tl.store(to, acc, (h < HEADS)[None, :] & (r < RANK)[:, None])


@triton.jit(do_not_specialize=["most"], do_not_specialize_on_alignment=["lengths"])
def _join_parts(
    parts,
    peak,
    mass,
    lengths,
    mixed,
    most,
    RANK: tl.constexpr,
    SIZE: tl.constexpr,
    SPLITS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program (n, h, i): COLUMNS latent dimensions of head h of sequence n, summed over its parts
    in one fixed order.
    """
    n = tl.program_id(0).to(tl.int64)
    h, heads = tl.program_id(1), tl.num_programs(1)
    r = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    s = tl.arange(0, SPLITS)
    wait_for_inputs()
    count, share = _shares(tl.load(lengths + n), most, SIZE, SPLITS)
    # the parts after these were never written
    used = s < tl.cdiv(count, share)
    at = (n * SPLITS + s) * heads + h
    m = tl.load(peak + at, used, float("-inf"))
    l = tl.load(mass + at, used, 0.0)
    rows = tl.load(parts + at[:, None] * RANK + r, used[:, None] & (r < RANK), 0.0)
    # a number even where there is nothing to see
    weight = tl.exp2(m - tl.maximum(tl.max(m, 0), -3e38))
    total = tl.sum(weight * l, 0)
    y = tl.sum(rows * weight[:, None], 0) / tl.where(total > 0, total, 1.0)
    to = mixed + (h.to(tl.int64) * tl.num_programs(0) + n) * RANK + r
    tl.store(to, y.to(mixed.dtype.element_ty), r < RANK)
