"""What turns rows by their positions in Triton: the tables, and norms and rotations in one pass."""
# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.language.extra.cuda import libdevice

from ..op import using
from ..overlap import OVERLAP, wait_for_inputs
from . import latent_rows as latent_rows_op
from . import queries_keys as op
from . import rotary_table as table_op
from . import turned_queries as turned_queries_op

# heads and warps of a program: one tile for every number of rows, so that no row's bits depend on
# it. A single token has 4 programs of 16 heads, 8,192 of them 32,768, a few waves of resident ones.
HEADS, WARPS = 16, 4
# entries of the tables that a program makes
TABLE = 256
# the interpreter has no library of a device
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)

# a chain of small steps where a gradient is needed; nothing is compiled before its first call
composed = torch.compile(vars(op)["body"])
latent_chain = torch.compile(vars(latent_rows_op)["body"])
turned_chain = torch.compile(vars(turned_queries_op)["body"])


def rotary_table(
    positions: Tensor, freqs: Tensor, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """As the op; float64 takes the body."""
    if dtype != torch.float32:
        return vars(table_op)["body"](positions, freqs, scale, dtype)
    positions, freqs = positions.contiguous(), freqs.to(positions.device, dtype).contiguous()
    cos, sin = freqs.new_empty(2, len(positions), len(freqs)).unbind()
    if cos.numel():
        _table[(triton.cdiv(cos.numel(), TABLE),)](
            *(positions, freqs, cos, sin, scale, cos.numel(), len(freqs), TABLE),
            **OVERLAP,
        )
    return cos, sin


@triton.jit(do_not_specialize=["size"], do_not_specialize_on_alignment=["positions"])
def _table(positions, freqs, cos, sin, scale, size, PAIRS: tl.constexpr, BLOCK: tl.constexpr):
    """BLOCK entries a program."""
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < size
    freq = tl.load(freqs + i % PAIRS, inside, 0.0)
    wait_for_inputs()
    angle = tl.load(positions + i // PAIRS, inside, 0).to(tl.float32) * freq
    if INTERPRETED:
        c, s = tl.cos(angle), tl.sin(angle)
    else:
        c, s = libdevice.cos(angle), libdevice.sin(angle)
    tl.store(cos + i, c * scale, inside)
    tl.store(sin + i, s * scale, inside)


def queries_keys(
    x: Tensor,
    q_norm: Tensor,
    k_norm: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
    *,
    tile: tuple[int, int] = (HEADS, WARPS),
) -> tuple[Tensor, Tensor]:
    """As the op; float64, and rows that need a gradient, take the compiled body."""
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (x, q_norm, k_norm))
    if learns or x.dtype == torch.float64:
        # the tracer then sees one chain, not the kernels of its parts
        with using("body"):
            return composed(x, q_norm, k_norm, cos, sin, eps)
    tokens, twice, width = x.shape
    if x.stride(2) != 1 or x.stride(1) != width:
        raise ValueError(f"heads must lie end to end in a row, not with strides {x.stride()}")
    heads, (rows, warps) = twice // 2, tile
    out = x.new_empty(2, tokens, heads, width)
    if tokens:
        _queries_keys[(tokens, 2 * triton.cdiv(heads, rows))](
            x,
            q_norm,
            k_norm,
            cos.contiguous(),
            sin.contiguous(),
            out,
            tokens,
            x.stride(0),
            eps,
            heads,
            width,
            cos.shape[-1],
            triton.next_power_of_2(width),
            rows,
            num_warps=warps,
            **OVERLAP,
        )
    q, k = out.unbind(0)
    return q, k


@triton.jit(do_not_specialize=["tokens"])
def _queries_keys(
    x,
    q_norm,
    k_norm,
    cos,
    sin,
    out,
    tokens,
    stride,
    eps,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    TURNED: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Program (t, i): ROWS heads of token t, the first half of the i queries, the rest keys."""
    t = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(HEADS, ROWS)
    part = tl.program_id(1) // blocks
    h = tl.program_id(1) % blocks * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, COLUMNS)
    inside = d < WIDTH
    mask = (h < HEADS)[:, None] & inside
    # the other half of a pair; a dimension that is not turned meets itself, times a sine of zero
    turned = d < 2 * TURNED
    other = tl.where(d < TURNED, d + TURNED, tl.where(turned, d - TURNED, d))
    pair = tl.where(d < TURNED, d, d - TURNED)
    if part == 0:
        w = tl.load(q_norm + d, inside, 0.0).to(tl.float32)
        w_other = tl.load(q_norm + other, inside, 0.0).to(tl.float32)
    else:
        w = tl.load(k_norm + d, inside, 0.0).to(tl.float32)
        w_other = tl.load(k_norm + other, inside, 0.0).to(tl.float32)
    wait_for_inputs()
    c = tl.load(cos + t * TURNED + pair, turned, 1.0)
    s = tl.load(sin + t * TURNED + pair, turned, 0.0)
    s = tl.where(d < TURNED, -s, s)
    rows = x + t * stride + (part * HEADS + h)[:, None] * WIDTH
    a = tl.load(rows + d, mask, 0.0).to(tl.float32)
    # the same bytes once more, from the first-level cache
    b = tl.load(rows + other, mask, 0.0).to(tl.float32)
    unit = tl.rsqrt(tl.sum(a * a, 1) / WIDTH + eps)[:, None]
    y = a * unit * w * c + b * unit * w_other * s
    to = out + ((part * tokens + t) * HEADS + h)[:, None] * WIDTH + d
    tl.store(to, y.to(out.dtype.element_ty), mask)


def _learns(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def turned_queries(q: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """As the op; float64, and rows that need a gradient, take the compiled body."""
    if _learns(q) or q.dtype == torch.float64:
        with using("body"):
            return turned_chain(q, cos, sin)
    tokens, heads, width = q.shape
    q = q if q.stride(2) == 1 and q.stride(1) == width else q.contiguous()
    out = q.new_empty(q.shape)
    if tokens:
        _turned_queries[(tokens, triton.cdiv(heads, HEADS))](
            *(q, cos.contiguous(), sin.contiguous(), out, q.stride(0), heads),
            *(width, cos.shape[-1], triton.next_power_of_2(width), HEADS),
            num_warps=WARPS,
            **OVERLAP,
        )
    return out


@triton.jit
def _turned_queries(
    q,
    cos,
    sin,
    out,
    stride,
    HEADS: tl.constexpr,
    WIDTH: tl.constexpr,
    TURNED: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Program (t, i): ROWS heads of token t."""
    t = tl.program_id(0).to(tl.int64)
    h = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    d = tl.arange(0, COLUMNS)
    mask = (h < HEADS)[:, None] & (d < WIDTH)
    place = d - (WIDTH - 2 * TURNED)
    turned = (place >= 0) & (d < WIDTH)
    other = tl.where(turned, tl.where(place % 2 == 0, d + 1, d - 1), d)
    wait_for_inputs()
    pair = t * TURNED + place // 2
    c, s = tl.load(cos + pair, turned, 1.0), tl.load(sin + pair, turned, 0.0)
    s = tl.where(place % 2 == 0, -s, s)
    rows = q + t * stride + h[:, None] * WIDTH
    a = tl.load(rows + d, mask, 0.0).to(tl.float32)
    # the same bytes once more, from the first-level cache
    b = tl.load(rows + other, mask, 0.0).to(tl.float32)
    y = tl.where(turned, a * c + b * s, a)
    tl.store(out + (t * HEADS + h)[:, None] * WIDTH + d, y.to(out.dtype.element_ty), mask)


def latent_rows(
    x: Tensor, q_norm: Tensor | None, kv_norm: Tensor, cos: Tensor, sin: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """As the op; float64, and rows that need a gradient, take the compiled body."""
    if _learns(x, q_norm, kv_norm) or x.dtype == torch.float64:
        with using("body"):
            return latent_chain(x, q_norm, kv_norm, cos, sin, eps)
    rank, turned = kv_norm.shape[0], cos.shape[-1]
    wide = x.shape[1] - rank - 2 * turned
    x = x if x.stride(1) == 1 else x.contiguous()
    q = x[:, :wide] if q_norm is None else x.new_empty(len(x), wide)
    latent = x.new_empty(len(x), rank + 2 * turned)
    if len(x):
        _latent_rows[(len(x), 1 if q_norm is None else 2)](
            *(x, q_norm, kv_norm, cos.contiguous(), sin.contiguous(), q, latent),
            *(x.stride(0), eps, wide, rank, turned),
            triton.next_power_of_2(wide),
            triton.next_power_of_2(rank),
            triton.next_power_of_2(turned),
            num_warps=WARPS,
            **OVERLAP,
        )
    return q, latent


@triton.jit
def _normed(row, weight, eps, d, WIDTH: tl.constexpr):
    """Numbers d of a row normed over WIDTH, rounded as `norm` does before the weight."""
    inside = d < WIDTH
    f = tl.load(row + d, inside, 0.0)
    unit = tl.rsqrt(tl.sum(f.to(tl.float32) * f.to(tl.float32), 0) / WIDTH + eps)
    y = (f.to(tl.float32) * unit).to(f.dtype).to(tl.float32)
    return y * tl.load(weight + d, inside, 0.0).to(tl.float32)


@triton.jit
def _latent_rows(
    x,
    q_norm,
    kv_norm,
    cos,
    sin,
    q,
    latent,
    stride,
    eps,
    WIDE: tl.constexpr,
    RANK: tl.constexpr,
    TURNED: tl.constexpr,
    WIDE_COLUMNS: tl.constexpr,
    RANK_COLUMNS: tl.constexpr,
    TURNED_COLUMNS: tl.constexpr,
):
    """Program (t, 0): the kept row of token t; (t, 1): its queries."""
    t = tl.program_id(0).to(tl.int64)
    wait_for_inputs()
    row = x + t * stride
    # names of two types cannot be one
    if tl.program_id(1) == 1:
        # the first question is the device's, this one the compiler's
        if q_norm is not None:
            i = tl.arange(0, WIDE_COLUMNS)
            y = _normed(row, q_norm, eps, i, WIDE)
            tl.store(q + t * WIDE + i, y.to(q.dtype.element_ty), i < WIDE)
    else:
        d, k = tl.arange(0, RANK_COLUMNS), tl.arange(0, TURNED_COLUMNS)
        z = _normed(row + WIDE, kv_norm, eps, d, RANK)
        to = latent + t * (RANK + 2 * TURNED)
        tl.store(to + d, z.to(latent.dtype.element_ty), d < RANK)
        inside = k < TURNED
        a = tl.load(row + WIDE + RANK + 2 * k, inside, 0.0).to(tl.float32)
        b = tl.load(row + WIDE + RANK + 2 * k + 1, inside, 0.0).to(tl.float32)
        c = tl.load(cos + t * TURNED + k, inside, 0.0)
        s = tl.load(sin + t * TURNED + k, inside, 0.0)
        tl.store(to + RANK + 2 * k, (a * c - b * s).to(latent.dtype.element_ty), inside)
        tl.store(to + RANK + 2 * k + 1, (b * c + a * s).to(latent.dtype.element_ty), inside)
