"""Prompts of Lightning attention, in one pass or in two.

In one pass a program walks the chunks of a sequence, a slice of its state in registers: serial, so
that few long sequences leave multiprocessors idle. In two passes a walk with keys and values alone
leaves the states between spans of chunks, rounded as the product with q takes them, and all chunks
are then met at once. Both fold alike: the state has the same bits.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..rounding import dot
from .grid import Carry, Spans
from .shared_triton import Tile, folded, interpreted, kept_of, two


@dataclass(frozen=True)
class Cut:
    """How two passes are cut: chunks of a span; rows of the state that a program of the walk
    holds, and its tile; the tile of the outputs.
    """

    chunks: int
    height: int
    walk: Tile
    outputs: Tile


@dataclass(frozen=True)
class Rows:
    """q, k, v of a step, each [T, H, W], starts, ends and tails [N] int32 on the device, and the
    chunk. Without a carry there are no tails.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    starts: Tensor
    ends: Tensor
    tails: Tensor | None
    chunk: int

    def strides(self, *names: str) -> tuple[int, ...]:
        """Elements from row to row and from head to head of the tensors named."""
        return tuple(getattr(self, name).stride(i) for name in names for i in (0, 1))


def one_pass(rows: Rows, decay: Tensor, carry: Carry | None, tile: Tile, terms: int) -> Tensor:
    """`lightning` of rows: o [T, H, W] float32. Rows that no sequence has are not written."""
    _, heads, width = rows.v.shape
    kept, columns = kept_of(carry, rows.tails), min(tile.columns, width)
    out = rows.v.new_empty(rows.v.shape, dtype=torch.float32)
    _prefill[(len(rows.starts) * heads * (width // columns),)](
        rows.q,
        rows.k,
        rows.v,
        decay.to(rows.q.device),
        out,
        rows.starts,
        rows.ends,
        *kept,
        width**-0.5,
        *rows.strides("q", "k", "v"),
        heads,
        rows.chunk,
        width,
        width,
        columns,
        terms,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    if carry is not None:
        _lay_open(rows, kept)
    return out


def two_passes(rows: Rows, decay: Tensor, spans: Spans, carry: Carry | None, cut: Cut) -> Tensor:
    """The same; spans: those of `cut.chunks` chunks of the rows' grid. In the product with q an
    entry of the state is one bfloat16 number.
    """
    kept, decay = kept_of(carry, rows.tails), decay.to(rows.q.device)
    borders = _borders_of(rows, decay, spans, kept, cut)
    out = _outputs_of(rows, decay, borders, spans, kept, cut)
    if carry is not None:
        _lay_open(rows, kept)
    return out


def _borders_of(rows: Rows, decay: Tensor, spans: Spans, kept: tuple[Any, ...], cut: Cut) -> Tensor:
    """The first pass: the state before each span [M, H, W, W], of sequences of several chunks;
    their last state is left in the carry, which is `kept` as `kept_of` gave it.
    """
    (_, heads, width), tile = rows.v.shape, cut.walk
    height, columns = min(cut.height, width), min(tile.columns, width)
    borders = rows.v.new_empty(len(spans.places), heads, width, width)
    _walk_chunks[(len(spans.several) * heads * (width // height) * (width // columns),)](
        rows.k,
        rows.v,
        decay,
        borders,
        spans.several,
        rows.starts,
        rows.ends,
        *kept,
        *rows.strides("k", "v"),
        heads,
        rows.chunk,
        width,
        width,
        height,
        columns,
        cut.chunks,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    return borders


def _outputs_of(
    rows: Rows, decay: Tensor, borders: Tensor, spans: Spans, kept: tuple[Any, ...], cut: Cut
) -> Tensor:
    """The second pass: the rows."""
    (_, heads, width), tile = rows.v.shape, cut.outputs
    columns = min(tile.columns, width)
    out = rows.v.new_empty(rows.v.shape, dtype=torch.float32)
    _outputs[(len(spans.places) * heads * (width // columns),)](
        rows.q,
        rows.k,
        rows.v,
        decay,
        borders,
        out,
        spans.places,
        rows.starts,
        rows.ends,
        *kept,
        width**-0.5,
        *rows.strides("q", "k", "v"),
        heads,
        rows.chunk,
        width,
        width,
        columns,
        cut.chunks,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    return out


def _lay_open(rows: Rows, kept: tuple[Any, ...]) -> None:
    """Lay the new rows of open chunks in the carry, as `kept_of` gave it."""
    _, heads, width = rows.v.shape
    _keep[(len(rows.starts), rows.chunk)](
        rows.k,
        rows.v,
        rows.starts,
        rows.ends,
        *kept[1:],
        *rows.strides("k", "v"),
        heads,
        triton.next_power_of_2(heads),
        rows.chunk,
        width,
    )


@triton.jit
def _met(total, q, k, v, s, C: tl.constexpr, WIDE: tl.constexpr):
    """`total` [C, W] and what the rows q [C, K] meet of k [C, K] and v [C, W] up to their own."""
    n = tl.arange(0, C)
    ahead = n[:, None] - n[None, :]
    scores = dot(q, tl.trans(k), tl.zeros([C, C], tl.float32), WIDE)
    scores *= tl.where(ahead >= 0, tl.exp(-s * ahead), 0.0)
    return dot(scores.to(tl.bfloat16), v, total, WIDE)


@triton.jit
def _from_state(q, state, s, C: tl.constexpr, TERMS: tl.constexpr, WIDE: tl.constexpr):
    """What the rows q [C, K] have of the state [K, W] before them."""
    total = tl.zeros([C, state.shape[1]], tl.float32)
    high = state
    if state.dtype == tl.float32:
        high, low = two(state)
        if TERMS == 2:
            total = dot(q, low, total, WIDE)
    return dot(q, high, total, WIDE) * tl.exp(-s * (tl.arange(0, C) + 1))[:, None]


@triton.jit
def _opened(at, kept, old, end, C: tl.constexpr):
    """A tile of a chunk whose rows before `old` are kept ones and those from `end` on missing."""
    n = tl.arange(0, C)[:, None]
    x = tl.load(at, (n >= old) & (n < end), 0.0)
    if kept is not None:
        x = tl.where(n < old, tl.load(kept, n < old, 0.0), x)
    return x


@triton.jit
def _prefill(
    q,
    k,
    v,
    decay,
    out,
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
    TERMS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per sequence, head and WIDTH columns; it walks the chunks with its slice of the
    state in registers. The slices of a head are neighbours, so that they meet q and k in the
    second-level cache. The open chunk's rows are left to `_keep`.
    """
    part = tl.program_id(0) % (V // WIDTH)
    h = tl.program_id(0) // (V // WIDTH) % HEADS
    sequence = tl.program_id(0) // (V // WIDTH) // HEADS
    n, i, w = tl.arange(0, C)[:, None], tl.arange(0, K), part * WIDTH + tl.arange(0, WIDTH)
    s = tl.load(decay + h)
    start = tl.load(starts + sequence)
    rows = tl.load(ends + sequence).to(tl.int32) - start
    held = 0
    k_kept = None
    v_kept = None
    if state is not None:
        slot = tl.load(slots + sequence)
        held = tl.load(tails + sequence).to(tl.int32)
        state_at = state + slot * state_slot + h * state_head + i[:, None] * V + w
        now = tl.load(state_at)
        k_kept = tail + slot * tail_slot + h * tail_head + n * tail_row + i
        v_kept = tail + slot * tail_slot + h * tail_head + n * tail_row + w + tail_side
    else:
        now = tl.zeros([K, WIDTH], tl.float32)
    rows += held
    q_tile, k_tile, v_tile = n * q_row + i, n * k_row + i, n * v_row + w
    out_row: tl.constexpr = HEADS * V
    out_tile = n * out_row + w
    q += h * q_head
    k += h * k_head
    v += h * v_head
    out += h * V
    # row 0 of the chunk grid, as a row of the step: the tail's rows lie before the new ones
    zero = start.to(tl.int64) - held
    # a full last chunk stays open
    closed = tl.maximum((rows + C - 1) // C - 1, 0)
    first = 0
    if state is not None:
        first = tl.minimum(closed, 1)
        if closed > 0:
            q_at, k_at, v_at = q + zero * q_row, k + zero * k_row, v + zero * v_row
            qc = _opened(q_at + q_tile, None, held, C, C)
            kc = _opened(k_at + k_tile, k_kept, held, C, C)
            vc = _opened(v_at + v_tile, v_kept, held, C, C)
            o = _from_state(qc, now, s, C, TERMS, WIDE)
            o = _met(o, qc, kc, vc, s, C, WIDE)
            tl.store(out + zero * out_row + out_tile, o * scale, n >= held)
            now = folded(now, kc, vc, s, C, WIDE)
    for j in range(first, closed):
        row = zero + j * C
        qc = tl.load(q + row * q_row + q_tile)
        kc = tl.load(k + row * k_row + k_tile)
        vc = tl.load(v + row * v_row + v_tile)
        o = _from_state(qc, now, s, C, TERMS, WIDE)
        o = _met(o, qc, kc, vc, s, C, WIDE)
        tl.store(out + row * out_row + out_tile, o * scale)
        now = folded(now, kc, vc, s, C, WIDE)
    row = zero + closed * C
    old, end = tl.where(closed > 0, 0, held), rows - closed * C
    q_at, k_at, v_at = q + row * q_row, k + row * k_row, v + row * v_row
    qc = _opened(q_at + q_tile, None, old, end, C)
    kc = _opened(k_at + k_tile, k_kept, old, end, C)
    vc = _opened(v_at + v_tile, v_kept, old, end, C)
    o = _from_state(qc, now, s, C, TERMS, WIDE)
    o = _met(o, qc, kc, vc, s, C, WIDE)
    tl.store(out + row * out_row + out_tile, o * scale, (n >= old) & (n < end))
    # the first question is the compiler's, so the two cannot be one
    if state is not None:  # noqa: SIM102
        if closed > 0:
            tl.store(state_at, now)


@triton.jit
def _walk_chunks(
    k,
    v,
    decay,
    borders,
    several,
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
    """One program per sequence of several chunks, head and HEIGHT x WIDTH of the state: it leaves
    the state before each span in `borders` [spans, HEADS, K, V], and the last one in the carry.
    """
    ACROSS: tl.constexpr = V // WIDTH
    PARTS: tl.constexpr = K // HEIGHT * ACROSS
    part = tl.program_id(0) % PARTS
    h = tl.program_id(0) // PARTS % HEADS
    which = several + tl.program_id(0) // PARTS // HEADS * 2
    sequence = tl.load(which)
    i = part // ACROSS * HEIGHT + tl.arange(0, HEIGHT)
    w = part % ACROSS * WIDTH + tl.arange(0, WIDTH)
    n, tile = tl.arange(0, C)[:, None], i[:, None] * V + w
    s = tl.load(decay + h)
    start = tl.load(starts + sequence)
    rows = tl.load(ends + sequence).to(tl.int32) - start
    held = 0
    if state is not None:
        held = tl.load(tails + sequence).to(tl.int32)
    # a full last chunk stays open
    closed = (rows + held - 1) // C
    step: tl.constexpr = HEADS * K * V
    border = borders + tl.load(which + 1).to(tl.int64) * step + h * K * V + tile
    # row 0 of the chunk grid, as a row of the step: the tail's rows lie before the new ones
    zero = start.to(tl.int64) - held
    k += h * k_head + n * k_row + i
    v += h * v_head + n * v_row + w
    if state is not None:
        slot = tl.load(slots + sequence)
        state += slot * state_slot + h * state_head
        kept = tail + slot * tail_slot + h * tail_head + n * tail_row
        now = tl.load(state + tile)
        tl.store(border, now.to(tl.bfloat16))
        kc = _opened(k + zero * k_row, kept + i, held, C, C)
        vc = _opened(v + zero * v_row, kept + tail_side + w, held, C, C)
        now = folded(now, kc, vc, s, C, WIDE)
        first = 1
    else:
        now = tl.zeros([HEIGHT, WIDTH], tl.float32)
        first = 0
    for j in range(first, closed):
        if j % SPAN == 0:
            tl.store(border + j // SPAN * step, now.to(tl.bfloat16))
        row = zero + j * C
        kc = tl.load(k + row * k_row)
        vc = tl.load(v + row * v_row)
        now = folded(now, kc, vc, s, C, WIDE)
    if closed % SPAN == 0:
        tl.store(border + closed // SPAN * step, now.to(tl.bfloat16))
    if state is not None:
        tl.store(state + tile, now)


@triton.jit
def _outputs(
    q,
    k,
    v,
    decay,
    borders,
    out,
    places,
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
    """One program per span, head and WIDTH columns, the heads of a span side by side: its rows
    from the state before it and its keys. A sequence of one chunk was not walked, and its state is
    that of the carry.
    """
    R: tl.constexpr = SPAN * C
    part = tl.program_id(0) % (V // WIDTH)
    h = tl.program_id(0) // (V // WIDTH) % HEADS
    span = tl.program_id(0) // (V // WIDTH) // HEADS
    sequence = tl.load(places + span * 2)
    begin = tl.load(places + span * 2 + 1) * R
    n, i, w = tl.arange(0, R)[:, None], tl.arange(0, K), part * WIDTH + tl.arange(0, WIDTH)
    s = tl.load(decay + h)
    start = tl.load(starts + sequence)
    rows = tl.load(ends + sequence).to(tl.int32) - start
    held = 0
    k_kept = None
    v_kept = None
    if state is not None:
        held = tl.load(tails + sequence).to(tl.int32)
        slot = tl.load(slots + sequence)
        state += slot * state_slot + h * state_head
        k_kept = tail + slot * tail_slot + h * tail_head + n * tail_row + i
        v_kept = tail + slot * tail_slot + h * tail_head + n * tail_row + w + tail_side
    rows += held
    row = start.to(tl.int64) - held + begin
    old, end = tl.where(begin == 0, held, 0), rows - begin
    qc = _opened(q + row * q_row + h * q_head + n * q_row + i, None, old, end, R)
    kc = _opened(k + row * k_row + h * k_head + n * k_row + i, k_kept, old, end, R)
    vc = _opened(v + row * v_row + h * v_head + n * v_row + w, v_kept, old, end, R)
    tile = tl.arange(0, K)[:, None] * V + w
    if rows > C:
        before = tl.load(borders + (span.to(tl.int64) * HEADS + h) * (K * V) + tile)
    elif state is not None:
        before = tl.load(state + tile).to(tl.bfloat16)
    else:
        before = tl.zeros([K, WIDTH], tl.bfloat16)
    total = _from_state(qc, before, s, R, 1, WIDE)
    total = _met(total, qc, kc, vc, s, R, WIDE)
    out += row * (HEADS * V) + h * V
    tl.store(out + n * (HEADS * V) + w, total * scale, (n >= old) & (n < end))


@triton.jit
def _keep(
    k,
    v,
    starts,
    ends,
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
    ROWS: tl.constexpr,
    C: tl.constexpr,
    K: tl.constexpr,
):
    """Program (sequence, r): new row r of the last chunk goes to the tail. A kernel of its own,
    since the programs of all slices read the tail's keys, each in its own time.
    """
    sequence, r = tl.program_id(0), tl.program_id(1)
    start = tl.load(starts + sequence)
    held = tl.load(tails + sequence).to(tl.int32)
    rows = tl.load(ends + sequence).to(tl.int32) - start + held
    closed = tl.maximum((rows + C - 1) // C - 1, 0)
    if (r >= tl.where(closed > 0, 0, held)) & (r < rows - closed * C):
        h, i = tl.arange(0, ROWS)[:, None], tl.arange(0, K)
        inside = h < HEADS
        row = start.to(tl.int64) - held + closed * C + r
        to = tail + tl.load(slots + sequence) * tail_slot + r * tail_row + h * tail_head + i
        tl.store(to, tl.load(k + row * k_row + h * k_head + i, inside), inside)
        tl.store(to + tail_side, tl.load(v + row * v_row + h * v_head + i, inside), inside)
