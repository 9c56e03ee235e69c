"""What the routed experts do with rows beside the products: pairs sorted by expert, rows quantised,
slots weighted and summed.
"""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportReturnType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..linear import FLOAT8
from ..linear.quantise_triton import _quantised
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded
from .sort_triton import MANY, sort_many


@triton.jit
def _place(chosen, order, counts, expert, NUM, PAIRS, BLOCK_P: tl.constexpr, GAP: tl.constexpr):
    """Count the pairs of the experts before this one, then place its own; GAP: after each so many
    pairs a number is left out."""
    places = tl.arange(0, BLOCK_P)
    before, own = tl.zeros((BLOCK_P,), tl.int32), tl.zeros((BLOCK_P,), tl.int32)
    first = 0
    # not `for`: the interpreter cannot count to a number that it was given
    while first < PAIRS:
        other = tl.load(chosen + first + places, mask=first + places < PAIRS, other=NUM)
        before += (other < expert).to(tl.int32)
        own += (other == expert).to(tl.int32)
        first += BLOCK_P
    tl.store(counts + expert, tl.sum(own, 0))
    start, first = tl.sum(before, 0), 0
    while first < PAIRS:
        pair = first + places
        mine = tl.load(chosen + pair, mask=pair < PAIRS, other=NUM) == expert
        ranks = tl.cumsum(mine.to(tl.int32), 0)
        number = pair + pair // GAP if GAP else pair
        tl.store(order + start + ranks - 1, number, mask=mine)
        start += tl.sum(mine.to(tl.int32), 0)
        first += BLOCK_P


@triton.jit(do_not_specialize=["tokens"])
def _sort_kernel(
    chosen,
    order,
    counts,
    NUM,
    tokens,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_P: tl.constexpr,
):
    """One program an expert, and with SHARED one more."""
    wait_for_inputs()
    program, pairs = tl.program_id(0), tokens * SLOTS
    if program < NUM:
        _place(chosen, order, counts, program, NUM, pairs, BLOCK_P, SLOTS if SHARED else 0)
    else:
        first = 0
        while first < tokens:
            row = first + tl.arange(0, BLOCK_P)
            tl.store(order + pairs + row, row * (SLOTS + 1) + SLOTS, mask=row < tokens)
            first += BLOCK_P


@triton.jit
def _quantise_rows(
    x,
    numbers,
    scale,
    first,
    rows,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
):
    """R rows from `first` on, each in G groups padded to W."""
    row = first + tl.arange(0, R * G) // G
    group, column = tl.arange(0, R * G) % G, tl.arange(0, W)
    is_group = (group < INPUTS // GROUP) & (row < rows)
    inside = is_group[:, None] & (column < GROUP)[None, :]
    at = (row.to(tl.int64) * INPUTS + group * GROUP)[:, None] + column[None, :]
    found, size = _quantised(tl.load(x + at, mask=inside, other=0.0).to(tl.float32))
    tl.store(numbers + at, found, mask=inside)
    tl.store(scale + row.to(tl.int64) * (INPUTS // GROUP) + group, size, mask=is_group)


@triton.jit(do_not_specialize=["rows"])
def _prepare_kernel(
    chosen,
    order,
    counts,
    x,
    numbers,
    scale,
    NUM,
    rows,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    BLOCK_P: tl.constexpr,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
):
    """The first NUM programs sort, one an expert, and the others quantise, R rows each."""
    wait_for_inputs()
    program, pairs = tl.program_id(0), rows * SLOTS
    if program < NUM:
        _place(chosen, order, counts, program, NUM, pairs, BLOCK_P, SLOTS if SHARED else 0)
    else:
        first = (program - NUM) * R
        _quantise_rows(x, numbers, scale, first, rows, INPUTS, GROUP, R, G, W)
        if SHARED:
            row = first + tl.arange(0, R)
            tl.store(order + pairs + row, row * (SLOTS + 1) + SLOTS, mask=row < rows)


def sort(chosen: Tensor, num: int, shared: bool = False) -> tuple[Tensor, Tensor]:
    """The pairs of chosen [T, k], counted row by row, sorted by expert, stably, and how many each
    of `num` experts has: order [T * k] int32, counts [num] int32.

    shared: every token also visits one expert more in a slot after the k, which `counts` leaves
    out: pairs are counted over k + 1 slots, and its T stand after the others in `order`.
    """
    if chosen.numel() >= MANY and not shared:
        return sort_many(chosen, num)
    tokens, k = chosen.shape
    order, counts, block = _room(chosen, num, tokens * (k + shared))
    _sort_kernel[(num + shared,)](
        *(chosen, order, counts, num, tokens),
        SLOTS=k,
        SHARED=shared,
        BLOCK_P=block,
        num_warps=8,
        **OVERLAP,
    )
    return order, counts


def prepare(
    x: Tensor, chosen: Tensor, num: int, group: int | None, shared: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`sort(chosen, num, shared)` and `quantise(x, group)` in one launch: order, counts, numbers,
    scale.
    """
    tokens, k = chosen.shape
    order, counts, block = _room(chosen, num, tokens * (k + shared))
    numbers, scale, facts = _rows(x, group)
    _prepare_kernel[(num + triton.cdiv(tokens, facts["R"]),)](
        *(chosen, order, counts, x, numbers, scale, num, tokens),
        SLOTS=k,
        SHARED=shared,
        BLOCK_P=block,
        **facts,
        num_warps=8,
        **OVERLAP,
    )
    return order, counts, numbers, scale if group else scale[:, 0]


def _room(chosen: Tensor, num: int, pairs: int) -> tuple[Tensor, Tensor, int]:
    """Where order and counts go, and how many pairs a program looks at together."""
    order = torch.empty(pairs, dtype=torch.int32, device=chosen.device)
    counts = torch.empty(num, dtype=torch.int32, device=chosen.device)
    return order, counts, min(4096, triton.next_power_of_2(chosen.numel()))


def _rows(x: Tensor, group: int | None) -> tuple[Tensor, Tensor, dict[str, int]]:
    """Where the quantised rows and their scales go, and what the kernel is told of them."""
    assert x.is_contiguous()
    rows, inputs = x.shape
    width = group or inputs
    numbers = torch.empty(rows, inputs, dtype=FLOAT8, device=x.device)
    scale = torch.empty(rows, inputs // width, dtype=torch.float32, device=x.device)
    across, wide = triton.next_power_of_2(inputs // width), triton.next_power_of_2(width)
    # 16 numbers a thread, of eight warps
    together = max(4096 // (across * wide), 1)
    facts = {"INPUTS": inputs, "GROUP": width, "R": together, "G": across, "W": wide}
    return numbers, scale, facts


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
    wait_for_inputs()
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
