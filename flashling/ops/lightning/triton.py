"""Lightning attention in Triton for serving in bfloat16: whole prompts, and one row at a time.

Both keep the state in float32 registers and fold a chunk in the same way: values, faded in
float32, enter the product as two bfloat16 numbers each (16 bits), so that what is carried for
thousands of chunks is not rounded to 8. In exact mode a single row too is a short prompt.
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

from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import dot
from . import Carry, Grid
from . import lightning as chunks_op
from . import lightning_decode as decode_op

# a product has at least a warp group's 64 rows: a 16-row tile was once compiled into accesses
# outside of its shared memory
LEAST = 64


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut: columns of the values and the state that a program holds at a time,
    its warps, the stages of its loads, the registers of a thread at most, and up to how many
    programs the columns of a head are shared out.
    """

    columns: int
    warps: int
    stages: int = 1
    registers: int | None = None
    programs: int = 0


# Triton 3.6 compiles tiles of 32 columns into reads outside of the shared memory; with 4 warps
# registers spill
PREFILL = Tile(columns=64, warps=8, stages=4)
# with 128 registers four programs are resident, each asking for up to 36 KB at once. Up to eight
# programs for a multiprocessor the columns of a head are shared out; more would only read the keys
# more often.
DECODE = Tile(columns=32, warps=4, registers=128, programs=1024)


def lightning(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    grid: Grid,
    carry: Carry | None = None,
    *,
    tile: Tile = PREFILL,
    terms: int = 1,
) -> Tensor:
    """As the op, in bfloat16 and without a gradient; otherwise the body.

    In the product with q an entry of the state is `terms` bfloat16 numbers, 1 or 2 (8 or 16 bits).
    """
    if not _serves(q, k, v, grid.chunk, carry):
        return vars(chunks_op)["body"](q, k, v, decay, grid, carry)
    if carry is not None and len(q) == len(grid.tails) and not is_exact():
        return lightning_decode(q, k, v, decay, carry, grid.device_tails)
    tails = None if carry is None else grid.device_tails
    starts = grid.device_starts
    bounds = starts[:-1], starts[1:]
    return _prompts((q, k, v), decay, (*bounds, tails, grid.chunk), carry, tile, terms)


