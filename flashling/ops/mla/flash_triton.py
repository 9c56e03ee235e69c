"""Expanded attention in Triton: keys and values made from latents, then one pass over them.

Keys and values come through descriptors, so that a copy needs no addresses in registers; rows of
another document behind the last key are later than every query and so masked like any other.
"""

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
from torch.nn.attention.varlen import varlen_attn
from triton.tools.tensor_descriptor import TensorDescriptor

from ..device import current
from ..exact import is_exact
from ..rounding import dot
from . import Documents, expand
from . import mla_expanded as expanded_op
from . import mla_over as over_op
from .triton import over_pages

HOPPER, INTERPRETED = 9, triton.knobs.runtime.interpret


@dataclass(frozen=True)
class Tile:
    """Queries and keys of a step, warps and stages."""

    rows: int = 128
    keys: int = 64
    warps: int = 8
    stages: int = 3


def mla_expanded(
    q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int, docs: Documents
) -> Tensor:
    """As the op; where a gradient is needed, or rows are no whole 16 bytes, the framework's."""
    if q.dtype != torch.bfloat16:
        return vars(expanded_op)["body"](q, latent, kv_b, value_dim, docs)
    if torch.is_grad_enabled() and any(t.requires_grad for t in (q, latent, kv_b)):
        return _with_gradient(q, latent, kv_b, value_dim, docs)
    if is_exact():
        spans = zip(docs.starts, docs.starts[1:], strict=False)
        return torch.cat([over_pages(q[a:b], latent[a:b], kv_b, value_dim) for a, b in spans])
    if not _fits(q, latent, kv_b, value_dim):
        return _with_gradient(q, latent, kv_b, value_dim, docs)
    return attend(q, latent, kv_b, value_dim, (docs.ends, docs.ends), docs.longest)


def mla_over(q: Tensor, context: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
    """As the op, in bfloat16 and without a gradient; otherwise the body."""
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (q, context, kv_b))
    if is_exact() and not learns and q.dtype == torch.bfloat16:
        return over_pages(q, context, kv_b, value_dim)
    if learns or q.dtype != torch.bfloat16 or not _fits(q, context, kv_b, value_dim):
        return vars(over_op)["body"](q, context, kv_b, value_dim)
    # made on the device: a copy from the host would wait for it
    ends = torch.arange(2, dtype=torch.int32, device=q.device)
    return attend(q, context, kv_b, value_dim, (ends * len(q), ends * len(context)), len(q))


def _with_gradient(
    q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int, docs: Documents
) -> Tensor:
    k, v = expand(latent, kv_b, q.shape[1], value_dim)
    # the kernel wants one width for q, k and v
    v = F.pad(v, (0, q.shape[-1] - value_dim))
    ends, longest = docs.ends, docs.longest
    out = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0))
    assert isinstance(out, Tensor)
    return out[..., :value_dim]


