"""Lightning attention in Triton for serving in bfloat16: whole prompts, and a few rows at a time.

In exact mode a single row too is a short prompt.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from . import Carry, Grid
from . import lightning as chunks_op
from . import lightning_decode as decode_op
from .prompts_triton import Cut, Rows, one_pass, two_passes
from .shared_triton import LEAST, Tile, folded, interpreted, kept_of
from .steps_triton import Slices, steps

# Triton 3.6 compiles tiles of 32 columns into reads outside of the shared memory; with 4 warps
# registers spill
PREFILL = Tile(columns=64, warps=8, stages=4)
# the walk is a multiprocessor's one program, with many loads on their way; four programs of the
# outputs are resident and wait for memory in turn. With spans of one chunk rows have the bits of
# one pass.
CUT = Cut(1, 64, Tile(columns=64, warps=4, stages=7), Tile(columns=128, warps=4, registers=128))
# chunks of a sequence up to which a second launch costs more than it saves
WALKED = 8
# up to so many sequences of one new row the columns of a head are shared out: more programs than
# heads, each of which waits for memory once
FEW = 2
DECODE = Tile(columns=32, warps=4, registers=128)
# more: a slice is a row for each warp, and with 128 registers four programs are resident
SLICES = Slices(rows=4, ahead=4, warps=4, registers=128)


def lightning(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    grid: Grid,
    carry: Carry | None = None,
    *,
    tile: Tile = PREFILL,
    cut: Cut = CUT,
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
    rows = Rows(q, k, v, starts[:-1], starts[1:], tails, grid.chunk)
    if terms > 1 or not _is_cut(grid, v, tile):
        return one_pass(rows, decay, carry, tile, terms)
    return two_passes(rows, decay, grid.spans(cut.chunks), carry, cut)


def _is_cut(grid: Grid, v: Tensor, tile: Tile) -> bool:
    """Whether two passes are quicker than one: where the longest walk takes longer than what a
    multiprocessor has of all of them.
    """
    _, heads, width = v.shape
    walks = grid.num_chunks * heads * width / min(tile.columns, width)
    return grid.longest > max(WALKED, walks / current().multiprocessors)


def lightning_decode(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    decay: Tensor,
    carry: Carry,
    tails: Tensor,
) -> Tensor:
    """As the op, in bfloat16 and without a gradient; otherwise the body. The state meets q in
    float32. A row's bits are the same among few sequences, and among more.
    """
    chunk = carry.tail.shape[2]
    if not _serves(q, k, v, chunk, carry):
        return vars(decode_op)["body"](q, k, v, decay, carry, tails)
    if is_exact():
        return _exact_rows(q, k, v, decay, carry, tails)
    kept, sequences, width = kept_of(carry, tails), len(tails), v.shape[2]
    is_even = width % chunk == chunk % SLICES.rows == 0
    if is_even and (len(q) > sequences or sequences > FEW):
        return steps((q, k, v), decay.to(q.device), kept, chunk, SLICES)
    return _few(q, k, v, decay.to(q.device), kept, chunk)


def _few(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, kept: tuple[Any, ...], chunk: int
) -> Tensor:
    """`lightning_decode` of one row a sequence, the columns of a head shared out."""
    sequences, heads, width = v.shape
    columns = min(DECODE.columns, width)
    out = v.new_empty(v.shape, dtype=torch.float32)
    _decode[(sequences * heads * (width // columns),)](
        *(q, k, v, decay, out, *kept, width**-0.5),
        *(x.stride(i) for x in (q, k, v) for i in (0, 1)),
        *(heads, chunk, width, columns, interpreted()),
        num_warps=DECODE.warps,
        num_stages=DECODE.stages,
        maxnreg=DECODE.registers,
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
    out = one_pass(Rows(q, k, v, starts, starts + fitting, tails, chunk), decay, carry, PREFILL, 1)
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
    W: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """One program per sequence, head and COLUMNS. The new row is taken from the arguments and laid
    in the tail where no program reads: the kept rows before it are all that the others ask for.
    """
    PARTS: tl.constexpr = W // COLUMNS
    part = tl.program_id(0) % PARTS
    h = tl.program_id(0) // PARTS % HEADS
    sequence = tl.program_id(0) // PARTS // HEADS
    n, i, w = tl.arange(0, C), tl.arange(0, W), tl.arange(0, COLUMNS)
    s = tl.load(decay + h)
    slot = tl.load(slots + sequence)
    held = tl.load(tails + sequence).to(tl.int32)
    full = held == C
    t = tl.where(full, 0, held)
    # a fold reads every key of the tail, and the new row then takes the place of the first: all
    # columns are one program's, which can put a barrier between the two
    first = tl.where(full, 0, part)
    last = tl.where(full, tl.where(part == 0, PARTS, 0), first + 1)
    rows = n[:, None] * tail_row
    keys_at = tail + slot * tail_slot + h * tail_head
    values_at = keys_at + tail_side
    state_at = state + slot * state_slot + h * state_head + i[:, None] * W
    if full:
        for j in range(first, last):
            at = j * COLUMNS + w
            keys, values = tl.load(keys_at + rows + i), tl.load(values_at + rows + at)
            now = folded(tl.load(state_at + at), keys, values, s, C, WIDE)
            tl.store(state_at + at, now)
        tl.debug_barrier()
    # the slice is asked for together with the keys: a lone sequence waits for memory once
    before = n < t
    at = first * COLUMNS + w
    now = tl.load(state_at + at, first < last, 0.0)
    values = tl.load(values_at + rows + at, before[:, None], 0.0)
    keys = tl.load(keys_at + rows + i, before[:, None], 0.0).to(tl.float32)
    # what is kept was written steps ago, the new row by the kernel before
    wait_for_inputs()
    query = tl.load(q + sequence * q_row + h * q_head + i).to(tl.float32)
    key = tl.load(k + sequence * k_row + h * k_head + i)
    scores = tl.sum(keys * query[None, :], 1) * tl.where(before, tl.exp(-s * (t - n)), 0.0)
    # rounded as in the body
    scores = scores.to(tl.bfloat16).to(tl.float32)
    own = tl.sum(key.to(tl.float32) * query, 0).to(tl.bfloat16).to(tl.float32)
    for j in range(first, last):
        at = j * COLUMNS + w
        value = tl.load(v + sequence * v_row + h * v_head + at)
        o = tl.sum(query[:, None] * now, 0) * tl.exp(-s * (t + 1))
        o += tl.sum(scores[:, None] * values.to(tl.float32), 0) + own * value.to(tl.float32)
        # of one that has folded
        more = j + 1 < last
        now = tl.load(state_at + at + COLUMNS, more, 0.0)
        values = tl.load(values_at + rows + at + COLUMNS, before[:, None] & more, 0.0)
        tl.store(out + (sequence * HEADS + h) * W + at, o * scale)
        tl.store(values_at + t * tail_row + at, value)
    if part == 0:
        tl.store(keys_at + t * tail_row + i, key)
