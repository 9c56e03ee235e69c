"""Latent attention over pages in Triton: each sequence's pages shared out, then joined.

Pages come through a descriptor, so that a copy needs no addresses in registers. The last page is
read from as many rows before its first as it lacks at its end, and what lies outside of a page is
zeros: so no number is looked at that means nothing.
"""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor
from triton.tools.tensor_descriptor import TensorDescriptor

from ..device import current
from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from . import BLOCK, exact_triton, halves
from . import mla_paged as op
from .heads_triton import by_head
from .page_triton import LOWEST, meet, rows_of


@dataclass(frozen=True)
class Tile:
    """Columns (a head of a row each) and parts of a sequence per program, warps and stages; and
    whether pages come through a descriptor, which GPUs before Hopper make addresses of.
    """

    columns: int
    splits: int
    warps: int
    stages: int
    is_described: bool = True


# 132 multiprocessors hold one program each, in 184 of their 227 KB: two pages of 64 x 576 (the
# next one arrives while this one is used) and the queries of 32 heads. A sequence is shared out
# in the same number of parts whatever its length, as many as fill the GPU: a single one of 4,096
# tokens is a page in each of 64 programs. Two at least, so that long and short ones mix.
MOST_SPLITS, LEAST_SPLITS = 128, 2
# a page is the 64 rows and the values' 512 columns are 8 times the 64 rows that one tensor
# instruction has, and 4 warps issue it together; with 8 they would make the scores twice
COLUMNS, WARPS, STAGES = 32, 4, 2
# bytes of a page, and of a column's query and what a program keeps for it
PAGE_BYTES, COLUMN_BYTES = 64 * 576 * 2, 576 * 2 + 256
# partial sums that a program joins at once
JOINED = 8192


