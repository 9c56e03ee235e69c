"""Routed experts with e4m3 weights on CUDA.

A few tokens: each pair of a token and a slot streams its expert's weights through registers,
since a product of one row has nothing to share. More tokens: the pairs are sorted by expert, and
each tile of a weight meets the tokens of its expert on the tensor cores. There the weight is the
left operand, so that 64 of its rows and any number of tokens are one kind of instruction with one
order of summation: what a token gets depends neither on its company nor on the tile.
"""

# this file hides the package of its name from the checker, which takes kernels for functions
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..linear import Fp8, Int4, Weight, linear, quantise
from ..linear.triton import product
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded, silu_times
from . import experts as op
from . import swiglu as swiglu_op
from .swiglu_triton import swiglu_quantised

# the interpreter multiplies e4m3 as integers and rounds to it and to bfloat16 wrongly
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
BLOCK = tl.constexpr(128)
Shared = tuple[Weight, Weight] | None


@dataclass(frozen=True)
class Few:
    """Rows of a weight that a program streams, and its warps, for the two products."""

    gate_up: int = 4
    gate_up_warps: int = 4
    down: int = 16
    down_warps: int = 4


@dataclass(frozen=True)
class Many:
    """Tokens and weight rows of a tile, warps and stages, for the two products.

    `gate_up` counts hidden rows: each is a row of the gate and one of up.
    """

    tokens: int
    gate_up: int
    down: int
    warps: int
    stages: int


# more tokens, although they hardly share an expert (4 meet 30 of 256 in 32 pairs), are quicker on
# the tensor cores
FEW_TOKENS = 2
# the most that an expert's mean number of tokens may be, and the tile. One tile should hold all
# of them, or the weights are read twice. 16 KiB of weights a stage, 4 stages and 2 or 3 programs
# a multiprocessor keep the memory busy
MANY = (
    (8, Many(16, 64, 128, 4, 4)),
    (16, Many(32, 64, 128, 4, 4)),
    (48, Many(64, 64, 128, 4, 4)),
)
# above that the tensor cores are the limit: 128 tokens by 256 rows are 85 products for each byte
# from the cache. The second sum that blocks of scales need leaves registers for half of it
MOST = {None: Many(128, 128, 256, 8, 4), BLOCK.value: Many(64, 128, 128, 8, 4)}


def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Weight,
    down: Weight,
    shared: Shared = None,
    *,
    tile: Few | Many | None = None,
) -> Tensor:
    """As the op. `tile` overrides the shapes of the tiles and, by its type, the way."""
    if not _served(x, gate_up, down):
        return vars(op)["body"](x, weights, chosen, gate_up, down, shared)
    x, weights, chosen = x.contiguous(), weights.contiguous(), chosen.contiguous()
    if not len(x):
        return torch.empty_like(x)
    if isinstance(gate_up, Int4):
        # it builds on what is below
        from .int4 import experts as fours

        assert isinstance(down, Int4) and tile is None
        return fours(x, weights, chosen, gate_up, down, shared)
    assert isinstance(gate_up, Fp8) and isinstance(down, Fp8)
    if tile is None:
        tile = _tile(len(x), chosen.shape[1], gate_up, down, shared)
    if isinstance(tile, Few):
        assert _fits(tile, gate_up, down, shared)
        return _few((x, weights, chosen), gate_up, down, shared, tile)
    return _many(x, weights, chosen, gate_up, down, shared, tile)


def _served(x: Tensor, gate_up: Weight, down: Weight) -> bool:
    """Whether kernels serve this call: bfloat16, e4m3 or int4 weights of one kind, no gradient."""
    if x.dtype != torch.bfloat16 or (torch.is_grad_enabled() and x.requires_grad):
        return False
    if isinstance(gate_up, Int4) and isinstance(down, Int4):
        return True
    return (
        isinstance(gate_up, Fp8)
        and isinstance(down, Fp8)
        and gate_up.group == down.group
        # a 16-byte copy must not cross a row
        and gate_up.shape[2] % 16 == down.shape[2] % 16 == 0
    )


