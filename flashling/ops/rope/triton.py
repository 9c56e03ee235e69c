"""The norm and rotation of queries and keys in Triton: one pass over the projected rows."""
# a launch takes more than the kernel's own parameters
# pyright: reportCallIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..op import using
from ..overlap import OVERLAP, wait_for_inputs
from . import queries_keys as op

# heads and warps of a program: one tile for every number of rows, so that no row's bits depend on
# it. A single token has 4 programs of 16 heads, 8,192 of them 32,768, a few waves of resident ones.
HEADS, WARPS = 16, 4

# a chain of small steps where a gradient is needed; nothing is compiled before its first call
composed = torch.compile(vars(op)["body"])


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
