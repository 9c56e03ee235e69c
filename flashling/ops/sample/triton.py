"""Draws in Triton: a row in parts, thresholds searched for without a sort, then parts joined."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportAssignmentType=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from . import Cut, logprobs_of
from . import pick as op


@dataclass(frozen=True)
class Tile:
    """Tokens of a program, how many of them it compares at once, warps."""

    block: int
    step: int
    warps: int


# 157,184 tokens are 39 programs: one row keeps a third of the GPU busy for a microsecond or two,
# and a row's sums are made in the same order whatever its company
TILE = Tile(4096, 512, 4)
# thresholds that one pass tries are 16: four of a float's 32 bits. Eight passes for top-k, eight
# for top-p.
DIGITS, PASSES = 16, 8


def pick(
    logits: Tensor,
    temperature: Tensor,
    seed: Tensor,
    sample: Tensor,
    position: Tensor,
    cut: Cut | None = None,
    *,
    tile: Tile = TILE,
) -> tuple[Tensor, Tensor, Tensor]:
    """As the op, for bfloat16 and float32; anything else takes the body. Nothing here waits for
    the device or depends on what stands there.
    """
    if logits.dtype not in (torch.bfloat16, torch.float32):
        return vars(op)["body"](logits, temperature, seed, sample, position, cut)
    num, vocab = logits.shape
    logits = logits if logits.stride(1) == 1 else logits.contiguous()
    settings = [x.contiguous() for x in (temperature, seed, sample, position)]
    tokens = logits.new_empty(num, dtype=torch.int64)
    logprobs = logits.new_empty(num, dtype=torch.float32)
    is_finite = logits.new_empty(num, dtype=torch.bool)
    if not num:
        return tokens, logprobs, is_finite
    parts = triton.cdiv(vocab, tile.block)
    columns = triton.next_power_of_2(parts)
    # of each part: its largest logit, the sum of exponentials below it, whether one is not finite
    measures = logits.new_empty(3, num, parts, dtype=torch.float32)
    bests = logits.new_empty(num, parts, dtype=torch.float64)
    places = logits.new_empty(num, parts, dtype=torch.int32)
    of, grid = (logits, logits.stride(0), vocab), (num, parts)
    shape, options = (parts, columns, tile.block), {"num_warps": tile.warps, **OVERLAP}
    if cut is None:
        _draw[grid](*of, *settings, measures, bests, places, *[None] * 4, *shape, **options)
    else:
        _measure[grid](*of, measures, *shape, **options)
        found = _threshold(of, settings[0], measures, cut, shape, tile)
        rest = (*found, cut[2].contiguous())
        _draw[grid](*of, *settings, measures, bests, places, *rest, *shape, **options)
    results = tokens, logprobs, is_finite
    _join[(num,)](*of, measures, bests, places, *results, parts, columns, num_warps=1, **OVERLAP)
    if is_exact():
        # as `draw` tells them: which of the two a row meets depends on its company
        logprobs.copy_(logprobs_of(logits).gather(-1, tokens[:, None])[:, 0])
    return results


def _threshold(
    of: tuple[Tensor, int, int],
    temperature: Tensor,
    measures: Tensor,
    cut: Cut,
    shape: tuple[int, int, int],
    tile: Tile,
) -> tuple[Tensor, Tensor, Tensor]:
    """Of each row the key of the least value that is kept [N], how many equal ones are [N], and
    how many of them stand in each part [N, parts].
    """
    num, parts = measures.shape[1:]
    settings = temperature, cut[0].contiguous(), cut[1].contiguous()
    sums = measures.new_empty(2, num, parts, DIGITS)
    # before every pass: where the search stands, and the sum above the next threshold
    keys = measures.new_empty(2 * PASSES + 1, num, dtype=torch.int32)
    aboves = measures.new_empty(2 * PASSES + 1, num)
    # what top-k has found: key, how many of its equals, the sum that top-p has a part of
    firsts, counts = measures.new_empty(num, dtype=torch.int32), measures.new_empty(num)
    wholes = measures.new_empty(num)
    state = measures, sums, keys, aboves, firsts, counts, wholes
    options = {"num_warps": tile.warps, **OVERLAP}
    sizes = *shape, tile.step, DIGITS, PASSES
    for i in range(2 * PASSES):
        _search[(num, parts)](*of, *settings, *state, i, *sizes, **options)
    last = measures.new_empty(num, dtype=torch.int32)
    equal = measures.new_empty(num, dtype=torch.int32)
    ties = measures.new_empty(num, parts, dtype=torch.int32)
    ends = last, equal, ties
    _count_ties[(num, parts)](*of, *settings, *state, *ends, *shape, DIGITS, PASSES, **options)
    return ends


@triton.jit
def _ordered(x):
    """Integers in the order of the floats x, the same for both zeros."""
    bits = tl.where(x == 0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _number(key):
    """The float of such an integer, an infinity for those that belong to none."""
    key = tl.minimum(tl.maximum(key, -2139095041), 2139095040)
    return tl.where(key < 0, key ^ 0x7FFFFFFF, key).to(tl.float32, bitcast=True)


@triton.jit
def _load(row, ids, vocab):
    """Logits, minus infinity beyond the row."""
    return tl.load(row + ids, ids < vocab, float("-inf")).to(tl.float32)


@triton.jit
def _tame(x):
    """Zero for what is no number or above all: such a row's draw means nothing, but is one."""
    return tl.where(x < float("inf"), x, 0.0)