def _prompts(
    rows: tuple[Tensor, Tensor, Tensor],
    decay: Tensor,
    grid: tuple[Tensor, Tensor, Tensor | None, int],
    carry: Carry | None,
    tile: Tile,
    terms: int,
) -> Tensor:
    """`lightning` of rows q, k, v on a grid: starts, ends and tails [N] on the device, and its
    chunk. Rows that no sequence has are not written.
    """
    (q, k, v), (starts, ends, tails, c) = rows, grid
    _, heads, width = v.shape
    sequences, columns = len(starts), min(tile.columns, width)
    out = v.new_empty(v.shape, dtype=torch.float32)
    kept = _kept(carry, tails)
    _prefill[(sequences * heads * (width // columns),)](
        q,
        k,
        v,
        decay.to(q.device),
        out,
        starts,
        ends,
        *kept,
        q.shape[-1] ** -0.5,
        *(x.stride(i) for x in (q, k, v) for i in (0, 1)),
        heads,
        c,
        q.shape[-1],
        width,
        columns,
        terms,
        _interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    if carry is not None:
        _keep[(sequences, c)](
            k,
            v,
            starts,
            ends,
            *kept[1:],
            *(x.stride(i) for x in (k, v) for i in (0, 1)),
            heads,
            triton.next_power_of_2(heads),
            c,
            width,
        )
    return out


def lightning_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    carry: Carry,
    tails: Tensor,
    *,
    tile: Tile = DECODE,
) -> Tensor:
    """As the op, in bfloat16 and without a gradient; otherwise the body.

    The state meets q in float32. No row's bits depend on how many sequences there are: the same
    compiled program takes one slice of the columns, or several in turn.
    """
    chunk = carry.tail.shape[2]
    if not _serves(q, k, v, chunk, carry):
        return vars(decode_op)["body"](q, k, v, decay, carry, tails)
    if is_exact():
        return _exact_rows(q, k, v, decay, carry, tails)
    (_, heads, width), sequences = v.shape, len(tails)
    columns = min(tile.columns, width)
    parts = width // columns
    while parts > 1 and sequences * heads * parts > tile.programs:
        parts //= 2
    out = v.new_empty(v.shape, dtype=torch.float32)
    _decode[(sequences * heads * parts,)](
        q,
        k,
        v,
        decay.to(q.device),
        out,
        *_kept(carry, tails),
        q.shape[-1] ** -0.5,
        parts,
        *(x.stride(i) for x in (q, k, v) for i in (0, 1)),
        heads,
        chunk,
        q.shape[-1],
        width,
        columns,
        len(q) // sequences,
        _interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
        **OVERLAP,
    )
    return out


def _exact_rows(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, carry: Carry, tails: Tensor
) -> Tensor:
    """Decode's rows as short prompts, each of those that fit into its open chunk."""
    chunk, rows = carry.tail.shape[2], len(q) // len(tails)
    starts = torch.arange(0, len(q), rows, dtype=torch.int32, device=q.device)
    fitting = (chunk - tails % chunk).clamp(max=rows)
    grid = starts, starts + fitting, tails, chunk
    out = _prompts((q, k, v), decay, grid, carry, PREFILL, 1)
    if rows == 1:
        return out
    past = torch.arange(rows, device=q.device) >= fitting[:, None]
    return out.masked_fill_(past.view(-1, 1, 1), 0)


def _serves(q: Tensor, k: Tensor, v: Tensor, chunk: int, carry: Carry | None) -> bool:
    """Whether the kernels take these; raises where the layout is not theirs."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        return False
    sizes = (chunk, q.shape[-1], v.shape[-1])
    if any(n < LEAST or n & (n - 1) for n in sizes) or q.shape[-1] != v.shape[-1]:
        return False
    kept = [] if carry is None else [carry.tail]
    if any(x.dtype != torch.bfloat16 for x in (q, k, v, *kept)):
        return False
    if any(x.stride(-1) != 1 for x in (q, k, v, *kept)):
        raise ValueError("the last dimension of q, k, v and the tail must be contiguous")
    if carry is not None and (
        carry.state.dtype != torch.float32 or carry.state.stride()[2:] != (v.shape[-1], 1)
    ):
        raise ValueError("a head's state must be float32 and contiguous")
    return True


def _kept(carry: Carry | None, tails: Tensor | None) -> tuple[Any, ...]:
    """A carry as the kernels take it: the state's tensor first, the strides last."""
    if carry is None or tails is None:
        return (None,) * 4 + (0,) * 6
    where = carry.state.stride()[:2], carry.tail.stride()[:4]
    slots = carry.slots.contiguous()
    return carry.state, carry.tail, slots, tails.contiguous(), *where[0], *where[1]


def _interpreted() -> bool:
    """Triton's interpreter multiplies the bits of bfloat16 operands: there they are widened."""
    return triton.knobs.runtime.interpret


@triton.jit
def _two(x):
    """x as the sum of two bfloat16 numbers."""
    high = x.to(tl.bfloat16)
    return high, (x - high.to(tl.float32)).to(tl.bfloat16)


@triton.jit
def _folded(state, k, v, s, C: tl.constexpr, WIDE: tl.constexpr):
    """The state [K, W] after a chunk of keys k [C, K] and values v [C, W]."""
    back = C - 1 - tl.arange(0, C)
    # the values fade, not the keys: a slice of them is the smaller tile to convert
    high, low = _two(v.to(tl.float32) * tl.exp(-s * back)[:, None])
    state = state * tl.exp(-s * C)
    state = dot(tl.trans(k), low, state, WIDE)
    return dot(tl.trans(k), high, state, WIDE)


@triton.jit
def _outputs(q, k, v, state, s, C: tl.constexpr, TERMS: tl.constexpr, WIDE: tl.constexpr):
    """Rows [C, W] of a chunk from its q, k [C, K], v [C, W] and the state before it."""
    n = tl.arange(0, C)
    high, low = _two(state)
    total = tl.zeros([C, v.shape[1]], tl.float32)
    if TERMS == 2:
        total = dot(q, low, total, WIDE)
    total = dot(q, high, total, WIDE) * tl.exp(-s * (n + 1))[:, None]
    ahead = n[:, None] - n[None, :]
    scores = dot(q, tl.trans(k), tl.zeros([C, C], tl.float32), WIDE)
    scores *= tl.where(ahead >= 0, tl.exp(-s * ahead), 0.0)
    return dot(scores.to(tl.bfloat16), v, total, WIDE)


@triton.jit
def _open(q_at, k_at, v_at, k_kept, v_kept, old, end, C: tl.constexpr):
    """q, k, v of a chunk whose rows before `old` are kept ones and those from `end` on missing."""
    n = tl.arange(0, C)[:, None]
    new = (n >= old) & (n < end)
    q = tl.load(q_at, new, 0.0)
    k = tl.load(k_at, new, 0.0)
    v = tl.load(v_at, new, 0.0)
    if k_kept is not None:
        k = tl.where(n < old, tl.load(k_kept, n < old, 0.0), k)
        v = tl.where(n < old, tl.load(v_kept, n < old, 0.0), v)
    return q, k, v


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
            qc, kc, vc = _open(
                q_at + q_tile, k_at + k_tile, v_at + v_tile, k_kept, v_kept, held, C, C
            )
            o = _outputs(qc, kc, vc, now, s, C, TERMS, WIDE)
            tl.store(out + zero * out_row + out_tile, o * scale, n >= held)
            now = _folded(now, kc, vc, s, C, WIDE)
    for j in range(first, closed):
        row = zero + j * C
        qc = tl.load(q + row * q_row + q_tile)
        kc = tl.load(k + row * k_row + k_tile)
        vc = tl.load(v + row * v_row + v_tile)
        o = _outputs(qc, kc, vc, now, s, C, TERMS, WIDE)
        tl.store(out + row * out_row + out_tile, o * scale)
        now = _folded(now, kc, vc, s, C, WIDE)
    row = zero + closed * C
    old, end = tl.where(closed > 0, 0, held), rows - closed * C
    q_at, k_at, v_at = q + row * q_row, k + row * k_row, v + row * v_row
    qc, kc, vc = _open(q_at + q_tile, k_at + k_tile, v_at + v_tile, k_kept, v_kept, old, end, C)
    o = _outputs(qc, kc, vc, now, s, C, TERMS, WIDE)
    tl.store(out + row * out_row + out_tile, o * scale, (n >= old) & (n < end))
    # the first question is the compiler's, so the two cannot be one
    if state is not None:  # noqa: SIM102
        if closed > 0:
            tl.store(state_at, now)


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


@triton.jit(do_not_specialize=["parts"])
def _decode(
    q,
    k,
    v,
    decay,
    out,
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
    parts,
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
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per sequence, head and part of the columns, WIDTH of them at a time. The new rows
    are taken from the arguments and laid in the tail where no program reads: the kept rows before
    them are all that the others ask for.
    """
    part = tl.program_id(0) % parts
    h = tl.program_id(0) // parts % HEADS
    sequence = tl.program_id(0) // parts // HEADS
    n, i, w = tl.arange(0, C), tl.arange(0, K), tl.arange(0, WIDTH)
    s = tl.load(decay + h)
    slot = tl.load(slots + sequence)
    held = tl.load(tails + sequence).to(tl.int32)
    full = held == C
    t = tl.where(full, 0, held)
    each = V // WIDTH // parts
    # a fold reads every key of the tail, and the new row then takes the place of the first: all
    # columns are one program's, which can put a barrier between the two
    first = tl.where(full, 0, part * each)
    last = tl.where(full, tl.where(part == 0, V // WIDTH, 0), first + each)
    rows = n[:, None] * tail_row
    keys_at = tail + slot * tail_slot + h * tail_head
    values_at = keys_at + tail_side
    state_at = state + slot * state_slot + h * state_head + i[:, None] * V
    if full:
        for j in range(first, last):
            at = j * WIDTH + w
            keys, values = tl.load(keys_at + rows + i), tl.load(values_at + rows + at)
            now = _folded(tl.load(state_at + at), keys, values, s, C, WIDE)
            tl.store(state_at + at, now)
        tl.debug_barrier()
    # the first slice is asked for together with the keys: a lone sequence waits for memory once
    before = n < t
    at = first * WIDTH + w
    now = tl.load(state_at + at, first < last, 0.0)
    values = tl.load(values_at + rows + at, before[:, None], 0.0)
    keys = tl.load(keys_at + rows + i, before[:, None], 0.0).to(tl.float32)
    # what is kept was written steps ago, the new rows by the kernel before
    wait_for_inputs()
    q += sequence * ROWS * q_row + h * q_head + i
    k += sequence * ROWS * k_row + h * k_head + i
    v += sequence * ROWS * v_row + h * v_head
    out += (sequence * ROWS * HEADS + h) * V
    # of row r: what it meets of the kept rows [C], and of the new ones up to itself
    queries = ()
    scores = ()
    own = ()
    for r in tl.static_range(ROWS):
        query = tl.load(q + r * q_row).to(tl.float32)
        fade = tl.where(before, tl.exp(-s * (t + r - n)), 0.0)
        met = tl.sum(keys * query[None, :], 1) * fade
        queries += (query,)
        scores += (met.to(tl.bfloat16).to(tl.float32),)
        for u in tl.static_range(r + 1):
            met = tl.sum(tl.load(k + u * k_row).to(tl.float32) * query, 0) * tl.exp(-s * (r - u))
            own += (met.to(tl.bfloat16).to(tl.float32),)
    for j in range(first, last):
        at = j * WIDTH + w
        found = ()
        for r in tl.static_range(ROWS):
            o = tl.sum(queries[r][:, None] * now, 0) * tl.exp(-s * (t + r + 1))
            inside = tl.sum(scores[r][:, None] * values.to(tl.float32), 0)
            for u in tl.static_range(r + 1):
                inside += own[r * (r + 1) // 2 + u] * tl.load(v + u * v_row + at).to(tl.float32)
            found += ((o + inside) * scale,)
        # the next slice is asked for before anything is written
        more = j + 1 < last
        now = tl.load(state_at + at + WIDTH, more, 0.0)
        values = tl.load(values_at + rows + at + WIDTH, before[:, None] & more, 0.0)
        for r in tl.static_range(ROWS):
            tl.store(out + r * HEADS * V + at, found[r])
            value = tl.load(v + r * v_row + at)
            tl.store(values_at + (t + r) * tail_row + at, value, t + r < C)
    if part == 0:
        for r in tl.static_range(ROWS):
            key = tl.load(k + r * k_row)
            tl.store(keys_at + (t + r) * tail_row + i, key, t + r < C)
