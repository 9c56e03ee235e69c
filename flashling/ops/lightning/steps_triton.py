"""Lightning decode in Triton, a program for each head of a sequence: its state, keys and values
pass in slices of a few rows, which lie end to end in memory; many are on their way at once.
"""
# a launch takes more than the kernel's own parameters, and a kernel's language has no types
# pyright: reportCallIssue=false, reportGeneralTypeIssues=false, reportAttributeAccessIssue=false
# pyright: reportArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..overlap import OVERLAP, wait_for_inputs
from .shared_triton import folded, interpreted

# columns of a state that a fold holds at a time
FOLDED = tl.constexpr(32)


@dataclass(frozen=True)
class Slices:
    """Rows of a slice, how many rounds of them are on their way (a round: a slice of the keys, and
    the part of the state that makes as many rounds), warps, and registers of a thread at most.
    """

    rows: int
    ahead: int
    warps: int
    registers: int | None


def steps(
    rows: tuple[Tensor, Tensor, Tensor],
    decay: Tensor,
    kept: tuple[Any, ...],
    chunk: int,
    tile: Slices,
) -> Tensor:
    """`lightning_decode` of rows q, k, v [N * R, H, W] of N sequences, by a tile; kept: what
    `kept_of` makes of their carry.
    """
    q, k, v = rows
    sequences, (_, heads, width) = len(kept[3]), v.shape
    # a round has as many slices of the state as a key has chunks
    assert width % chunk == chunk % tile.rows == 0
    out = v.new_empty(v.shape, dtype=torch.float32)
    _decode_rows[(sequences * heads,)](
        *(q, k, v, decay, out, *kept, width**-0.5),
        *(x.stride(i) for x in (q, k, v) for i in (0, 1)),
        *(heads, chunk, width, len(q) // sequences, tile.rows, tile.ahead, interpreted()),
        num_warps=tile.warps,
        num_stages=1,
        maxnreg=tile.registers,
        **OVERLAP,
    )
    return out


@triton.jit
def _round(state, keys, m, t, row, EACH: tl.constexpr, SLICE: tl.constexpr, W: tl.constexpr):
    """EACH slices of the state and one of the keys of round m, from pointers to those of round 0
    and the elements from key to key."""
    is_kept = (m * SLICE + tl.arange(0, SLICE) < t)[:, None]
    now = ()
    for e in tl.static_range(EACH):
        now += (tl.load(state + (EACH * m + e) * SLICE * W),)
    return now, tl.load(keys + m * SLICE * row, is_kept, 0.0)


@triton.jit
def _decode_rows(
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
    ROWS: tl.constexpr,
    SLICE: tl.constexpr,
    AHEAD: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (n, h): ROWS new rows of head h of sequence n, laid in the tail behind the kept ones.
    What is summed over rows of a slice is added slice by slice, and over a slice's rows at the end.
    """
    EACH: tl.constexpr = W // C
    h, n = tl.program_id(0) % HEADS, tl.program_id(0) // HEADS
    i, r = tl.arange(0, W), tl.arange(0, SLICE)
    s = tl.load(decay + h)
    slot = tl.load(slots + n)
    held = tl.load(tails + n).to(tl.int32)
    t = tl.where(held == C, 0, held)
    keys_at = tail + slot * tail_slot + h * tail_head
    values_at = keys_at + tail_side
    state_at = state + slot * state_slot + h * state_head
    if held == C:
        c, w = tl.arange(0, C)[:, None] * tail_row, tl.arange(0, FOLDED)
        for j in range(0, W, FOLDED):
            keys, values = tl.load(keys_at + c + i), tl.load(values_at + c + j + w)
            at = state_at + i[:, None] * W + j + w
            tl.store(at, folded(tl.load(at), keys, values, s, C, WIDE))
        tl.debug_barrier()
    state_at += r[:, None] * W + i
    kept = r[:, None] * tail_row + i
    rounds = ()
    for m in tl.static_range(AHEAD):
        rounds += (_round(state_at, keys_at + kept, m, t, tail_row, EACH, SLICE, W),)
    # what is kept was written steps ago, the new rows by the kernel before
    wait_for_inputs()
    q += n * ROWS * q_row + h * q_head
    k += n * ROWS * k_row + h * k_head + i
    v += n * ROWS * v_row + h * v_head + i
    queries = ()
    # of each new row: what it meets of the state, and of the kept rows
    past = ()
    inside = ()
    for a in tl.static_range(ROWS):
        queries += (tl.load(q + a * q_row + i).to(tl.float32),)
        past += (tl.zeros([SLICE, W], tl.float32),)
        inside += (tl.zeros([SLICE, W], tl.float32),)
    for m in tl.static_range(C // SLICE):
        before = m * SLICE + r
        values = tl.load(values_at + kept + m * SLICE * tail_row, (before < t)[:, None], 0.0)
        if m + AHEAD < C // SLICE:
            rounds += (_round(state_at, keys_at + kept, m + AHEAD, t, tail_row, EACH, SLICE, W),)
        now, keys = rounds[m]
        new_past = ()
        new_inside = ()
        for a in tl.static_range(ROWS):
            fade = tl.where(before < t, tl.exp(-s * (t + a - before)), 0.0)
            met = tl.sum(keys.to(tl.float32) * queries[a][None, :], 1) * fade
            # scores are rounded as in the body
            met = met.to(tl.bfloat16).to(tl.float32)
            reach = tl.exp(-s * (t + a + 1))
            total = past[a]
            for e in tl.static_range(EACH):
                part = tl.load(q + a * q_row + (EACH * m + e) * SLICE + r).to(tl.float32)
                total += (part * reach)[:, None] * now[e]
            new_past += (total,)
            new_inside += (inside[a] + met[:, None] * values.to(tl.float32),)
        past = new_past
        inside = new_inside
    out += (n * ROWS * HEADS + h) * W + i
    for a in tl.static_range(ROWS):
        o = tl.sum(past[a], 0) + tl.sum(inside[a], 0)
        for b in tl.static_range(a + 1):
            key = tl.load(k + b * k_row).to(tl.float32)
            own = tl.sum(key * queries[a], 0) * tl.exp(-s * (a - b))
            own = own.to(tl.bfloat16).to(tl.float32)
            o += own * tl.load(v + b * v_row).to(tl.float32)
        tl.store(out + a * HEADS * W, o * scale)
        is_in = t + a < C
        to = (t + a) * tail_row + i
        tl.store(keys_at + to, tl.load(k + a * k_row), is_in)
        tl.store(values_at + to, tl.load(v + a * v_row), is_in)