def _tile(tokens: int, k: int, gate_up: Fp8, down: Fp8, shared: Shared) -> Few | Many:
    few = Few()
    if tokens <= FEW_TOKENS and not is_exact() and _fits(few, gate_up, down, shared):
        return few
    mean = tokens * k / gate_up.shape[0]
    return next((tile for most, tile in MANY if mean <= most), MOST[gate_up.group])


def _fits(tile: Few, gate_up: Fp8, down: Fp8, shared: Shared) -> bool:
    """Whether whole tiles cover the weights, and the shared expert is one more of the routed."""
    # a tile lies in one block of scales
    least = max(tile.gate_up, tile.down, 1 if gate_up.group is None else BLOCK.value)
    alike = all(
        isinstance(own, Fp8) and own.group == each.group and own.shape == each.shape[1:]
        for own, each in zip(shared or (), (gate_up, down), strict=False)
    )
    return alike and all(n >= least and n == triton.next_power_of_2(n) for n in down.shape[1:])


@triton.jit
def _rounded(x, scale):
    """x / scale rounded to e4m3, as float32."""
    if INTERPRETED:
        q = tl.div_rn(x, scale)
        power = (q.to(tl.int32, bitcast=True) & 0x7F800000).to(tl.float32, bitcast=True)
        # adding 1.5 * 2^23 units of the last place of e4m3 rounds there
        magic = tl.maximum(power, 0.015625) * 1572864.0
        q = (q + magic) - magic
    else:
        # one step from the product with the reciprocal to the quotient, for a third of a
        # division: equal after rounding for every pair of bfloat16 mantissas (tests/ops)
        inverse = 1.0 / scale
        q = x * inverse
        q = tl.fma(tl.fma(-q, scale, x), inverse, q).to(tl.float8e4nv).to(tl.float32)
    return q