def tile_of(sequences: int, columns: int) -> Tile:
    """The tile for so many sequences, and heads of a sequence's rows."""
    gpu = current()
    # where a page and the queries of all columns do not fit, fewer; a product has at least 16
    fits = gpu.program_bytes - PAGE_BYTES >= COLUMNS * COLUMN_BYTES
    width = min(max(triton.next_power_of_2(columns), 16), COLUMNS if fits else 16)
    pages = (gpu.program_bytes - width * COLUMN_BYTES) // PAGE_BYTES
    # all at once: a program more than there are multiprocessors would double the time
    programs = max(sequences, 1) * triton.cdiv(columns, width)
    splits = min(max(gpu.multiprocessors // programs, LEAST_SPLITS), MOST_SPLITS)
    # the compiler for such a GPU takes room for more
    stages = 1 if gpu.capability[0] == 10 else min(pages, STAGES)
    return Tile(width, splits, WARPS, stages, gpu.capability >= (9, 0))


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
    if learns or any(t.dtype != torch.bfloat16 for t in (q, pages, kv_b)):
        return vars(op)["body"](q, pages, table, lengths, kv_b, value_dim, slots, first)
    size, width, rank = pages.shape[1], pages.shape[2], kv_b.shape[1]
    if width % 8 or size & (size - 1) or pages.stride(2) != 1 or pages.stride(1) != width:
        raise ValueError(f"pages {tuple(pages.shape)} with strides {pages.stride()}")
    if table.dtype != torch.int32 or lengths.dtype != torch.int32:
        raise ValueError(f"table and lengths must be int32, not {table.dtype}, {lengths.dtype}")
    table = table if table.stride(1) == 1 else table.contiguous()
    of = table, lengths.contiguous(), None if slots is None else slots.contiguous()
    wk, wv = halves(kv_b, q.shape[1], value_dim)
    q = q if q.stride(2) == 1 else q.contiguous()
    plain, turned = q.split([wk.shape[1], width - rank], -1)
    # heads lead: [H, S * E, R]; nothing but the attention is to come after this
    seen = by_head(plain.transpose(0, 1), wk)
    scale = q.shape[-1] ** -0.5 / math.log(2)
    attend = exact_triton.attend if is_exact() else partial(_attend, tile=tile)
    mixed = attend(seen, turned, pages, of, scale, first)
    return by_head(mixed, wv.transpose(1, 2)).transpose(0, 1)


def over_pages(q: Tensor, context: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
    """`mla_over` with the bits of `mla_paged` in exact mode: a sequence's rows over pages."""
    rows, length = len(q), len(context)
    pages = F.pad(context, (0, 0, 0, -length % BLOCK)).unflatten(0, (-1, BLOCK))
    table = torch.arange(len(pages), dtype=torch.int32, device=q.device)[None]
    most = max(exact_triton.ROW_PARTS // exact_triton.parts(len(pages)), 1)
    outs = []
    for at in range(0, max(rows, 1), most):
        part, first = q[at : at + most], length - rows + at + 1
        # filled on the device: a copy from the host would wait for it
        seen = torch.full((1,), first, dtype=torch.int32, device=q.device)
        own = table[:, : triton.cdiv(first + len(part) - 1, BLOCK)]
        outs.append(mla_paged(part, pages, own, seen, kv_b, value_dim))
    return torch.cat(outs)


def _attend(
    seen: Tensor,
    turned: Tensor,
    pages: Tensor,
    of: tuple[Tensor, Tensor, Tensor | None],
    scale: float,
    first: int,
    tile: Tile | None,
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
    num, each = len(lengths), rows // len(lengths)
    if tile is None:
        tile = tile_of(num, heads * each)
    parts = seen.new_empty(num, tile.splits, heads * each, rank, dtype=torch.float32)
    peaks = seen.new_empty(2, num, tile.splits, heads * each, dtype=torch.float32)
    wide, narrow = (max(triton.next_power_of_2(n), 16) for n in (rank, turn))
    _attend_part[(num, tile.splits, triton.cdiv(heads * each, tile.columns))](
        seen,
        turned,
        *(
            TensorDescriptor.from_tensor(pages, [1, size, n]) if tile.is_described else pages
            for n in (wide, narrow)
        ),
        table,
        lengths,
        slots,
        parts,
        peaks[0],
        peaks[1],
        scale,
        seen.stride(0),
        seen.stride(1),
        turned.stride(0),
        turned.stride(1),
        pages.stride(0),
        table.stride(0),
        table.shape[1],
        heads,
        each,
        first,
        rank,
        turn,
        size,
        tile.columns,
        wide,
        narrow,
        tile.is_described,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **OVERLAP,
    )
    joined = min(max(JOINED // triton.next_power_of_2(tile.splits), 16), wide)
    _join_parts[(num, heads * each, triton.cdiv(rank, joined))](
        parts,
        peaks[0],
        peaks[1],
        lengths,
        mixed,
        table.shape[1],
        tile.splits,
        each,
        rank,
        size,
        triton.next_power_of_2(tile.splits),
        joined,
        num_warps=4,
        **OVERLAP,
    )
    return mixed


@triton.jit
def _shares(length, most, splits, SIZE: tl.constexpr):
    """How many pages a sequence has, and how many each of its parts."""
    count = tl.minimum(tl.cdiv(length, SIZE), most)
    return count, tl.maximum(tl.cdiv(count, splits), 1)


# a launch is not to differ by where a step's tables happen to lie, or how wide they are
@triton.jit(
    do_not_specialize=["table_row", "most"],
    do_not_specialize_on_alignment=["table", "lengths"],
)
def _attend_part(
    seen,
    turned,
    latents,
    rotated,
    table,
    lengths,
    slots,
    parts,
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
    HEADS: tl.constexpr,
    EACH: tl.constexpr,
    FIRST: tl.constexpr,
    RANK: tl.constexpr,
    TURN: tl.constexpr,
    SIZE: tl.constexpr,
    COLUMNS: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    TURN_COLUMNS: tl.constexpr,
    IS_DESCRIBED: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (n, s, b): a block of columns, each a head of one of a sequence's rows, over part s
    of sequence n. Leaves the peak of the scores, the sum of their exponentials below it, and the
    latents mixed by these; nothing where the part has no pages.

    Everything is transposed, keys before columns, so that a page is the tall side of both products
    and is read once: what it holds first is the keys' and the values' latent.
    """
    n = tl.program_id(0).to(tl.int64)
    split, splits = tl.program_id(1), tl.num_programs(1)
    # the kernel just before makes `seen` alone: what others wrote is there
    length = tl.load(lengths + n)
    # what the last row sees
    end = length + EACH - 1
    count, share = _shares(end, most, splits, SIZE)
    begin = split * share
    last = tl.minimum(begin + share, count)
    entries = table + (n if slots is None else tl.load(slots + n)) * table_row
    page = tl.load(entries + begin, begin < last, 0)
    wait_for_inputs()
    if begin >= last:
        return
    x = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    h, own = x // EACH, x % EACH
    is_column = x < HEADS * EACH
    r = tl.arange(0, RANK_COLUMNS)
    p = tl.arange(0, TURN_COLUMNS)
    i = tl.arange(0, SIZE)
    row = n * EACH + own
    at = seen + h[:, None].to(tl.int64) * seen_head + row[:, None] * seen_row + r
    a = tl.load(at, is_column[:, None] & (r < RANK), 0.0)
    at = turned + row[:, None] * turned_row + h[:, None] * turned_head + p
    b = tl.load(at, is_column[:, None] & (p < TURN), 0.0)
    # a number, so that a column which has seen nothing yet keeps its zeros
    m = tl.full((COLUMNS,), LOWEST, tl.float32)
    # summed over keys at the end: each sum over the threads of a page would make them wait
    l = tl.zeros((SIZE, COLUMNS), tl.float32)
    acc = tl.zeros((RANK_COLUMNS, COLUMNS), tl.float32)
    # settled by the compiler, so that no branch is left without it
    if FIRST > 0:  # noqa: SIM102
        if begin == 0:
            # the only page that is cut at its start; its sums are the first, so registers are free
            is_kept = ((i >= FIRST) & (i < end))[:, None]
            c = rows_of(latents, page, 0, page_stride, 0, RANK, RANK + TURN, i, r, IS_DESCRIBED)
            k = rows_of(rotated, page, 0, page_stride, RANK, TURN, RANK + TURN, i, p, IS_DESCRIBED)
            c, k = tl.where(is_kept, c, 0.0), tl.where(is_kept, k, 0.0)
            is_seen = (i >= FIRST)[:, None] & (i[:, None] < (length + own)[None, :])
            acc, m, l = meet(acc, m, l, a, b, c, k, is_seen, scale, WIDE)
            begin = 1
            page = tl.load(entries + tl.minimum(1, last - 1))
    for j in range(begin, last):
        # zeros before the last page stand for what it lacks
        start = tl.minimum(end - (j + 1) * SIZE, 0)
        c = rows_of(latents, page, start, page_stride, 0, RANK, RANK + TURN, i, r, IS_DESCRIBED)
        k = rows_of(rotated, page, start, page_stride, RANK, TURN, RANK + TURN, i, p, IS_DESCRIBED)
        # looked up a page ahead, so that no load waits for it
        page = tl.load(entries + tl.minimum(j + 1, last - 1))
        place = start + i
        is_seen = (place >= 0)[:, None] & (place[:, None] < (length + own - j * SIZE)[None, :])
        acc, m, l = meet(acc, m, l, a, b, c, k, is_seen, scale, WIDE)
    at = (n * splits + split) * (HEADS * EACH) + x
    tl.store(peak + at, m, is_column)
    tl.store(mass + at, tl.sum(l, 0), is_column)
    to = parts + at[None, :] * RANK + r[:, None]
    tl.store(to, acc, is_column[None, :] & (r < RANK)[:, None])


@triton.jit(do_not_specialize=["most", "splits"], do_not_specialize_on_alignment=["lengths"])
def _join_parts(
    parts,
    peak,
    mass,
    lengths,
    mixed,
    most,
    splits,
    EACH: tl.constexpr,
    RANK: tl.constexpr,
    SIZE: tl.constexpr,
    PARTS: tl.constexpr,
    DIMS: tl.constexpr,
):
    """Program (n, x, i): DIMS latent dimensions of column x of sequence n, summed over its parts in
    one fixed order.
    """
    n = tl.program_id(0).to(tl.int64)
    x, columns = tl.program_id(1), tl.num_programs(1)
    r = tl.program_id(2) * DIMS + tl.arange(0, DIMS)
    s = tl.arange(0, PARTS)
    count, share = _shares(tl.load(lengths + n) + EACH - 1, most, splits, SIZE)
    wait_for_inputs()
    # the parts after these were never written
    used = s < tl.cdiv(count, share)
    at = (n * splits + s) * columns + x
    m = tl.load(peak + at, used, LOWEST)
    l = tl.load(mass + at, used, 0.0)
    rows = tl.load(parts + at[:, None] * RANK + r, used[:, None] & (r < RANK), 0.0)
    weight = tl.exp2(m - tl.max(m, 0))
    total = tl.sum(weight * l, 0)
    y = tl.sum(rows * weight[:, None], 0) / tl.where(total > 0, total, 1.0)
    row = (x // EACH).to(tl.int64) * tl.num_programs(0) * EACH + n * EACH + x % EACH
    tl.store(mixed + row * RANK + r, y.to(mixed.dtype.element_ty), r < RANK)