@triton.jit
def _scaled(x, t):
    """Logits over a temperature, themselves if it is zero."""
    return tl.div_rn(_tame(x), tl.where(t > 0, t, 1.0) + tl.zeros_like(x))


@triton.jit
def _top(measures, n, parts, PARTS: tl.constexpr):
    """The largest logit of row n; a number even if there is none."""
    p = tl.arange(0, PARTS)
    found = tl.load(measures + n * parts + p, p < parts, float("-inf"))
    return tl.maximum(tl.max(found, 0), -3e38)


@triton.jit
def _note(x, inside, measures, n, part, parts):
    """Leave the measures of a part."""
    stride = tl.num_programs(0) * parts
    at = measures + n * parts + part
    # a NaN compares false
    is_bad = inside & ~(tl.abs(x) < float("inf"))
    x = _tame(x)
    top = tl.max(tl.where(inside, x, float("-inf")), 0)
    below = tl.exp(x - tl.maximum(top, -3e38))
    tl.store(at, top)
    tl.store(at + stride, tl.sum(tl.where(inside, below, 0.0), 0))
    tl.store(at + 2 * stride, tl.max(is_bad.to(tl.float32), 0))


@triton.jit
def _measure(
    logits,
    stride,
    vocab,
    measures,
    parts,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (n, part): the measures alone."""
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    ids = part * BLOCK + tl.arange(0, BLOCK)
    inside = ids < vocab
    wait_for_inputs()
    x = _load(logits + n * stride, ids, vocab)
    _note(x, inside, measures, n, part, parts)


@triton.jit
def _resolved(i, n, goal, floor, sums, keys, aboves, parts, PARTS: tl.constexpr, DIGITS):
    """Key and sum above it after pass i - 1: the largest threshold at which the sum of what is not
    below it reaches the goal; those up to `floor` do. Also the sum of lane 0.
    """
    num = tl.num_programs(0)
    p, digit = tl.arange(0, PARTS), tl.arange(0, 16)
    at = ((i - 1) % 2 * num + n) * parts + p
    each = tl.load(sums + at[:, None] * 16 + digit, (p < parts)[:, None], 0.0)
    total = tl.sum(each, 0)
    key, above = tl.load(keys + (i - 1) * num + n), tl.load(aboves + (i - 1) * num + n)
    width = 1 << (28 - 4 * ((i - 1) % 8))
    reaches = (key + digit * width <= floor) | (total >= goal) | (digit == 0)
    best = tl.max(tl.where(reaches, digit, 0), 0)
    next_one = tl.sum(tl.where(digit == best + 1, total, 0.0), 0)
    lane = tl.sum(tl.where(digit == 0, total, 0.0), 0)
    return key + best * width, tl.where(best < 15, next_one, above), lane


@triton.jit
def _weight(key, top, t):
    """The exponential that a key stands for."""
    return tl.exp(tl.minimum(_number(key) - _scaled(top, t), 0.0))


@triton.jit
def _whole(lane, first, count, top, t):
    """The sum of exponentials that top-k leaves: those above its key, and `count` equals."""
    return lane + tl.where(count > 0, count * _weight(first, top, t), 0.0)


@triton.jit
def _search(
    logits,
    stride,
    vocab,
    temperature,
    top_k,
    top_p,
    measures,
    sums,
    keys,
    aboves,
    firsts,
    counts,
    wholes,
    i,
    parts,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    STEP: tl.constexpr,
    DIGITS: tl.constexpr,
    PASSES: tl.constexpr,
):
    """Program (n, part) of pass i: over a part of row n the sums of what is not below each of 16
    thresholds. First counts, for the next four bits of the key of the last of `top_k`; then
    exponentials, for those of the last value that begins within `top_p` of their sum. Lane 0,
    whose answer is known, sums what top-k has found above its key.
    """
    LEAST: tl.constexpr = -(2**31)
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    num = tl.num_programs(0)
    wait_for_inputs()
    t = tl.load(temperature + n).to(tl.float32)
    most, share = tl.load(top_k + n), tl.load(top_p + n).to(tl.float32)
    counts_all = (most <= 0) | (most >= vocab)
    if t <= 0:
        return
    if (i < PASSES) & counts_all:
        return
    if (i > PASSES) & (share >= 1):
        return
    key, above = tl.full((), LEAST, tl.int32), tl.full((), 0.0, tl.float32)
    first, count = tl.full((), LEAST, tl.int32), tl.full((), 0.0, tl.float32)
    top = _top(measures, n, parts, PARTS)
    if i < PASSES:
        if i > 0:
            goal = most.to(tl.float32)
            key, above, _ = _resolved(i, n, goal, LEAST, sums, keys, aboves, parts, PARTS, DIGITS)
    elif i == PASSES:
        if not counts_all:
            goal = most.to(tl.float32)
            first, over, _ = _resolved(i, n, goal, LEAST, sums, keys, aboves, parts, PARTS, DIGITS)
            count = goal - over
        if part == 0:
            tl.store(firsts + n, first)
            tl.store(counts + n, count)
    else:
        first, count = tl.load(firsts + n), tl.load(counts + n)
        if i == PASSES + 1:
            # the goal is needed before the digit, and both come from the sums of this pass
            _, _, lane = _resolved(i, n, 0.0, first, sums, keys, aboves, parts, PARTS, DIGITS)
            whole = _whole(lane, first, count, top, t)
            if part == 0:
                tl.store(wholes + n, whole)
        else:
            whole = tl.load(wholes + n)
        goal = share * whole
        key, above, _ = _resolved(i, n, goal, first, sums, keys, aboves, parts, PARTS, DIGITS)
    if part == 0:
        tl.store(keys + i * num + n, key)
        tl.store(aboves + i * num + n, above)
    digit = tl.arange(0, DIGITS)
    threshold = key + digit * (1 << (28 - 4 * (i % PASSES)))
    threshold = tl.where(digit == 0, first + 1, threshold)
    highest = _scaled(top, t)
    total = tl.zeros((DIGITS, STEP), tl.float32)
    for at in range(0, BLOCK, STEP):
        ids = part * BLOCK + at + tl.arange(0, STEP)
        x = _load(logits + n * stride, ids, vocab)
        x = _scaled(x, t)
        weight = tl.where(i < PASSES, 1.0, tl.exp(x - highest))
        held = tl.where(ids < vocab, _ordered(x), LEAST)
        total += tl.where(held[None, :] >= threshold[:, None], weight[None, :], 0.0)
    to = ((i % 2) * num + n) * parts + part
    tl.store(sums + to * DIGITS + digit, tl.sum(total, 1))


@triton.jit
def _count_ties(
    logits,
    stride,
    vocab,
    temperature,
    top_k,
    top_p,
    measures,
    sums,
    keys,
    aboves,
    firsts,
    counts,
    wholes,
    last,
    equal,
    ties,
    parts,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
    DIGITS: tl.constexpr,
    PASSES: tl.constexpr,
):
    """Program (n, part): the end of the search, and how many in this part equal the key found."""
    LEAST: tl.constexpr = -(2**31)
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    ids = part * BLOCK + tl.arange(0, BLOCK)
    wait_for_inputs()
    t = tl.load(temperature + n).to(tl.float32)
    share = tl.load(top_p + n).to(tl.float32)
    key, count = tl.full((), LEAST, tl.int32), tl.full((), 0.0, tl.float32)
    if t > 0:
        key, count = tl.load(firsts + n), tl.load(counts + n)
        if share < 1:
            first, goal = key, share * tl.load(wholes + n)
            end = 2 * PASSES
            key, above, _ = _resolved(end, n, goal, first, sums, keys, aboves, parts, PARTS, DIGITS)
            # the j-th equal is kept if what comes before it is below the goal
            own = _weight(key, _top(measures, n, parts, PARTS), t)
            within = tl.maximum(tl.ceil((goal - above) / tl.maximum(own, 1e-30)), 1.0)
            count = tl.where(key == first, tl.minimum(within, count), within)
    if part == 0:
        tl.store(last + n, key)
        tl.store(equal + n, tl.minimum(count, 1 << 24).to(tl.int32))
    x = _load(logits + n * stride, ids, vocab)
    is_equal = (ids < vocab) & (_ordered(_scaled(x, t)) == key)
    tl.store(ties + n * parts + part, tl.sum(is_equal.to(tl.int32), 0))


@triton.jit
def _noise(ids, seed, sample, position):
    """Gumbel noise of tokens, float64."""
    zero = ids.to(tl.uint32) * 0
    c0, c2 = zero + position.to(tl.uint32), zero + (seed >> 32).to(tl.uint32)
    k0, k1 = zero + seed.to(tl.uint32), zero + sample.to(tl.uint32)
    word, _, _, _ = tl.philox_impl(c0, ids.to(tl.uint32), c2, zero, k0, k1)
    u = (word.to(tl.float64) + 0.5) * 2.3283064365386963e-10
    return -tl.log(-tl.log(u))


@triton.jit
def _draw(
    logits,
    stride,
    vocab,
    temperature,
    seed,
    sample,
    position,
    measures,
    bests,
    places,
    last,
    equal,
    ties,
    min_p,
    parts,
    PARTS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """Program (n, part): the largest of logits and noise in a part of row n, and the first place
    where it stands. Without a threshold it measures the part too.
    """
    n, part = tl.program_id(0).to(tl.int64), tl.program_id(1)
    ids = part * BLOCK + tl.arange(0, BLOCK)
    inside = ids < vocab
    wait_for_inputs()
    x = _load(logits + n * stride, ids, vocab)
    t = tl.load(temperature + n).to(tl.float32)
    y = _scaled(x, t)
    kept = inside
    if last is None:
        _note(x, inside, measures, n, part, parts)
    elif t > 0:
        key = tl.load(last + n)
        p = tl.arange(0, PARTS)
        before = tl.sum(tl.load(ties + n * parts + p, p < part, 0), 0)
        held = _ordered(y)
        is_equal = (inside & (held == key)).to(tl.int32)
        is_first = before + tl.cumsum(is_equal, 0) <= tl.load(equal + n)
        least = tl.load(min_p + n).to(tl.float32)
        weight = tl.exp(y - _scaled(_top(measures, n, parts, PARTS), t))
        kept = inside & ((held > key) | ((is_equal > 0) & is_first)) & (weight >= least)
    value = y.to(tl.float64)
    if t > 0:
        place = tl.load(position + n)
        value += _noise(ids, tl.load(seed + n), tl.load(sample + n), place)
    value = tl.where(kept, value, float("-inf"))
    best = tl.max(value, 0)
    tl.store(bests + n * parts + part, best)
    tl.store(places + n * parts + part, tl.min(tl.where(value == best, ids, vocab), 0))


@triton.jit
def _join(
    logits,
    stride,
    vocab,
    measures,
    bests,
    places,
    tokens,
    logprobs,
    is_finite,
    parts,
    PARTS: tl.constexpr,
):
    """Program n: the best of all parts of row n, and its log-probability."""
    n = tl.program_id(0).to(tl.int64)
    p = tl.arange(0, PARTS)
    size = tl.num_programs(0) * parts
    at = n * parts + p
    wait_for_inputs()
    best = tl.load(bests + at, p < parts, float("-inf"))
    place = tl.load(places + at, p < parts, vocab)
    # a row of NaN has no best: any token, but one of the vocabulary
    token = tl.minimum(tl.min(tl.where(best == tl.max(best, 0), place, vocab), 0), vocab - 1)
    tops = tl.load(measures + at, p < parts, float("-inf"))
    below = tl.load(measures + size + at, p < parts, 0.0)
    bad = tl.load(measures + 2 * size + at, p < parts, 0.0)
    top = tl.maximum(tl.max(tops, 0), -3e38)
    total = tl.sum(tl.where(p < parts, below * tl.exp(tl.maximum(tops, -3e38) - top), 0.0), 0)
    own = _tame(tl.load(logits + n * stride + token).to(tl.float32))
    tl.store(tokens + n, token.to(tl.int64))
    tl.store(logprobs + n, own - top - tl.log(tl.maximum(total, 1e-37)))
    tl.store(is_finite + n, tl.max(bad, 0) == 0)
