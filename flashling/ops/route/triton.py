"""The router in Triton: float32 logits, then one warp per token that chooses."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportAssignmentType=false

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import dot
from . import Choice
from . import route as op

# up to this many rows a program reads one expert's weights once and meets every row with them: at
# full size 256 programs of 16 KB, which is what it takes to read 4 MB in about a microsecond
FEW, FEW_WARPS = 4, 4
# numbers of a row that one step of a tile reads
COLUMNS = 64


@dataclass(frozen=True)
class Tile:
    """Rows and experts of a program, in how many parts the inner dimension is summed apart,
    warps and stages.
    """

    rows: int
    experts: int
    splits: int
    warps: int
    stages: int = 3


# by the largest number of rows. Up to 512 the time is that of reading the weights, so that the
# inner dimension is shared out among 64 to 256 programs, always in 16 parts: the bits of a row are
# the same from 5 rows to 512. Beyond it the products count, and parts only fill multiprocessors
# that would be idle.
TILES = (
    (16, Tile(16, 64, 16, 4)),
    (64, Tile(64, 64, 16, 4)),
    (512, Tile(128, 64, 16, 4)),
    (1024, Tile(128, 64, 8, 4)),
    (3072, Tile(128, 64, 4, 4)),
)
MANY = Tile(128, 64, 1, 4)
# in exact mode, whatever the rows
EXACT = Tile(64, 64, 16, 4)

# a chain of small steps where a gradient is needed; nothing is compiled before its first call
composed = torch.compile(vars(op)["body"])


def route(
    x: Tensor, router: Tensor, bias: Tensor, choice: Choice, *, tile: Tile | None = None
) -> tuple[Tensor, Tensor]:
    """As the op, for bfloat16 rows and a float32 router; anything else, and rows that need a
    gradient, take the compiled body. A given `tile` is used for any number of rows.
    """
    learns = torch.is_grad_enabled() and any(t.requires_grad for t in (x, router, bias))
    kinds = x.dtype, router.dtype, bias.dtype
    served = kinds == (torch.bfloat16, torch.float32, torch.float32)
    if learns or not served or x.shape[1] % COLUMNS:
        return composed(x, router, bias, choice)
    if len(router) % choice.groups:
        raise ValueError(f"{len(router)} experts in {choice.groups} groups")
    x = x if x.stride(1) == 1 else x.contiguous()
    sums = _logits(x, router.contiguous(), tile)
    weights = x.new_empty(len(x), choice.k, dtype=torch.float32)
    experts = x.new_empty(len(x), choice.k, dtype=torch.int64)
    each = len(router) // choice.groups
    if len(x):
        _choose[(len(x),)](
            sums,
            bias.contiguous(),
            weights,
            experts,
            choice.scale,
            len(sums),
            choice.groups,
            each,
            choice.kept,
            choice.k,
            choice.normalise,
            triton.next_power_of_2(choice.groups),
            triton.next_power_of_2(each),
            # maxima stay inside one warp, where they take one instruction
            num_warps=1,
            **OVERLAP,
        )
    return weights, experts


def _logits(x: Tensor, router: Tensor, tile: Tile | None) -> Tensor:
    """Float32 sums [S, T, E] over S parts of the inner dimension."""
    (tokens, width), num = x.shape, len(router)
    if tile is None and tokens <= FEW and not is_exact():
        sums = x.new_empty(1, tokens, num, dtype=torch.float32)
        if tokens:
            _logits_of_few[(num,)](
                x,
                router,
                sums,
                x.stride(0),
                tokens,
                width,
                triton.next_power_of_2(width),
                num_warps=FEW_WARPS,
                **OVERLAP,
            )
        return sums
    tile = tile or _tile(tokens)
    sums = x.new_empty(tile.splits, tokens, num, dtype=torch.float32)
    grid = triton.cdiv(tokens, tile.rows), triton.cdiv(num, tile.experts), tile.splits
    _logits_of_tile[grid](
        x,
        router,
        sums,
        tokens,
        num,
        x.stride(0),
        width,
        triton.cdiv(width // COLUMNS, tile.splits),
        COLUMNS,
        tile.rows,
        tile.experts,
        triton.knobs.runtime.interpret,
        num_warps=tile.warps,
        num_stages=tile.stages,
        **OVERLAP,
    )
    return sums


def _tile(tokens: int) -> Tile:
    tile = EXACT if is_exact() else next((t for most, t in TILES if tokens <= most), MANY)
    step = COLUMNS * (2 * tile.rows + 4 * tile.experts)
    return replace(tile, stages=current().stages(step, tile.stages))


@triton.jit
def _logits_of_few(
    x,
    router,
    sums,
    x_stride,
    TOKENS: tl.constexpr,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program e: the logits of expert e."""
    e = tl.program_id(0)
    d = tl.arange(0, COLUMNS)
    inside = d < WIDTH
    w = tl.load(router + e * WIDTH + d, inside, 0.0)
    wait_for_inputs()
    for t in tl.static_range(TOKENS):
        row = tl.load(x + t * x_stride + d, inside, 0.0).to(tl.float32)
        tl.store(sums + t * tl.num_programs(0) + e, tl.sum(w * row, 0))


