"""The two products of e4m3 experts on the tensor cores: pairs of a token and a slot, by expert.

Usually the weight is the left operand ("swapped"), so that 64 of its rows and any number of tokens
are one kind of instruction with one order of summation: what a token gets depends neither on its
company nor on the tile. With scales by block a sum is scaled each 128 inputs, where a token on the
left is cheaper: a thread holds two of its scales and not a quarter of all. Many tokens take that.
"""

# the checker does not know what kernels are written in
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false, reportIndexIssue=false, reportAssignmentType=false

from __future__ import annotations

import triton
import triton.language as tl

from ..overlap import wait_for_inputs
from ..rounding import rounded, silu_times

# the interpreter multiplies e4m3 as integers and rounds to it and to bfloat16 wrongly
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
BLOCK = tl.constexpr(128)
# up to so many tokens the shared expert is one more of the routed ones; a prompt's rows meet it in
# the library, which has larger tiles
SHARED_TOKENS = 128


@triton.jit
def _find(counts, tile, NUM, TOKENS: tl.constexpr, NUM_PAD: tl.constexpr):
    """The expert of a tile of TOKENS sorted pairs, its first pair and the end of the expert's;
    a tile after the last one ends before it begins."""
    e = tl.arange(0, NUM_PAD)
    count = tl.load(counts + e, mask=e < NUM, other=0)
    ends = tl.cumsum((count + TOKENS - 1) // TOKENS, 0)
    passed = ends <= tile
    expert = tl.sum(passed.to(tl.int32), 0)
    start = tl.sum(tl.where(passed, count, 0), 0)
    first = start + (tile - tl.max(tl.where(passed, ends, 0), 0)) * TOKENS
    return expert, first, start + tl.sum(tl.where(e == expert, count, 0), 0)


@triton.jit
def _find_any(
    counts,
    tile,
    NUM,
    tokens,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    TOKENS: tl.constexpr,
    NUM_PAD: tl.constexpr,
):
    """As `_find`; with SHARED the first tiles are those of the shared expert, whose number is NUM
    and whose pairs are the last."""
    own = tl.cdiv(tokens, TOKENS) if SHARED else 0
    expert, first, end = _find(counts, tile - own, NUM, TOKENS, NUM_PAD)
    if SHARED:
        is_own, pairs = tile < own, tokens * SLOTS
        expert = tl.where(is_own, NUM, expert)
        first = tl.where(is_own, pairs + tile * TOKENS, first)
        end = tl.where(is_own, pairs + tokens, end)
    return expert, first, end


@triton.jit
def _weight(
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    expert,
    NUM,
    NUMBERS: tl.constexpr,
    SCALES: tl.constexpr,
    SHARED: tl.constexpr,
):
    """Where an expert's NUMBERS numbers and SCALES scales lie."""
    w, s = numbers + expert.to(tl.int64) * NUMBERS, scale + expert * SCALES
    if SHARED:  # noqa: SIM102 - a constant, and a branch
        if expert == NUM:
            w, s = shared_numbers, shared_scale
    return w, s


@triton.jit
def _multiply(w, x, total, IS_SWAPPED: tl.constexpr):
    """w [N, 128] times x [M, 128]^T, added to `total` [N, M], or [M, N] if not swapped."""
    if INTERPRETED:
        w, x = w.to(tl.float32), x.to(tl.float32)
    a, b = (w, tl.trans(x)) if IS_SWAPPED else (x, tl.trans(w))
    return tl.dot(a, b, total)


@triton.jit
def _step(at, k, K: tl.constexpr):
    """Columns k and on of the K that rows of pointers [N, 128] lead to, zeros after the last."""
    if K // BLOCK * BLOCK == K:
        found = tl.load(at + k)
    else:
        found = tl.load(at + k, mask=(k + tl.arange(0, BLOCK) < K)[None, :], other=0.0)
    return found


@triton.jit
def _by_token(sizes, IS_SWAPPED: tl.constexpr):
    """sizes [M] of tokens beside sums [N, M], or [M, N] if not swapped."""
    return sizes[None, :] if IS_SWAPPED else sizes[:, None]


@triton.jit
def _store(at, found, rows, is_pair, WIDTH, IS_SWAPPED: tl.constexpr):
    """Store `found` to columns `rows`, of WIDTH, of the pairs' rows of pointers [M, 1]."""
    found = rounded(found.to(tl.float32), at.dtype.element_ty)
    found = tl.trans(found) if IS_SWAPPED else found
    tl.store(at + rows[None, :], found, mask=is_pair[:, None] & (rows < WIDTH)[None, :])


@triton.jit
def _two_sums(
    x_at,
    x_s_at,
    w_at,
    s_at,
    other_at,
    other_s_at,
    K: tl.constexpr,
    ROWS: tl.constexpr,
    TOKENS: tl.constexpr,
    IS_SWAPPED: tl.constexpr,
):
    """The sums over K columns of ROWS of a weight and of ROWS others, which lie each in one block
    of rows, times TOKENS rows of x. A product of the others is scaled a step after it was begun,
    so that the tensor cores have it while one of the first is scaled."""
    G: tl.constexpr = K // BLOCK
    shape: tl.constexpr = (ROWS, TOKENS) if IS_SWAPPED else (TOKENS, ROWS)
    total, other = tl.zeros(shape, tl.float32), tl.zeros(shape, tl.float32)
    # scales, too, are asked for a step before they are needed
    w_s, other_s, x_s = tl.load(s_at), tl.load(other_s_at), tl.load(x_s_at)
    late, late_s = tl.zeros(shape, tl.float32), x_s
    for k in range(0, K, BLOCK):
        after = tl.minimum(k // BLOCK + 1, G - 1)
        next_s, next_other = tl.load(s_at + after), tl.load(other_s_at + after)
        next_x = tl.load(x_s_at + after)
        part, w = _step(x_at, k, K), _step(w_at, k, K)
        other_w = _step(other_at, k, K)
        found = _multiply(w, part, tl.zeros(shape, tl.float32), IS_SWAPPED)
        # one multiplication a number, and it is that of the addition
        other += late * _by_token(late_s, IS_SWAPPED)
        late = _multiply(other_w, part, tl.zeros(shape, tl.float32), IS_SWAPPED)
        late_s = other_s * x_s
        total += found * _by_token(w_s * x_s, IS_SWAPPED)
        w_s, other_s, x_s = next_s, next_other, next_x
    return total, other + late * _by_token(late_s, IS_SWAPPED)


@triton.jit(do_not_specialize=["tokens"])
def _many_gate_up_kernel(
    x,
    x_scale,
    order,
    counts,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    hidden,
    NUM,
    tokens,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
    IS_SWAPPED: tl.constexpr,
):
    """hidden [P, F] of sorted pairs: TOKENS of one expert, ROWS of its F."""
    # the tiles of one expert follow each other, so that its tokens and weights stay in the cache
    tiles: tl.constexpr = (F + ROWS - 1) // ROWS
    G: tl.constexpr = D // BLOCK
    SCALES: tl.constexpr = 2 * F // BLOCK * G if BLOCKS else 2 * F
    wait_for_inputs()
    tile = tl.program_id(0) // tiles
    expert, first, end = _find_any(counts, tile, NUM, tokens, SLOTS, SHARED, TOKENS, NUM_PAD)
    if first >= end:
        return
    first_row = tl.program_id(0) % tiles * ROWS
    rows = first_row + tl.arange(0, ROWS)
    row, columns = tl.minimum(rows, F - 1), tl.arange(0, BLOCK)
    w, s = _weight(
        numbers, scale, shared_numbers, shared_scale, expert, NUM, 2 * F * D, SCALES, SHARED
    )
    w_at = w + row[:, None] * D + columns[None, :]
    up_at = w_at + F * D
    pairs = first + tl.arange(0, TOKENS)
    token = tl.load(order + tl.minimum(pairs, end - 1)) // (SLOTS + SHARED)
    x_at = x + token.to(tl.int64)[:, None] * D + columns[None, :]
    if BLOCKS:
        # a tile lies in one block of rows
        s_at = s + first_row // BLOCK * G
        gate, up = _two_sums(
            *(x_at, x_scale + token * G),
            *(w_at, s_at),
            *(up_at, s_at + F // BLOCK * G),
            *(D, ROWS, TOKENS, IS_SWAPPED),
        )
    else:
        shape: tl.constexpr = (ROWS, TOKENS) if IS_SWAPPED else (TOKENS, ROWS)
        gate, up = tl.zeros(shape, tl.float32), tl.zeros(shape, tl.float32)
        for k in range(0, D, BLOCK):
            part = _step(x_at, k, D)
            gate = _multiply(_step(w_at, k, D), part, gate, IS_SWAPPED)
            up = _multiply(_step(up_at, k, D), part, up, IS_SWAPPED)
        by_token = _by_token(tl.load(x_scale + token), IS_SWAPPED)
        gate = gate * by_token * _by_token(tl.load(s + row), not IS_SWAPPED)
        up = up * by_token * _by_token(tl.load(s + F + row), not IS_SWAPPED)
    found = silu_times(gate, up, hidden.dtype.element_ty)
    _store(hidden + pairs.to(tl.int64)[:, None] * F, found, rows, pairs < end, F, IS_SWAPPED)


@triton.jit(do_not_specialize=["tokens"])
def _many_down_kernel(
    x,
    x_scale,
    order,
    counts,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    out,
    NUM,
    tokens,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
    IS_SWAPPED: tl.constexpr,
):
    """out [P, D] in the pairs' own order, from x [P, F] in sorted order."""
    tiles: tl.constexpr = (D + ROWS - 1) // ROWS
    G: tl.constexpr = F // BLOCK
    SCALES: tl.constexpr = D // BLOCK * G if BLOCKS else D
    # the pairs were sorted before the kernels that are waited for below
    tile = tl.program_id(0) // tiles
    expert, first, end = _find_any(counts, tile, NUM, tokens, SLOTS, SHARED, TOKENS, NUM_PAD)
    if first >= end:
        return
    pairs = first + tl.arange(0, TOKENS)
    place = tl.minimum(pairs, end - 1)
    # by blocks it is two halves
    HALF: tl.constexpr = ROWS // 2 if BLOCKS else ROWS
    first_row = tl.program_id(0) % tiles * ROWS
    rows = first_row + tl.arange(0, HALF)
    row, other_row = tl.minimum(rows, D - 1), tl.minimum(rows + HALF, D - 1)
    columns = tl.arange(0, BLOCK)
    w, s = _weight(numbers, scale, shared_numbers, shared_scale, expert, NUM, D * F, SCALES, SHARED)
    w_at = w + row[:, None] * F + columns[None, :]
    other_at = w + other_row[:, None] * F + columns[None, :]
    x_at = x + place.to(tl.int64)[:, None] * F + columns[None, :]
    wait_for_inputs()
    if BLOCKS:
        other_block = tl.minimum(first_row + HALF, D - 1) // BLOCK
        found, other = _two_sums(
            *(x_at, x_scale + place * G),
            *(w_at, s + first_row // BLOCK * G),
            *(other_at, s + other_block * G),
            *(F, HALF, TOKENS, IS_SWAPPED),
        )
    else:
        shape: tl.constexpr = (ROWS, TOKENS) if IS_SWAPPED else (TOKENS, ROWS)
        found = tl.zeros(shape, tl.float32)
        for k in range(0, F, BLOCK):
            found = _multiply(_step(w_at, k, F), _step(x_at, k, F), found, IS_SWAPPED)
        found = found * _by_token(tl.load(x_scale + place), IS_SWAPPED)
        found = found * _by_token(tl.load(s + row), not IS_SWAPPED)
    at = out + tl.load(order + place).to(tl.int64)[:, None] * D
    _store(at, found, rows, pairs < end, D, IS_SWAPPED)
    if BLOCKS:
        _store(at, other, rows + HALF, pairs < end, D, IS_SWAPPED)