@triton.jit
def _quantised(x, BLOCKS: tl.constexpr):
    """A row x [K] as `quantise` has it: numbers [K], float32, and its scale, or [K / 128]."""
    x = x.to(tl.float32)
    if BLOCKS:
        K: tl.constexpr = x.shape[0]
        rows = tl.reshape(x, (K // BLOCK, BLOCK))
        scale = tl.maximum(tl.div_rn(tl.max(tl.abs(rows), 1), 448.0), 2.0**-100)
        numbers = tl.reshape(_rounded(rows, scale[:, None]), (K,))
    else:
        scale = tl.maximum(tl.div_rn(tl.max(tl.abs(x), 0), 448.0), 2.0**-100)
        numbers = _rounded(x, scale)
    return numbers, scale


@triton.jit
def _scales(scale, first, ROWS: tl.constexpr, K: tl.constexpr, BLOCKS: tl.constexpr):
    """The scales of ROWS rows of a weight from `first` on: [ROWS], or [K / 128] of the one row of
    blocks that they lie in."""
    if BLOCKS:
        found = tl.load(scale + first // BLOCK * (K // BLOCK) + tl.arange(0, K // BLOCK))
    else:
        found = tl.load(scale + first + tl.arange(0, ROWS))
    return found


@triton.jit
def _product(w, w_scale, x, x_scale, BLOCKS: tl.constexpr):
    """w [R, K] e4m3 times x [K], with their scales -> [R]."""
    K: tl.constexpr = w.shape[1]
    if BLOCKS:
        rows = tl.reshape(x, (K // BLOCK, BLOCK)) * (x_scale * w_scale)[:, None]
        found = tl.sum(w.to(tl.float32) * tl.reshape(rows, (1, K)), 1)
    else:
        found = tl.sum(w.to(tl.float32) * x[None, :], 1) * x_scale * w_scale
    return found


@triton.jit
def _few_gate_up_kernel(
    x,
    chosen,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    hidden,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """hidden [T, S, F]: ROWS of one token and slot. The slot after those of the chosen experts, if
    S has one, is the shared expert's."""
    token, slot = tl.program_id(1), tl.program_id(2)
    columns = tl.arange(0, D)
    at = tl.arange(0, ROWS)[:, None] * D + columns[None, :]
    # which experts these are the kernel before decides, so nothing can be fetched sooner
    wait_for_inputs()
    if slot < SLOTS:
        expert = tl.load(chosen + token * SLOTS + slot)
        w = numbers + expert * (2 * F * D)
        s = scale + expert * (2 * F // BLOCK * (D // BLOCK) if BLOCKS else 2 * F)
    else:
        w, s = shared_numbers, shared_scale
    first = tl.program_id(0) * ROWS
    # the weights before the row, which is quantised while they are on their way
    gate_w, up_w = tl.load(w + first * D + at), tl.load(w + (F + first) * D + at)
    gate_s, up_s = _scales(s, first, ROWS, D, BLOCKS), _scales(s, F + first, ROWS, D, BLOCKS)
    row, row_scale = _quantised(tl.load(x + token * D + columns), BLOCKS)
    gate = _product(gate_w, gate_s, row, row_scale, BLOCKS)
    up = _product(up_w, up_s, row, row_scale, BLOCKS)
    found = silu_times(gate, up, hidden.dtype.element_ty)
    to = hidden + (token * tl.num_programs(2) + slot) * F + first
    tl.store(to + tl.arange(0, ROWS), found)


@triton.jit
def _few_down_kernel(
    hidden,
    chosen,
    numbers,
    scale,
    shared_numbers,
    shared_scale,
    found,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """found [T, S, D]: ROWS of one token and slot. One expert after another: programs that read
    nine at once would all wait for the addresses of nine regions of memory."""
    token, slot = tl.program_id(1), tl.program_id(2)
    first = tl.program_id(0) * ROWS
    columns = tl.arange(0, F)
    at = (first + tl.arange(0, ROWS))[:, None] * F + columns[None, :]
    # the experts were chosen before the kernel that is waited for below
    if slot < SLOTS:
        expert = tl.load(chosen + token * SLOTS + slot)
        w = numbers + expert * (D * F)
        s = scale + expert * (D // BLOCK * (F // BLOCK) if BLOCKS else D)
    else:
        w, s = shared_numbers, shared_scale
    down = tl.load(w + at)
    down_scale = _scales(s, first, ROWS, F, BLOCKS)
    wait_for_inputs()
    pair = token * tl.num_programs(2) + slot
    row, row_scale = _quantised(tl.load(hidden + pair * F + columns), BLOCKS)
    part = _product(down, down_scale, row, row_scale, BLOCKS)
    to = found + pair * D + first
    tl.store(to + tl.arange(0, ROWS), rounded(part, found.dtype.element_ty))


def _few(rows: tuple[Tensor, ...], gate_up: Fp8, down: Fp8, shared: Shared, tile: Few) -> Tensor:
    (x, weights, chosen), (_, width, hidden) = rows, down.shape
    tokens, k = chosen.shape
    slots = k + (shared is not None)
    first, second = shared or (gate_up, down)
    between, found = x.new_empty(tokens, slots, hidden), x.new_empty(tokens, slots, width)
    facts = {"D": width, "F": hidden, "SLOTS": k, "BLOCKS": gate_up.group is not None, **OVERLAP}
    _few_gate_up_kernel[(hidden // tile.gate_up, tokens, slots)](
        *(x, chosen, gate_up.numbers, gate_up.scale, first.numbers, first.scale, between),
        ROWS=tile.gate_up,
        num_warps=tile.gate_up_warps,
        **facts,
    )
    _few_down_kernel[(width // tile.down, tokens, slots)](
        *(between, chosen, down.numbers, down.scale, second.numbers, second.scale, found),
        ROWS=tile.down,
        num_warps=tile.down_warps,
        **facts,
    )
    return combine(found[:, :k], weights, found[:, k] if shared else None)


@triton.jit
def _sort_kernel(chosen, order, counts, PAIRS, BLOCK_P: tl.constexpr):
    """order [P]: the pairs of every expert, by expert, in their own order; counts [E].

    One program an expert: it counts the pairs of those before it, and then places its own.
    """
    expert, none = tl.program_id(0), tl.num_programs(0)
    places = tl.arange(0, BLOCK_P)
    before, own = tl.zeros((BLOCK_P,), tl.int32), tl.zeros((BLOCK_P,), tl.int32)
    wait_for_inputs()
    first = 0
    # not `for`: the interpreter cannot count to a number that it was given
    while first < PAIRS:
        other = tl.load(chosen + first + places, mask=first + places < PAIRS, other=none)
        before += (other < expert).to(tl.int32)
        own += (other == expert).to(tl.int32)
        first += BLOCK_P
    tl.store(counts + expert, tl.sum(own, 0))
    start, first = tl.sum(before, 0), 0
    while first < PAIRS:
        pair = first + places
        mine = tl.load(chosen + pair, mask=pair < PAIRS, other=none) == expert
        ranks = tl.cumsum(mine.to(tl.int32), 0)
        tl.store(order + start + ranks - 1, pair, mask=mine)
        start += tl.sum(mine.to(tl.int32), 0)
        first += BLOCK_P


def sort(chosen: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """The pairs of chosen [T, k], counted row by row, sorted by expert, stably, and how many each
    of `num` experts has: order [T * k] int32, counts [num] int32.
    """
    pairs = chosen.numel()
    order = torch.empty(pairs, dtype=torch.int32, device=chosen.device)
    counts = torch.empty(num, dtype=torch.int32, device=chosen.device)
    block = min(4096, triton.next_power_of_2(pairs))
    _sort_kernel[(num,)](chosen, order, counts, pairs, BLOCK_P=block, num_warps=8, **OVERLAP)
    return order, counts


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
def _add_product(total, w, x, w_scale, x_scale, BLOCKS: tl.constexpr):
    """total [N, M] plus w [N, 128] times x [M, 128]^T, scaled where scales are by block; they are
    pointers, w_scale to the one scale of all N rows."""
    if INTERPRETED:
        w, x = w.to(tl.float32), x.to(tl.float32)
    if BLOCKS:
        # one multiplication a number, and it is that of the addition
        both = tl.load(w_scale) * tl.load(x_scale)
        total += tl.dot(w, tl.trans(x)) * both[None, :]
    else:
        total = tl.dot(w, tl.trans(x), total)
    return total


@triton.jit
def _step(at, k, K: tl.constexpr):
    """Columns k and on of the K that rows of pointers [N, 128] lead to, zeros after the last."""
    if K // BLOCK * BLOCK == K:
        found = tl.load(at + k)
    else:
        found = tl.load(at + k, mask=(k + tl.arange(0, BLOCK) < K)[None, :], other=0.0)
    return found


@triton.jit
def _many_gate_up_kernel(
    x,
    x_scale,
    order,
    counts,
    numbers,
    scale,
    hidden,
    NUM,
    D: tl.constexpr,
    F: tl.constexpr,
    SLOTS: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """hidden [P, F] of sorted pairs: TOKENS of one expert, ROWS of its F."""
    # the tiles of one expert follow each other, so that its tokens and weights stay in the cache
    tiles: tl.constexpr = (F + ROWS - 1) // ROWS
    wait_for_inputs()
    expert, first, end = _find(counts, tl.program_id(0) // tiles, NUM, TOKENS, NUM_PAD)
    if first >= end:
        return
    pairs = first + tl.arange(0, TOKENS)
    token = tl.load(order + tl.minimum(pairs, end - 1)) // SLOTS
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row, columns = tl.minimum(rows, F - 1), tl.arange(0, BLOCK)
    x_at = x + token.to(tl.int64)[:, None] * D + columns[None, :]
    w_at = numbers + expert.to(tl.int64) * (2 * F * D) + row[:, None] * D + columns[None, :]
    if BLOCKS:
        G: tl.constexpr = D // BLOCK
        # a tile lies in one block of rows
        s_at = scale + expert * (2 * F // BLOCK * G) + tl.program_id(0) % tiles * ROWS // BLOCK * G
        up_s_at, x_s_at = s_at + F // BLOCK * G, x_scale + token * G
    else:
        s_at = scale + expert * (2 * F) + row
        up_s_at, x_s_at = s_at + F, x_scale + token
    gate = tl.zeros((ROWS, TOKENS), tl.float32)
    up = tl.zeros((ROWS, TOKENS), tl.float32)
    for k in range(0, D, BLOCK):
        g, part = k // BLOCK, _step(x_at, k, D)
        gate = _add_product(gate, _step(w_at, k, D), part, s_at + g, x_s_at + g, BLOCKS)
        up_w = _step(w_at + F * D, k, D)
        up = _add_product(up, up_w, part, up_s_at + g, x_s_at + g, BLOCKS)
    if not BLOCKS:
        by_token = tl.load(x_s_at)[None, :]
        gate = gate * by_token * tl.load(s_at)[:, None]
        up = up * by_token * tl.load(up_s_at)[:, None]
    found = tl.trans(silu_times(gate, up, hidden.dtype.element_ty))
    at = hidden + pairs.to(tl.int64)[:, None] * F + rows[None, :]
    tl.store(at, found, mask=(pairs < end)[:, None] & (rows < F)[None, :])


@triton.jit
def _many_down_kernel(
    x,
    x_scale,
    order,
    counts,
    numbers,
    scale,
    out,
    NUM,
    D: tl.constexpr,
    F: tl.constexpr,
    NUM_PAD: tl.constexpr,
    TOKENS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCKS: tl.constexpr,
):
    """out [P, D] in the pairs' own order, from x [P, F] in sorted order."""
    tiles: tl.constexpr = (D + ROWS - 1) // ROWS
    wait_for_inputs()
    expert, first, end = _find(counts, tl.program_id(0) // tiles, NUM, TOKENS, NUM_PAD)
    if first >= end:
        return
    pairs = first + tl.arange(0, TOKENS)
    place = tl.minimum(pairs, end - 1)
    rows = tl.program_id(0) % tiles * ROWS + tl.arange(0, ROWS)
    row, columns = tl.minimum(rows, D - 1), tl.arange(0, BLOCK)
    x_at = x + place.to(tl.int64)[:, None] * F + columns[None, :]
    w_at = numbers + expert.to(tl.int64) * (D * F) + row[:, None] * F + columns[None, :]
    if BLOCKS:
        G: tl.constexpr = F // BLOCK
        s_at = scale + expert * (D // BLOCK * G) + tl.program_id(0) % tiles * ROWS // BLOCK * G
        x_s_at = x_scale + place * G
    else:
        s_at, x_s_at = scale + expert * D + row, x_scale + place
    total = tl.zeros((ROWS, TOKENS), tl.float32)
    for k in range(0, F, BLOCK):
        g, w = k // BLOCK, _step(w_at, k, F)
        total = _add_product(total, w, _step(x_at, k, F), s_at + g, x_s_at + g, BLOCKS)
    if not BLOCKS:
        total = total * tl.load(x_s_at)[None, :] * tl.load(s_at)[:, None]
    pair = tl.load(order + place).to(tl.int64)
    at = out + pair[:, None] * D + rows[None, :]
    found = tl.trans(rounded(total, out.dtype.element_ty))
    tl.store(at, found, mask=(pairs < end)[:, None] & (rows < D)[None, :])


@triton.jit
def _combine_kernel(
    found,
    weights,
    shared,
    out,
    D,
    found_stride,
    shared_stride,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64)
    at = tl.program_id(1) * BLOCK_D + tl.arange(0, BLOCK_D)
    total = tl.zeros((BLOCK_D,), tl.float32)
    wait_for_inputs(EARLY=True)
    for slot in tl.static_range(SLOTS):
        part = tl.load(found + token * found_stride + slot * D + at, mask=at < D, other=0.0)
        total += part.to(tl.float32) * tl.load(weights + token * SLOTS + slot)
    if SHARED:
        own = tl.load(shared + token * shared_stride + at, mask=at < D, other=0.0)
        total += own.to(tl.float32)
    tl.store(out + token * D + at, rounded(total, out.dtype.element_ty), mask=at < D)


def combine(found: Tensor, weights: Tensor, shared: Tensor | None) -> Tensor:
    """found [T, k, D] weighted by weights [T, k] and summed in slot order, then shared [T, D]:
    [T, D], in float32, rounded once. The rows of a token lie end to end.
    """
    tokens, k, width = found.shape
    assert found.stride()[1:] == (width, 1) and (shared is None or shared.stride(1) == 1)
    out = found.new_empty(tokens, width)
    block = min(1024, triton.next_power_of_2(width))
    last = out if shared is None else shared
    _combine_kernel[(tokens, triton.cdiv(width, block))](
        *(found, weights, last, out, width, found.stride(0), last.stride(0)),
        SLOTS=k,
        SHARED=shared is not None,
        BLOCK_D=block,
        num_warps=4,
        **OVERLAP,
    )
    return out


def _many(
    x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Fp8, down: Fp8, shared: Shared, tile: Many
) -> Tensor:
    (num, width, hidden), (tokens, k) = down.shape, chosen.shape
    order, counts = sort(chosen, num)
    # each expert with a pair has one tile, and one more for each further `tile.tokens`
    most = min(num, tokens * k)
    tiles = most + (tokens * k - most) // tile.tokens
    facts = {"NUM": num, "D": width, "F": hidden, "NUM_PAD": triton.next_power_of_2(num)}
    facts |= {"TOKENS": tile.tokens, "BLOCKS": gate_up.group is not None}
    step = (tile.tokens + max(2 * tile.gate_up, tile.down)) * BLOCK.value
    stages = current().stages(step, tile.stages)
    facts |= {"num_warps": tile.warps, "num_stages": stages, **OVERLAP}
    between, found = x.new_empty(tokens * k, hidden), x.new_empty(tokens, k, width)
    rows = quantise(x, gate_up.group)
    _many_gate_up_kernel[(tiles * triton.cdiv(hidden, tile.gate_up),)](
        *rows,
        *(order, counts, gate_up.numbers, gate_up.scale, between),
        SLOTS=k,
        ROWS=tile.gate_up,
        **facts,
    )
    _many_down_kernel[(tiles * triton.cdiv(width, tile.down),)](
        *quantise(between, down.group),
        *(order, counts, down.numbers, down.scale, found),
        ROWS=tile.down,
        **facts,
    )
    return combine(found, weights, _shared(x, rows, shared, gate_up.group))


def _shared(
    x: Tensor, rows: tuple[Tensor, Tensor], shared: Shared, group: int | None
) -> Tensor | None:
    """The shared expert's part of x, whose quantised rows are at hand."""
    if shared is None:
        return None
    first, second = shared
    if not all(isinstance(w, Fp8) and w.group == group for w in shared):
        return linear(swiglu_op(linear(x, first)), second)
    assert isinstance(first, Fp8) and isinstance(second, Fp8)
    hidden = swiglu_quantised(product(*rows, first, x.dtype), group)
    return product(*hidden, second, x.dtype)
