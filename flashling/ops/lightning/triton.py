"""Lightning attention in Triton for serving in bfloat16: short prompts, and a few rows at a time.

Both keep the state in float32 registers. In exact mode a single row too is a short prompt, and a
long one is walked like a short one.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

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
from .shared_triton import LEAST, Rows, Tile, folded, interpreted, keep, kept_of
from .spans_triton import spans

# Triton 3.6 compiles tiles of 32 columns into reads outside of the shared memory; with 4 warps
# registers spill
PREFILL = Tile(columns=64, warps=8, stages=4)
# chunks of the longest sequence that are walked rather than shared out in spans
WALKED = 4
# with 128 registers two programs are resident, each asking for up to 96 KB at once. Up to eight
# programs for a multiprocessor the columns of a head are shared out; more would only read the keys
# more often.
DECODE = Tile(columns=32, warps=8, registers=128, programs=1024)


def lightning(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    grid: Grid,
    carry: Carry | None = None,
    *,
    tile: Tile = PREFILL,
) -> Tensor:
    """As the op, in bfloat16 and without a gradient; otherwise the body.

    Short prompts are walked; longer ones are shared out in spans, but not in exact mode: where
    spans begin depends on where a prompt was cut, and the last bits of its states with them.
    In the product with q an entry of the state is a bfloat16 number.
    """
    if not _serves(q, k, v, grid.chunk, carry):
        return vars(chunks_op)["body"](q, k, v, decay, grid, carry)
    if carry is not None and len(q) == len(grid.tails) and not is_exact():
        return lightning_decode(q, k, v, decay, carry, grid.device_tails)
    tails = None if carry is None else grid.device_tails
    rows = Rows(q, k, v, grid.device_starts[:-1], grid.device_ends, tails, grid.chunk)
    if is_exact() or grid.most <= WALKED:
        return _walked(rows, decay, carry, tile)
    return spans(rows, decay, (grid.device_first, grid.device_owners), carry)


def _walked(rows: Rows, decay: Tensor, carry: Carry | None, tile: Tile = PREFILL) -> Tensor:
    """`lightning` of rows by one program a sequence, head and slice of the columns. Rows that no
    sequence has are not written.
    """
    _, heads, width = rows.v.shape
    columns = min(tile.columns, width)
    out = rows.v.new_empty(rows.v.shape, dtype=torch.float32)
    _prefill[(len(rows.starts) * heads * (width // columns),)](
        rows.q,
        rows.k,
        rows.v,
        decay.to(rows.q.device),
        out,
        rows.starts,
        rows.ends,
        *kept_of(carry, rows.tails),
        rows.q.shape[-1] ** -0.5,
        *rows.strides(),
        heads,
        rows.chunk,
        rows.q.shape[-1],
        width,
        columns,
        interpreted(),
        num_warps=tile.warps,
        num_stages=tile.stages,
        maxnreg=tile.registers,
    )
    if carry is not None:
        keep(rows, carry)
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

    The state meets q in float32. No row's bits depend on how many sequences there are: a program
    takes one slice of the columns, or several, each in the same way.
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
        *kept_of(carry, tails),
        q.shape[-1] ** -0.5,
        *(x.stride(i) for x in (q, k, v) for i in (0, 1)),
        heads,
        chunk,
        q.shape[-1],
        width,
        columns,
        width // columns // parts,
        len(q) // sequences,
        interpreted(),
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
    out = _walked(Rows(q, k, v, starts, starts + fitting, tails, chunk), decay, carry)
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


@triton.jit
def _outputs(q, k, v, state, s, C: tl.constexpr, WIDE: tl.constexpr):
    """Rows [C, W] of a chunk from its q, k [C, K], v [C, W] and the state before it."""
    n = tl.arange(0, C)
    total = tl.zeros([C, v.shape[1]], tl.float32)
    total = dot(q, state.to(tl.bfloat16), total, WIDE) * tl.exp(-s * (n + 1))[:, None]
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
    rows = tl.load(ends + sequence) - start
    held = 0
    k_kept = None
    v_kept = None
    if state is not None:
        slot = tl.load(slots + sequence)
        held = tl.load(tails + sequence)
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
            o = _outputs(qc, kc, vc, now, s, C, WIDE)
            tl.store(out + zero * out_row + out_tile, o * scale, n >= held)
            now = folded(now, kc, vc, s, C, C, WIDE)
    for j in range(first, closed):
        row = zero + j * C
        qc = tl.load(q + row * q_row + q_tile)
        kc = tl.load(k + row * k_row + k_tile)
        vc = tl.load(v + row * v_row + v_tile)
        o = _outputs(qc, kc, vc, now, s, C, WIDE)
        tl.store(out + row * out_row + out_tile, o * scale)
        now = folded(now, kc, vc, s, C, C, WIDE)
    row = zero + closed * C
    old, end = tl.where(closed > 0, 0, held), rows - closed * C
    q_at, k_at, v_at = q + row * q_row, k + row * k_row, v + row * v_row
    qc, kc, vc = _open(q_at + q_tile, k_at + k_tile, v_at + v_tile, k_kept, v_kept, old, end, C)
    o = _outputs(qc, kc, vc, now, s, C, WIDE)
    tl.store(out + row * out_row + out_tile, o * scale, (n >= old) & (n < end))
    # the first question is the compiler's, so the two cannot be one
    if state is not None:  # noqa: SIM102
        if closed > 0:
            tl.store(state_at, now)


@triton.jit
def _own(q, k, q_row, k_row, s, ROWS: tl.constexpr):
    """What new row r meets of new row u <= r, end to end: place r (r + 1) / 2 + u."""
    own = ()
    for r in tl.static_range(ROWS):
        query = tl.load(q + r * q_row).to(tl.float32)
        for u in tl.static_range(r + 1):
            met = tl.sum(tl.load(k + u * k_row).to(tl.float32) * query, 0) * tl.exp(-s * (r - u))
            own += (met.to(tl.bfloat16).to(tl.float32),)
    return own


@triton.jit
def _decoded(
    now,
    kept,
    own,
    q,
    v,
    out,
    to,
    q_row,
    v_row,
    out_row,
    tail_row,
    s,
    t,
    scale,
    C: tl.constexpr,
    ROWS: tl.constexpr,
):
    """New rows of some columns from the state `now` and what they met of the `kept` rows; their
    values are laid in the tail at `to`, as far as there is room after its `t` rows.
    """
    for r in tl.static_range(ROWS):
        query = tl.load(q + r * q_row).to(tl.float32)
        o = tl.sum(query[:, None] * now, 0) * tl.exp(-s * (t + r + 1))
        inside = kept[r]
        for u in tl.static_range(r + 1):
            inside += own[r * (r + 1) // 2 + u] * tl.load(v + u * v_row).to(tl.float32)
        tl.store(out + r * out_row, (o + inside) * scale)
        tl.store(to + (t + r) * tail_row, tl.load(v + r * v_row), t + r < C)


@triton.jit
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
    SLICES: tl.constexpr,
    ROWS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per sequence, head and SLICES slices of WIDTH columns, all asked for at once. The
    new rows are taken from the arguments and laid in the tail where no program reads: the kept rows
    before them are all that the others ask for.
    """
    PARTS: tl.constexpr = V // WIDTH // SLICES
    part = tl.program_id(0) % PARTS
    h = tl.program_id(0) // PARTS % HEADS
    sequence = tl.program_id(0) // PARTS // HEADS
    n, i, w = tl.arange(0, C), tl.arange(0, K), tl.arange(0, WIDTH)
    s = tl.load(decay + h)
    slot = tl.load(slots + sequence)
    held = tl.load(tails + sequence)
    rows = n[:, None] * tail_row
    keys_at = tail + slot * tail_slot + h * tail_head
    values_at = keys_at + tail_side
    state_at = state + slot * state_slot + h * state_head + i[:, None] * V
    q += sequence * ROWS * q_row + h * q_head + i
    k += sequence * ROWS * k_row + h * k_head + i
    v += sequence * ROWS * v_row + h * v_head
    out += (sequence * ROWS * HEADS + h) * V
    if held < C:
        # asked for together: a lone sequence waits for memory once
        before = n < held
        keys = tl.load(keys_at + rows + i, before[:, None], 0.0)
        states = ()
        values = ()
        for j in tl.static_range(SLICES):
            at = (part * SLICES + j) * WIDTH + w
            states += (tl.load(state_at + at, eviction_policy="evict_first"),)
            values += (tl.load(values_at + rows + at, before[:, None], 0.0),)
        # what is kept was written steps ago, the new rows by the kernel before
        wait_for_inputs()
        own = _own(q, k, q_row, k_row, s, ROWS)
        scores = ()
        for r in tl.static_range(ROWS):
            query = tl.load(q + r * q_row).to(tl.float32)
            fade = tl.where(before, tl.exp(-s * (held + r - n)), 0.0)
            met = tl.sum(keys.to(tl.float32) * query[None, :], 1) * fade
            scores += (met.to(tl.bfloat16).to(tl.float32),)
        for j in tl.static_range(SLICES):
            at = (part * SLICES + j) * WIDTH + w
            kept = ()
            for r in tl.static_range(ROWS):
                kept += (tl.sum(scores[r][:, None] * values[j].to(tl.float32), 0),)
            _decoded(
                states[j],
                kept,
                own,
                q,
                v + at,
                out + at,
                values_at + at,
                q_row,
                v_row,
                HEADS * V,
                tail_row,
                s,
                held,
                scale,
                C,
                ROWS,
            )
        if part == 0:
            for r in tl.static_range(ROWS):
                to = keys_at + (held + r) * tail_row + i
                tl.store(to, tl.load(k + r * k_row), held + r < C)
    elif part == 0:
        # a fold reads every key of the tail, and the new rows then take the places of the first:
        # all columns are one program's, which can put a barrier between the two
        full = tl.load(keys_at + rows + i)
        wait_for_inputs()
        first = _own(q, k, q_row, k_row, s, ROWS)
        for j in range(V // WIDTH):
            at = j * WIDTH + w
            folds = tl.load(values_at + rows + at)
            now = folded(tl.load(state_at + at), full, folds, s, C, C, WIDE)
            tl.store(state_at + at, now)
            tl.debug_barrier()
            none = ()
            for _ in tl.static_range(ROWS):
                none += (tl.zeros([WIDTH], tl.float32),)
            _decoded(
                now,
                none,
                first,
                q,
                v + at,
                out + at,
                values_at + at,
                q_row,
                v_row,
                HEADS * V,
                tail_row,
                s,
                0,
                scale,
                C,
                ROWS,
            )
        for r in tl.static_range(ROWS):
            tl.store(keys_at + r * tail_row + i, tl.load(k + r * k_row))
