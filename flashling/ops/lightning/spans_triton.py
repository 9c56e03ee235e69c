"""Long prompts in spans of chunks: first the states at their borders, then all chunks at once.

The first kernel walks a sequence and only folds, so that a piece of the state is enough for a
program; the second meets each chunk's queries with the state before its span and with the keys of
the span up to their own, as attention does.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..rounding import dot
from . import Carry
from .shared_triton import Rows, Tile, folded, interpreted, keep, kept_of


@dataclass(frozen=True)
class Spans:
    """Chunks of a span, rows of the state that a program of the first kernel holds, and how the
    two kernels are cut otherwise.
    """

    chunks: int
    height: int
    borders: Tile
    outputs: Tile


SPANS = Spans(2, 64, Tile(64, 4, 3), Tile(128, 8, 2))


def spans(
    rows: Rows,
    decay: Tensor,
    chunks: tuple[Tensor, Tensor],
    carry: Carry | None,
    how: Spans = SPANS,
) -> Tensor:
    """`lightning` of rows: o [T, H, V] float32. Chunks of all sequences are numbered end to end:
    the first of each sequence [N], and the sequence of each chunk [M], int32 on the device.
    """
    (_, heads, width), depth = rows.v.shape, rows.q.shape[-1]
    (first, owners), n = chunks, how.chunks
    decay = decay.to(rows.q.device)
    # span j of sequence n is number first[n] // chunks + n + j: there are no more of them
    count = len(owners) // n + len(first)
    borders = rows.v.new_empty(count, heads, depth, width)
    out = rows.v.new_empty(rows.v.shape, dtype=torch.float32)
    kept, strides = kept_of(carry, rows.tails), rows.strides()
    sizes = heads, rows.chunk, depth, width
    height, tile = min(how.height, depth), how.borders
    columns = min(tile.columns, width)
    parts = depth // height * (width // columns)
    _borders[(len(first) * heads * parts,)](
        rows.k,
        rows.v,
        decay,
        borders,
        first,
        rows.starts,
        rows.ends,
        *kept,
        *strides[2:],
        *sizes,
        height,
        columns,
        n,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    tile = how.outputs
    columns = min(tile.columns, width)
    _chunks[(len(owners) * heads * (width // columns),)](
        rows.q,
        rows.k,
        rows.v,
        decay,
        borders,
        out,
        first,
        owners,
        rows.starts,
        rows.ends,
        *kept[1:4],
        *kept[6:],
        depth**-0.5,
        *strides,
        *sizes,
        columns,
        n,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    if carry is not None:
        keep(rows, carry)
    return out


@triton.jit
def _borders(
    k,
    v,
    decay,
    borders,
    first,
    starts,
    ends,
    state,
    tail,
    slots,
    tails,
    state_slot,
    state_head,
    tail_slot,
    tail_side,
    tail_row,
    tail_head,
    k_row,
    k_head,
    v_row,
    v_head,
    HEADS: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    HEIGHT: tl.constexpr,
    WIDTH: tl.constexpr,
    SPAN: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per sequence, head and HEIGHT x WIDTH of the state: it walks the spans, leaves
    the state before each in `borders` [spans, HEADS, K, V], and the last one in the carry.
    """
    ACROSS: tl.constexpr = V // WIDTH
    PARTS: tl.constexpr = K // HEIGHT * ACROSS
    R: tl.constexpr = SPAN * C
    part = tl.program_id(0) % PARTS
    h = tl.program_id(0) // PARTS % HEADS
    sequence = tl.program_id(0) // PARTS // HEADS
    i = part // ACROSS * HEIGHT + tl.arange(0, HEIGHT)
    w = part % ACROSS * WIDTH + tl.arange(0, WIDTH)
    n = tl.arange(0, R)[:, None]
    s = tl.load(decay + h)
    start = tl.load(starts + sequence)
    rows = tl.load(ends + sequence) - start
    held = 0
    if state is not None:
        held = tl.load(tails + sequence)
    rows += held
    # a full last chunk stays open
    closed = tl.maximum((rows + C - 1) // C - 1, 0)
    span = (tl.load(first + sequence) // SPAN + sequence).to(tl.int64)
    border = borders + (span * HEADS + h) * K * V + i[:, None] * V + w
    # row 0 of the chunk grid, as a row of the step: the tail's rows lie before the new ones
    zero = start.to(tl.int64) - held
    k_tile, v_tile = h * k_head + n * k_row + i, h * v_head + n * v_row + w
    begin = 0
    if state is not None:
        slot = tl.load(slots + sequence)
        state_at = state + slot * state_slot + h * state_head + i[:, None] * V + w
        now = tl.load(state_at)
        tl.store(border, now.to(tl.bfloat16))
        # the first span's closed chunks, which the tail's rows begin, end with the tile
        ends_at = tl.minimum(closed, SPAN) * C
        if closed > 0:
            row, at = zero + ends_at - R, ends_at - R + n
            kept = tail + slot * tail_slot + h * tail_head + at * tail_row
            k_at = tl.where(at < held, kept + i, k + row * k_row + k_tile)
            v_at = tl.where(at < held, kept + tail_side + w, v + row * v_row + v_tile)
            keys, values = tl.load(k_at, at >= 0, 0.0), tl.load(v_at, at >= 0, 0.0)
            now = folded(now, keys, values, s, ends_at, R, WIDE)
        begin = 1
    else:
        now = tl.zeros([HEIGHT, WIDTH], tl.float32)
    whole = closed // SPAN
    for j in range(begin, whole):
        tl.store(border + j * (HEADS * K * V), now.to(tl.bfloat16))
        row = zero + j * R
        keys = tl.load(k + row * k_row + k_tile)
        values = tl.load(v + row * v_row + v_tile)
        now = folded(now, keys, values, s, R, R, WIDE)
    if whole >= begin:
        tl.store(border + whole * (HEADS * K * V), now.to(tl.bfloat16))
    if state is not None:
        # closed chunks of a span that is not full
        left = (closed - whole * SPAN) * C
        if (whole >= begin) & (left > 0):
            row, inside = zero + closed * C - R, n >= R - left
            keys = tl.load(k + row * k_row + k_tile, inside, 0.0)
            values = tl.load(v + row * v_row + v_tile, inside, 0.0)
            now = folded(now, keys, values, s, left, R, WIDE)
        if closed > 0:
            tl.store(state_at, now)


@triton.jit
def _met(total, q, k, v, s, apart, C: tl.constexpr, WIDE: tl.constexpr):
    """`total` [C, W] and what the rows of q [C, K] meet of k [C, K] and v [C, W], the rows `apart`
    rows before theirs.
    """
    n = tl.arange(0, C)
    ahead = n[:, None] - n[None, :] + apart
    scores = dot(q, tl.trans(k), tl.zeros([C, C], tl.float32), WIDE)
    scores *= tl.where(ahead >= 0, tl.exp(-s * ahead), 0.0)
    return dot(scores.to(tl.bfloat16), v, total, WIDE)


@triton.jit
def _chunks(
    q,
    k,
    v,
    decay,
    borders,
    out,
    first,
    owners,
    starts,
    ends,
    tail,
    slots,
    tails,
    tail_slot,
    tail_side,
    tail_row,
    tail_head,
    scale,
    q_row,
    q_head,
    k_row,
    k_head,
    v_row,
    v_head,
    HEADS: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    WIDTH: tl.constexpr,
    SPAN: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per chunk, head and WIDTH columns, the heads of a chunk side by side: its rows
    from the state before its span and the span's keys up to its own.
    """
    part = tl.program_id(0) % (V // WIDTH)
    h = tl.program_id(0) // (V // WIDTH) % HEADS
    chunk = tl.program_id(0) // (V // WIDTH) // HEADS
    n, i, w = tl.arange(0, C)[:, None], tl.arange(0, K), part * WIDTH + tl.arange(0, WIDTH)
    s = tl.load(decay + h)
    sequence = tl.load(owners + chunk)
    before = tl.load(first + sequence)
    start = tl.load(starts + sequence)
    rows = tl.load(ends + sequence) - start
    held = 0
    if tail is not None:
        held = tl.load(tails + sequence)
    rows += held
    j = chunk - before
    begin = j // SPAN * SPAN
    zero = start.to(tl.int64) - held
    k_tile, v_tile = h * k_head + n * k_row + i, h * v_head + n * v_row + w
    row = zero + j * C
    # of an open chunk the tail's rows are not asked for
    new = (j * C + n >= held) & (j * C + n < rows)
    qc = tl.load(q + row * q_row + h * q_head + n * q_row + i, new, 0.0)
    span = (before // SPAN + sequence + j // SPAN).to(tl.int64)
    state = tl.load(borders + (span * HEADS + h) * K * V + tl.arange(0, K)[:, None] * V + w)
    total = dot(qc, state, tl.zeros([C, WIDTH], tl.float32), WIDE)
    total *= tl.exp(-s * ((j - begin) * C + tl.arange(0, C) + 1))[:, None]
    kept = tail
    if tail is not None:
        kept += tl.load(slots + sequence) * tail_slot + h * tail_head + n * tail_row
    for u in range(begin, j + 1):
        row, inside = zero + u * C, u * C + n < rows
        k_at, v_at = k + row * k_row + k_tile, v + row * v_row + v_tile
        if tail is not None:
            old = u * C + n < held
            k_at = tl.where(old, kept + i, k_at)
            v_at = tl.where(old, kept + tail_side + w, v_at)
        kc, vc = tl.load(k_at, inside, 0.0), tl.load(v_at, inside, 0.0)
        total = _met(total, qc, kc, vc, s, (j - u) * C, C, WIDE)
    out += (zero + j * C) * (HEADS * V) + h * V
    tl.store(out + n * (HEADS * V) + w, total * scale, new)