@triton.jit
def _logits_of_tile(
    x,
    router,
    sums,
    tokens,
    num,
    x_stride,
    WIDTH: tl.constexpr,
    STEPS: tl.constexpr,
    COLUMNS: tl.constexpr,
    ROWS: tl.constexpr,
    EXPERTS: tl.constexpr,
    WIDE: tl.constexpr,
):
    """Program (i, j, s): ROWS tokens and EXPERTS experts over the s-th STEPS of the inner
    dimension.

    A float32 weight is the sum of three bfloat16 numbers, exactly: 8 of its 24 bits in each. So
    three products on the tensor cores are the float32 product. Their sum starts from zero at
    every step, since the tensor cores cut off where float32 addition rounds.
    """
    t = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    e = tl.program_id(1) * EXPERTS + tl.arange(0, EXPERTS)
    s = tl.program_id(2)
    d = tl.arange(0, COLUMNS)
    # a row or expert too many reads the last one and is not written
    row = tl.minimum(t, tokens - 1).to(tl.int64) * x_stride
    expert = tl.minimum(e, num - 1) * WIDTH
    total = tl.zeros((EXPERTS, ROWS), tl.float32)
    wait_for_inputs()
    for step in range(STEPS):
        k = (s * STEPS + step) * COLUMNS + d
        # parts that do not come out even end in zeros
        w = tl.load(router + expert[:, None] + k, (k < WIDTH)[None, :], 0.0)
        v = tl.load(x + row[None, :] + k[:, None], (k < WIDTH)[:, None], 0.0)
        high = w.to(tl.bfloat16)
        w -= high.to(tl.float32)
        middle = w.to(tl.bfloat16)
        low = (w - middle.to(tl.float32)).to(tl.bfloat16)
        part = dot(low, v, tl.zeros((EXPERTS, ROWS), tl.float32), WIDE)
        part = dot(middle, v, part, WIDE)
        total += dot(high, v, part, WIDE)
    to = sums + (s * tokens + t).to(tl.int64)[None, :] * num + e[:, None]
    tl.store(to, total, (e < num)[:, None] & (t < tokens)[None, :])


@triton.jit
def _ordered(x):
    """Integers in the order of the floats x; those of the lowest 2^23 belong to no number."""
    bits = x.to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _choose(
    sums,
    bias,
    weights,
    experts,
    scale,
    SPLITS: tl.constexpr,
    GROUPS: tl.constexpr,
    EACH: tl.constexpr,
    KEPT: tl.constexpr,
    K: tl.constexpr,
    NORMALISE: tl.constexpr,
    GROUP_ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program t: the experts of token t, as a tile [group, expert of the group]."""
    t = tl.program_id(0).to(tl.int64)
    tokens = tl.num_programs(0)
    NUM: tl.constexpr = GROUPS * EACH
    # below every number, and after every expert
    LEAST: tl.constexpr = -(2**31)
    g = tl.arange(0, GROUP_ROWS)
    i = tl.arange(0, COLUMNS)
    inside = (g < GROUPS)[:, None] & (i < EACH)[None, :]
    at = g[:, None] * EACH + i[None, :]
    e = tl.where(inside, at, NUM)
    logit = tl.zeros((GROUP_ROWS, COLUMNS), tl.float32)
    wait_for_inputs()
    for s in tl.static_range(SPLITS):
        logit += tl.load(sums + (s * tokens + t) * NUM + at, inside, 0.0)
    score = tl.sigmoid(logit)
    biased = score + tl.load(bias + at, inside, 0.0)
    if KEPT < GROUPS:
        kept = _best_groups(biased, e, inside, g, GROUPS, EACH, KEPT)
        biased = tl.where(kept[:, None], biased, float("-inf"))
    key = tl.where(inside, _ordered(biased), LEAST)
    place = tl.full((GROUP_ROWS, COLUMNS), K, tl.int32)
    for j in tl.static_range(K):
        first = tl.min(tl.where(key == tl.max(key), e, NUM))
        place = tl.where(e == first, j, place)
        key = tl.where(e == first, LEAST, key)
    chosen = place < K
    if NORMALISE:
        score = score / (tl.sum(tl.where(chosen, score, 0.0)) + 1e-20)
    tl.store(weights + t * K + place, score * scale, chosen)
    tl.store(experts + t * K + place, e.to(tl.int64), chosen)


@triton.jit
def _best_groups(
    biased, e, inside, g, GROUPS: tl.constexpr, EACH: tl.constexpr, KEPT: tl.constexpr
):
    """Which groups [G] are among the KEPT whose two best experts are best in sum."""
    LOWEST: tl.constexpr = float("-inf")
    value = tl.where(inside, biased, LOWEST)
    best = tl.max(value, 1)
    if EACH > 1:
        first = tl.min(tl.where(value == best[:, None], e, GROUPS * EACH), 1)
        best += tl.max(tl.where(e == first[:, None], LOWEST, value), 1)
    best = tl.where(g < GROUPS, best, LOWEST)
    # a group's place is the number of those before it
    other = tl.trans(tl.broadcast_to(best[:, None], (best.shape[0], best.shape[0])))
    tie = (other == best[:, None]) & (g[None, :] < g[:, None])
    before = (other > best[:, None]) | tie
    return tl.sum(before.to(tl.int32), 1) < KEPT