def _fits(q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> bool:
    """Whether descriptors take the rows: 16 bytes are their unit."""
    sizes = (latent.stride(0), kv_b.shape[1], kv_b.shape[0] // q.shape[1], value_dim)
    return latent.stride(1) == 1 and not any(n % 8 for n in sizes)


def _tile(keys: int, values: int) -> Tile:
    """The largest tile whose queries and two steps of keys and values of so many columns fit."""
    room = current().program_bytes
    for tile in (Tile(), Tile(rows=64, keys=32, warps=4)):
        step, own = tile.keys * (keys + values) * 2, tile.rows * keys * 2
        if own + 2 * step <= room:
            break
    return replace(tile, stages=min((room - own) // step, tile.stages))


def attend(
    q: Tensor,
    latent: Tensor,
    kv_b: Tensor,
    value_dim: int,
    starts: tuple[Tensor, Tensor],
    longest: int,
    tile: Tile | None = None,
) -> Tensor:
    """Rows q [T, H, N + P] of sequences over latents [L, R + P]; starts: where those of each
    sequence begin in q and in latent, [n + 1] int32 both; its rows are the last of its latents.
    longest: rows of the longest. Returns [T, H, V].
    """
    heads, rank = q.shape[1], kv_b.shape[1]
    plain = kv_b.shape[0] // heads - value_dim
    turned = q.shape[2] - plain
    out = q.new_empty(len(q), heads, value_dim)
    if not len(q):
        return out
    q = q if q.stride(2) == 1 and q.stride(1) == q.shape[2] else q.contiguous()
    kv = F.linear(latent[:, :rank], kv_b)
    if tile is None and current().capability[0] == HOPPER and not INTERPRETED:
        # it is written for that generation alone
        from . import hopper_triton as hopper

        if hopper.fits(q, latent, kv, value_dim):
            return hopper.attend(q, latent, kv, rank, value_dim, starts, longest)
    n, p, v = (max(triton.next_power_of_2(w), 16) for w in (plain, turned, value_dim))
    tile = tile or _tile(n + p, v)
    _attend[(triton.cdiv(longest, tile.rows), heads, len(starts[0]) - 1)](
        q,
        TensorDescriptor.from_tensor(kv, [tile.keys, n]),
        TensorDescriptor.from_tensor(latent, [tile.keys, p]),
        TensorDescriptor.from_tensor(kv, [tile.keys, v]),
        out,
        *starts,
        q.shape[-1] ** -0.5 / math.log(2),
        q.stride(0),
        rank,
        heads,
        *(plain, turned, value_dim),
        *(n, p, v),
        tile.rows,
        tile.keys,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        num_stages=tile.stages,
    )
    return out


@triton.jit
def _meet(acc, m, l, a, b, k, t, v, hidden, scale, WIDE: tl.constexpr):
    """Sums acc [rows, V], peaks m and masses l [rows] after keys k, t and values v more; `hidden`
    [rows, keys] says which of them a row does not see, or is None."""
    s = dot(a, tl.trans(k), tl.zeros((a.shape[0], k.shape[0]), tl.float32), WIDE)
    s = dot(b, tl.trans(t), s, WIDE)
    if hidden is not None:
        s = tl.where(hidden, float("-inf"), s)
    top = tl.maximum(m, tl.max(s, 1) * scale)
    e = tl.exp2(s * scale - top[:, None])
    shrink = tl.exp2(m - top)
    l = l * shrink + tl.sum(e, 1)
    return dot(e.to(v.dtype), v, acc * shrink[:, None], WIDE), top, l


@triton.jit
def _attend(
    q,
    keys,
    turned,
    values,
    out,
    q_starts,
    k_starts,
    scale,
    q_row,
    RANK: tl.constexpr,
    HEADS: tl.constexpr,
    N: tl.constexpr,
    P: tl.constexpr,
    V: tl.constexpr,
    N_COLUMNS: tl.constexpr,
    P_COLUMNS: tl.constexpr,
    V_COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    KEYS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (i, h, n): a block of rows of sequence n, head h; the last rows, which see most, come
    first. Columns past N, P and V hold another's numbers: they meet zeros, or are not written.
    """
    block = tl.num_programs(0) - 1 - tl.program_id(0)
    h, sequence = tl.program_id(1), tl.program_id(2)
    start = tl.load(q_starts + sequence)
    count = tl.load(q_starts + sequence + 1) - start
    if block * ROWS >= count:
        return
    zero = tl.load(k_starts + sequence)
    length = tl.load(k_starts + sequence + 1) - zero
    i, j = block * ROWS + tl.arange(0, ROWS), tl.arange(0, KEYS)
    n, p, w = tl.arange(0, N_COLUMNS), tl.arange(0, P_COLUMNS), tl.arange(0, V_COLUMNS)
    is_row = (i < count)[:, None]
    at = q + (start + i).to(tl.int64)[:, None] * q_row + h * (N + P)
    a = tl.load(at + n, is_row & (n < N), 0.0)
    b = tl.load(at + N + p, is_row & (p < P), 0.0)
    place = length - count + i
    m = tl.full((ROWS,), float("-inf"), tl.float32)
    l = tl.zeros((ROWS,), tl.float32)
    acc = tl.zeros((ROWS, V_COLUMNS), tl.float32)
    column = h * (N + V)
    # what comes before is seen by all rows of the block
    edge = (length - count + block * ROWS + 1) // KEYS * KEYS
    end = tl.minimum(length, length - count + (block + 1) * ROWS)
    for at_key in range(0, edge, KEYS):
        row = zero + at_key
        k, t = keys.load([row, column]), turned.load([row, RANK])
        v = values.load([row, column + N])
        acc, m, l = _meet(acc, m, l, a, b, k, t, v, None, scale, WIDE)
    for at_key in range(edge, end, KEYS):
        row = zero + at_key
        k, t = keys.load([row, column]), turned.load([row, RANK])
        # zero times the NaN of another's row would be NaN
        v = tl.where((at_key + j < length)[:, None], values.load([row, column + N]), 0.0)
        hidden = at_key + j[None, :] > place[:, None]
        acc, m, l = _meet(acc, m, l, a, b, k, t, v, hidden, scale, WIDE)
    to = out + ((start + i).to(tl.int64)[:, None] * HEADS + h) * V + w
    tl.store(to, (acc / l[:, None]).to(out.dtype.element_ty), is_row & (w < V))
