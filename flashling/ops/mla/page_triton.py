"""A page of latents in Triton: its rows, and queries that meet them."""
# a kernel's language has no types
# pyright: reportAttributeAccessIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl

from ..device import current
from ..rounding import dot

# below every score
LOWEST = tl.constexpr(-3e38)
# whether products are those of groups of 4 warps
IS_GROUPED = tl.constexpr(current().capability[0] == 9)


@triton.jit
def rows_of(
    pages,
    page,
    start,
    page_stride,
    FROM: tl.constexpr,
    COUNT: tl.constexpr,
    WIDTH: tl.constexpr,
    i,
    x,
    IS_DESCRIBED: tl.constexpr,
):
    """Rows start + i of a page and of each the numbers FROM + x; zeros for a row that is less than
    0. Columns past COUNT hold other numbers of the row, or zeros: they meet zeros.
    """
    if IS_DESCRIBED:
        found = pages.load([page, start, FROM])
        return tl.reshape(found, (i.shape[0], x.shape[0]))
    else:
        at = pages + page.to(tl.int64) * page_stride + (start + i)[:, None] * WIDTH + FROM
        return tl.load(at + x, (start + i >= 0)[:, None] & (x < COUNT), 0.0)


@triton.jit
def _weigh(m, l, a, b, c, k, is_seen, scale, WIDE: tl.constexpr):
    """The weights [keys, columns] of a page, peaks and masses after it, and what earlier sums
    shrink by; arguments as of `meet`.
    """
    s = dot(k, tl.trans(b), tl.zeros((k.shape[0], b.shape[0]), tl.float32), WIDE)
    s = dot(c, tl.trans(a), s, WIDE)
    if is_seen is not None:
        s = tl.where(is_seen, s, float("-inf"))
    top = tl.maximum(m, tl.max(s, 0) * scale)
    # one rounding, in whatever kernel
    e = tl.exp2(tl.fma(s, scale, -top[None, :]))
    shrink = tl.exp2(m - top)
    return e.to(c.dtype), top, tl.fma(l, shrink[None, :], e), shrink


@triton.jit
def meet(acc, m, l, a, b, c, k, is_seen, scale, WIDE: tl.constexpr):
    """Sums acc [rank, columns], peaks m [columns] and masses l [keys, columns] of queries a and b
    after a page of latents c and rotated keys k more; is_seen [keys, columns], or None for all.
    """
    e, m, l, shrink = _weigh(m, l, a, b, c, k, is_seen, scale, WIDE)
    return dot(tl.trans(c), e, acc * shrink, WIDE), m, l


@triton.jit
def meet_if(is_met, acc, m, l, a, b, c, k, is_seen, scale, WIDE: tl.constexpr):
    """`meet` where the compiler for Hopper does not know that it happens. Of two products in a row
    it makes the first in each group of 4 warps; out of a branch it shares the columns out among
    the groups.
    """
    if not IS_GROUPED:
        return meet(acc, m, l, a, b, c, k, is_seen, scale, WIDE)
    e, shrink = tl.zeros((k.shape[0], b.shape[0]), c.dtype), m
    if is_met:
        e, m, l, shrink = _weigh(m, l, a, b, c, k, is_seen, scale, WIDE)
    return dot(tl.trans(c), e, acc * shrink, WIDE), m, l
