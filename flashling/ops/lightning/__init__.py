"""Lightning attention in the chunk form: one algorithm for prefill, decode and training."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..exact import is_exact, matmul
from ..op import op, wide
from .grid import CHUNK as CHUNK
from .grid import Carry as Carry
from .grid import Grid as Grid


def slopes(heads: int, layer: int, layers: int, offset: int = 0) -> Tensor:
    """Decay rates [heads] float32 of one layer: the ALiBi sequence times 1 - (layer - offset) /
    (layers - 1) + 1e-5. Base slopes are rounded to float32 before the factor, as published.
    """

    def alibi(n: int) -> list[float]:
        if n & (n - 1) == 0:
            return [2.0 ** (-8 * (h + 1) / n) for h in range(n)]
        low = 1 << (n.bit_length() - 1)
        return alibi(low) + alibi(2 * low)[::2][: n - low]

    factor = 1 - (layer - offset) / max(layers - 1, 1) + 1e-5
    return torch.tensor(alibi(heads), dtype=torch.float32) * factor


@op(cuda=".triton:lightning")
def lightning(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, grid: Grid, carry: Carry | None = None
) -> Tensor:
    """o_t = K^-0.5 sum over u <= t of exp(-decay (t - u)) (q_t . k_u) v_u, per head and sequence.

    q, k [T, H, K], v [T, H, V], decay [H] float32 -> o [T, H, V] in float32 (float64 stays).
    Made chunk by chunk on the grid of each sequence, the state between chunks in float32. In
    bfloat16 the scores are rounded to bfloat16 before the product with v, as kernels do.
    A full open chunk is folded into the state by the step that brings the next row, so that
    carry.state is always the state before the open chunk and carry.tail its rows.
    """
    c, num_heads = grid.chunk, q.shape[1]
    s = decay.to(q.device, wide(q).dtype)
    # in exact mode a single row too is a row of its chunk's tile
    if carry is not None and len(q) == len(grid.tails) and not is_exact():
        return _one_row_each(q, k, v, s, grid, carry)
    q, k, v = (_on_grid(x, grid) for x in (q, k, v))
    if carry is not None:
        _lay_tail(k, v, grid, carry)
    wq, wk, wv = (wide(x).transpose(1, 2) for x in (q, k, v))  # [M, H, C, K]
    n = torch.arange(c, device=q.device)
    ahead = (n[:, None] - n).to(s.dtype)
    mask = torch.exp(-s[:, None, None] * ahead.clamp(min=0)).masked_fill(ahead < 0, 0)
    scores = matmul(wq, wk.mT) * mask
    out = matmul(wide(scores.to(v.dtype)), wv)
    states = _states(wk, wv, s, grid, carry)
    if states is not None:
        reach = torch.exp(-s[:, None] * (n + 1).to(s.dtype))[..., None]  # [H, C, 1]
        out = out + matmul(wq, states) * reach
    if carry is not None:
        _keep(k, v, states, grid, carry)
    flat = out.transpose(1, 2).reshape(-1, num_heads, v.shape[-1])
    return flat.index_select(0, grid.new_at) * wq.shape[-1] ** -0.5


@op(cuda=".triton:lightning_decode")
def lightning_decode(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, carry: Carry, tails: Tensor
) -> Tensor:
    """`lightning` for R new rows of each of N sequences, planned on the device alone.

    q, k [N * R, H, K], v [N * R, H, V], a sequence's rows end to end; decay [H] float32; tails [N]
    int32: the rows that each slot's open chunk holds before them, up to all C of it, which are
    then folded -> o [N * R, H, V] in float32 (float64 stays). A row past the end of the open chunk
    is not kept, and its o, though finite, means nothing.
    """
    s = decay.to(q.device, wide(q).dtype)
    chunk, rows = carry.tail.shape[2], len(q) // len(tails)
    _fold(carry, carry.slots, s, tails == chunk)
    at = (tails % chunk)[:, None] + torch.arange(rows, device=q.device)
    # such a row is one more time the last that fits
    past = (at - chunk + 1).clamp(min=0).flatten()
    inside = torch.arange(len(q), device=q.device) - past
    q, k, v = (x.index_select(0, inside) for x in (q, k, v))
    return _replay(q, k, v, s, carry, at.clamp(max=chunk - 1), carry.slots, chunk)


def _one_row_each(q: Tensor, k: Tensor, v: Tensor, s: Tensor, grid: Grid, carry: Carry) -> Tensor:
    """The same where the host knows the tails: it folds and reads no more than it must."""
    full = [n for n, t in enumerate(grid.tails) if t == grid.chunk]
    if full:
        _fold(carry, carry.slots[full], s)
    at = [t % grid.chunk for t in grid.tails]
    # a lone sequence, the common case of a chat, is read in place
    one = slice(int(carry.slots[0]), int(carry.slots[0]) + 1) if len(q) == 1 else carry.slots
    places = torch.tensor(at, device=q.device)[:, None]
    return _replay(q, k, v, s, carry, places, one, max(at) + 1)


def _replay(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    s: Tensor,
    carry: Carry,
    at: Tensor,
    slots: Tensor | slice,
    end: int,
) -> Tensor:
    """Rows `at` [N, R] of the open chunks, without the rows that a decode step does not ask for;
    of the tails in `slots` the first `end` rows are read.
    """
    q, k, v = (x.unflatten(0, at.shape) for x in (q, k, v))
    carry.tail[carry.slots[:, None], 0, at] = k
    carry.tail[carry.slots[:, None], 1, at] = v
    keys, values = wide(carry.tail[slots, :, :end]).transpose(2, 3).unbind(1)  # [N, H, C, K]
    ahead = at[:, None, :, None] - torch.arange(end, device=q.device)  # [N, 1, R, C]
    mask = torch.exp(-s[:, None, None] * ahead.clamp(min=0)).masked_fill(ahead < 0, 0)
    rows = wide(q).transpose(1, 2)  # [N, H, R, K]
    scores = (rows @ keys.mT) * mask
    reach = torch.exp(-s[:, None] * (at[:, None] + 1))[..., None]  # [N, H, R, 1]
    out = wide(scores.to(v.dtype)) @ values + (rows @ carry.state[slots].to(rows.dtype)) * reach
    return out.transpose(1, 2).flatten(0, 1) * q.shape[-1] ** -0.5


def _fold(carry: Carry, slots: Tensor, s: Tensor, full: Tensor | None = None) -> None:
    """Fold the open chunks of `slots`, or of those among them that are `full`, into the states."""
    chunk = carry.tail.shape[2]
    k, v = wide(carry.tail[slots]).transpose(2, 3).unbind(1)
    back = torch.arange(chunk - 1, -1, -1, device=k.device, dtype=s.dtype)
    fade = torch.exp(-s[:, None] * back)[..., None]
    over = torch.exp(-s * chunk)[:, None, None]
    old = carry.state[slots]
    new = (old.to(k.dtype) * over + (k * fade).mT @ v).to(old.dtype)
    carry.state[slots] = new if full is None else torch.where(full[:, None, None, None], new, old)


def _on_grid(x: Tensor, grid: Grid) -> Tensor:
    """x [T, H, W] laid on the grid [M, C, H, W], empty places zero."""
    empty = x.new_zeros(grid.num_chunks * grid.chunk, *x.shape[1:])
    return empty.index_copy(0, grid.new_at, x).unflatten(0, (grid.num_chunks, grid.chunk))


def _lay_tail(k: Tensor, v: Tensor, grid: Grid, carry: Carry) -> None:
    for i, x in enumerate((k, v)):
        rows = [carry.tail[slot, i, :t] for slot, t in zip(carry.slots, grid.tails, strict=True)]
        x.view(-1, *x.shape[2:])[grid.tail_at] = torch.cat(rows)


def _states(k: Tensor, v: Tensor, s: Tensor, grid: Grid, carry: Carry | None) -> Tensor | None:
    """States before every chunk [M, H, K, V], by S <- exp(-s C) S + sum exp(-s (C-1-n)) k v^T."""
    c = grid.chunk
    if carry is None and not grid.steps:
        return None
    if carry is None:
        now = k.new_zeros(len(grid.last), k.shape[1], k.shape[-1], v.shape[-1])
    else:
        now = carry.state[carry.slots].to(k.dtype)
    back = torch.arange(c - 1, -1, -1, device=k.device, dtype=s.dtype)
    fade = torch.exp(-s[:, None] * back)[..., None]  # [H, C, 1]
    over = torch.exp(-s * c)[:, None, None]
    found = [now]
    if grid.steps:
        closed = torch.cat([chunks for _, chunks in grid.steps])
        sums = matmul((k.index_select(0, closed) * fade).mT, v.index_select(0, closed))
        # split, not slices: its gradient is one concatenation
        parts = sums.split([len(chunks) for _, chunks in grid.steps])
        for (keep, _), part in zip(grid.steps, parts, strict=True):
            now = now if keep is None else now.index_select(0, keep)
            now = now * over + part
            found.append(now)
    return torch.cat(found).index_select(0, grid.order)


def _keep(k: Tensor, v: Tensor, states: Tensor | None, grid: Grid, carry: Carry) -> None:
    assert states is not None
    last = torch.tensor(grid.last, device=k.device)
    carry.state[carry.slots] = states[last].to(carry.state.dtype)
    carry.tail[carry.slots, 0] = k[last].to(carry.tail.dtype)
    carry.tail[carry.slots, 1] = v[last].to(carry.tail.dtype)


def flops(tokens: int, heads: int, width: int, chunk: int = CHUNK) -> float:
    """Floating-point operations of a forward pass over `tokens` rows (products only)."""
    inside = 2 * 2 * chunk * width
    between = 2 * 2 * width * width
    return float(tokens) * heads * (inside + between)


def state_bytes(heads: int, width: int) -> int:
    """Bytes of one layer's float32 state of one sequence."""
    return 4 * heads * math.prod((width, width))
