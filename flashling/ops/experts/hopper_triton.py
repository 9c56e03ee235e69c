"""Routed experts of many tokens on Hopper: their two products as one walk over tiles.

Every multiprocessor has one program, which walks over tiles of 128 tokens of an expert by 256 rows
of its weight. One group of warps copies, two multiply: each holds the sums of half of the rows, so
that where scales come in blocks one group scales a part of a sum while the other has the tensor
cores. Triton's own pipeline waits there, and its copies of single rows are slower than those of
blocks. Written in Gluon, which names layouts, barriers and copies; sums are in the order of
`triton.py`'s kernels and give the same bits.
"""

# a kernel's language has no types, and a launch takes more than its parameters
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportPrivateUsage=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import (
    fence_async_shared,
    mbarrier,
    tma,
    warpgroup_mma,
    warpgroup_mma_wait,
)
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from ..device import current
from ..linear import BLOCK, FLOAT8, Fp8
from ..linear.triton import _quantised
from ..overlap import OVERLAP, wait_for_inputs

# tokens of a tile, rows of a weight that a product has, inputs of a step, and steps that lie in
# shared memory: 4 of 48 KiB
TOKENS, ROWS, STEP = 128, 64, BLOCK
STAGES = 4
# registers of a thread that multiplies and of one that copies; 3 groups of 128 share 65,536
MULTIPLIES, COPIES = gl.constexpr(240), gl.constexpr(24)
MEAN = 168
# numbers that a program quantises
QUANTISED = 4096


def fits(gate_up: Fp8, down: Fp8) -> bool:
    """Whether the kernel takes these weights: whole tiles."""
    (_, width, hidden) = down.shape
    return width % 256 == 0 and hidden % 128 == 0 and gate_up.group == down.group


def products(x: Tensor, order: Tensor, counts: Tensor, k: int, gate_up: Fp8, down: Fp8) -> Tensor:
    """What each pair's expert makes of its token: x [T, D] bfloat16, order [T * k] and counts [E]
    as of `sort` -> [T, k, D] bfloat16, not weighted.
    """
    (_, width, hidden), pairs = down.shape, len(order)
    table = tiles(counts, pairs)
    between, found = x.new_empty(pairs, hidden), x.new_empty(len(x), k, width)
    group = gate_up.group
    _multiply(rows_of(x, order, k, group), gate_up, table, between, order, True)
    _multiply(rows_of(between, None, 1, group), down, table, found, order, False)
    return found


def of_one(x: Tensor, gate_up: Fp8, down: Fp8) -> Tensor:
    """What one expert [2 F, D] and [D, F] makes of all rows x [T, D], with the bits of one that is
    routed to -> [T, D] bfloat16.
    """
    order = torch.arange(len(x), dtype=torch.int32, device=x.device)
    counts = torch.full((1,), len(x), dtype=torch.int32, device=x.device)
    one, other = (Fp8(w.numbers[None], w.scale[None]) for w in (gate_up, down))
    return products(x, order, counts, 1, one, other)[:, 0]


def tiles(counts: Tensor, pairs: int) -> Tensor:
    """The tiles of `pairs` sorted pairs [1 + 3 n] int32: how many, and of each its expert, its
    first pair and the end of the expert's.
    """
    most = min(len(counts), pairs)
    most += (pairs - most) // TOKENS
    table = torch.empty(1 + 3 * most, dtype=torch.int32, device=counts.device)
    padded = triton.next_power_of_2(len(counts))
    _tiles[(len(counts),)](counts, table, len(counts), padded, TOKENS, num_warps=1, **OVERLAP)
    return table


def rows_of(x: Tensor, order: Tensor | None, k: int, group: int | None) -> tuple[Tensor, Tensor]:
    """Rows of x as `quantise` has them, in the order of sorted pairs (None: as they are): numbers
    [P, K] e4m3 and scales [K / group or 1, P and more], so that those of neighbours lie together.
    """
    inputs, pairs = x.shape[1], len(x) if order is None else len(order)
    width = group or inputs
    across, wide = triton.next_power_of_2(inputs // width), triton.next_power_of_2(width)
    numbers = torch.empty(pairs, inputs, dtype=FLOAT8, device=x.device)
    # a tile that begins with the last pair reads on; a descriptor wants rows of 16 bytes
    length = (pairs + TOKENS + 3) // 4 * 4
    scale = torch.empty(inputs // width, length, dtype=torch.float32, device=x.device)
    each = max(1, QUANTISED // (across * wide))
    _rows[(triton.cdiv(pairs, each),)](
        *(x, order, numbers, scale, scale.stride(0), pairs, k),
        INPUTS=inputs,
        GROUP=width,
        R=each,
        G=across,
        W=wide,
        SORTED=order is None,
        num_warps=max(each * across * wide // 1024, 1),
        **OVERLAP,
    )
    return numbers, scale


def _multiply(
    rows: tuple[Tensor, Tensor],
    weight: Fp8,
    table: Tensor,
    out: Tensor,
    order: Tensor,
    is_gate_up: bool,
) -> None:
    (numbers, sizes), (num, outputs, inputs) = rows, weight.shape
    is_blocked = weight.group is not None
    flat = weight.numbers.view(num * outputs, inputs)
    layout = gl.NVMMASharedLayout.get_default_for([ROWS, STEP], gl.float8e4nv)
    # a gate's row and the same of up, or rows that follow each other
    own, other = (ROWS, outputs // 2) if is_gate_up else (2 * ROWS, ROWS)
    width = outputs // 2 if is_gate_up else outputs
    across = width // (2 * own)
    most = (len(table) - 1) // 3 * across
    _walk[(min(current().multiprocessors, most),)](
        TensorDescriptor.from_tensor(numbers, [TOKENS, STEP], layout),
        TensorDescriptor.from_tensor(flat, [ROWS, STEP], layout),
        *(sizes, weight.scale, table, order, out, sizes.stride(0)),
        OUTPUTS=outputs,
        INPUTS=inputs,
        WIDTH=width,
        OWN=own,
        OTHER=other,
        ACROSS=across,
        STAGES=STAGES,
        GATED=is_gate_up,
        BLOCKED=is_blocked,
        num_warps=4,
        maxnreg=MEAN,
    )


@triton.jit
def _tiles(counts, table, NUM, PADDED: tl.constexpr, TOKENS: tl.constexpr):
    """Program e: the tiles of expert e."""
    expert, e = tl.program_id(0), tl.arange(0, PADDED)
    wait_for_inputs()
    count = tl.load(counts + e, mask=e < NUM, other=0)
    own = tl.sum(tl.where(e == expert, count, 0), 0)
    first = tl.sum(tl.where(e < expert, count, 0), 0)
    tile = tl.sum(tl.where(e < expert, (count + TOKENS - 1) // TOKENS, 0), 0)
    end = first + own
    while first < end:
        at = table + 1 + 3 * tile
        tl.store(at, expert)
        tl.store(at + 1, first)
        tl.store(at + 2, end)
        first += TOKENS
        tile += 1
    if expert == NUM - 1:
        tl.store(table, tile)


@triton.jit(do_not_specialize=["scale_row", "pairs"])
def _rows(
    x,
    order,
    numbers,
    scale,
    scale_row,
    pairs,
    SLOTS,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    R: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
    SORTED: tl.constexpr,
):
    """R rows a program, each in G groups padded to W."""
    i, column = tl.arange(0, R * G), tl.arange(0, W)
    pair, group = tl.program_id(0) * R + i // G, i % G
    is_group = (group < INPUTS // GROUP) & (pair < pairs)
    inside = is_group[:, None] & (column < GROUP)[None, :]
    at = (group * GROUP)[:, None] + column[None, :]
    wait_for_inputs()
    row = pair
    if not SORTED:
        row = tl.load(order + pair, mask=pair < pairs, other=0) // SLOTS
    found = tl.load(x + (row.to(tl.int64) * INPUTS)[:, None] + at, mask=inside, other=0.0)
    found, size = _quantised(found.to(tl.float32))
    tl.store(numbers + (pair.to(tl.int64) * INPUTS)[:, None] + at, found, mask=inside)
    tl.store(scale + group.to(tl.int64) * scale_row + pair, size, mask=is_group)


@gluon.jit
def _fetch(
    x,
    w,
    buffers,
    bars,
    table,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    OWN: gl.constexpr,
    OTHER: gl.constexpr,
    ACROSS: gl.constexpr,
):
    """Tokens and four pieces of weight for each step of each tile, as buffers come free."""
    x_buffers, w_buffers, _ = buffers
    full, empty = bars
    TOKENS: gl.constexpr = x.block_type.shape[0]
    ROWS: gl.constexpr = w.block_type.shape[0]
    STEP: gl.constexpr = x.block_type.shape[1]
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    items = gl.load(table) * ACROSS
    step = 0
    for item in range(gl.program_id(0), items, gl.num_programs(0)):
        at = table + 1 + 3 * (item // ACROSS)
        first = gl.load(at + 1)
        row = gl.load(at) * OUTPUTS + item % ACROSS * (2 * OWN)
        for k in range(0, INPUTS, STEP):
            i = step % STAGES
            bar = full.index(i)
            mbarrier.wait(empty.index(i), (step // STAGES & 1) ^ 1)
            mbarrier.expect(bar, (TOKENS + 4 * ROWS) * STEP)
            tma.async_copy_global_to_shared(x, [first, k], bar, x_buffers.index(i))
            for piece in gl.static_range(4):
                place = row + piece // 2 * OWN + piece % 2 * OTHER
                buffer = w_buffers.index(i * 4 + piece)
                tma.async_copy_global_to_shared(w, [place, k], bar, buffer)
            step += 1


@gluon.jit
def _sums(
    step,
    buffers,
    bars,
    sizes,
    sizes_row,
    scales,
    STEPS: gl.constexpr,
    BLOCKED: gl.constexpr,
    TOKENS: gl.constexpr,
    WHICH: gl.constexpr,
):
    """Two sums [64, TOKENS] over all inputs; sizes: of the tokens, those of
    the next group `sizes_row` further; scales: of the two weights, the first blocks'."""
    x_buffers, w_buffers, s_buffers = buffers
    full, empty = bars
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    ROWS: gl.constexpr = w_buffers.type.shape[1]
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TOKENS, 32])
    a = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    b = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    a_scales, b_scales = scales
    if BLOCKED:
        # a thread brings the scale of one token, a step ahead
        THREADS: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
        token = gl.arange(0, TOKENS, layout=THREADS)
        size = gl.load(sizes + token)
    for k in range(STEPS):
        i = step % STAGES
        mbarrier.wait(full.index(i), step // STAGES & 1)
        x = x_buffers.index(i).slice(0, TOKENS).permute((1, 0))
        first = w_buffers.index(i * 4 + 2 * WHICH)
        second = w_buffers.index(i * 4 + 2 * WHICH + 1)
        if BLOCKED:
            none = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
            part = warpgroup_mma(first, x, none, use_acc=False, is_async=True)
            own = s_buffers.index(2 * WHICH + k % 2).slice(0, TOKENS)
            own.store(size)
            sizes += sizes_row
            size = gl.load(sizes + token, (token >= 0) & (k + 1 < STEPS), 0.0)
            one, two = gl.load(a_scales + k), gl.load(b_scales + k)
            part = warpgroup_mma_wait(num_outstanding=0, deps=(part,))
            a += part * (one * own.load(gl.SliceLayout(0, LAYOUT)))[None, :]
            part = warpgroup_mma(second, x, none, use_acc=False, is_async=True)
            part = warpgroup_mma_wait(num_outstanding=0, deps=(part,))
            b += part * (two * own.load(gl.SliceLayout(0, LAYOUT)))[None, :]
        else:
            a = warpgroup_mma(first, x, a, is_async=True)
            b = warpgroup_mma(second, x, b, is_async=True)
            a, b = warpgroup_mma_wait(num_outstanding=0, deps=(a, b))
        mbarrier.arrive(empty.index(i), count=1)
        step += 1
    return a, b, step


@gluon.jit
def _lay(y, out, place, end, column, WIDTH: gl.constexpr, order, PAIRED: gl.constexpr):
    """Rows y [64, TOKENS] to columns `column` and on of the tokens' rows [., WIDTH]."""
    ROWS: gl.constexpr = y.shape[0]
    TOKENS: gl.constexpr = y.shape[1]
    # eight threads write the 128 bytes of a token
    FLAT: gl.constexpr = gl.BlockedLayout([8, 1], [8, 4], [1, 4], [0, 1])
    y = gl.convert_layout(y.to(gl.bfloat16), FLAT)
    pair = place + gl.arange(0, TOKENS, layout=gl.SliceLayout(0, FLAT))
    is_own = pair < end
    if PAIRED:
        pair = gl.load(order + pair, is_own, 0)
    r = column + gl.arange(0, ROWS, layout=gl.SliceLayout(1, FLAT))
    gl.store(out + pair.to(gl.int64)[None, :] * WIDTH + r[:, None], y, is_own[None, :])


@gluon.jit
def _tile(
    step,
    place,
    buffers,
    bars,
    tensors,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    WIDTH: gl.constexpr,
    OWN: gl.constexpr,
    OTHER: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
    TOKENS: gl.constexpr,
    WHICH: gl.constexpr,
):
    """One group's half of a tile whose tokens are at most so many."""
    expert, first, end, block = place
    sizes, sizes_row, scale, order, out = tensors
    STEP: gl.constexpr = 128
    G: gl.constexpr = INPUTS // STEP
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TOKENS, 32])
    column = block * (2 * OWN) + WHICH * OWN
    row = expert * OUTPUTS + column
    blocks = scale, scale
    if BLOCKED:
        blocks = scale + row // STEP * G, scale + (row + OTHER) // STEP * G
    a, b, step = _sums(
        step, buffers, bars, sizes + first, sizes_row, blocks, G, BLOCKED, TOKENS, WHICH
    )
    if not BLOCKED:
        # tokens after the last one have any scale, and are not written
        token = first + gl.arange(0, TOKENS, layout=gl.SliceLayout(0, LAYOUT))
        size = gl.load(sizes + token)[None, :]
        r = gl.arange(0, 64, layout=gl.SliceLayout(1, LAYOUT))
        a = a * size * gl.load(scale + row + r)[:, None]
        b = b * size * gl.load(scale + row + OTHER + r)[:, None]
    if GATED:
        gate, up = a.to(gl.bfloat16).to(gl.float32), b.to(gl.bfloat16).to(gl.float32)
        silu = (gate / (1.0 + gl.exp(-gate))).to(gl.bfloat16).to(gl.float32)
        _lay(silu * up, out, first, end, column, WIDTH, order, False)
    else:
        _lay(a, out, first, end, column, WIDTH, order, True)
        _lay(b, out, first, end, column + OTHER, WIDTH, order, True)
    return step


@gluon.jit
def _compute(
    buffers,
    bars,
    table,
    tensors,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    WIDTH: gl.constexpr,
    OWN: gl.constexpr,
    OTHER: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
    ACROSS: gl.constexpr,
    WHICH: gl.constexpr,
):
    """One group's half of every tile of the program."""
    TOKENS: gl.constexpr = buffers[0].type.shape[1]
    items = gl.load(table) * ACROSS
    step = 0
    for item in range(gl.program_id(0), items, gl.num_programs(0)):
        at = table + 1 + 3 * (item // ACROSS)
        first, end = gl.load(at + 1), gl.load(at + 2)
        place = gl.load(at), first, end, item % ACROSS
        # an expert's last tokens often fill no more than half of a tile
        if end - first <= TOKENS // 2:
            step = _tile(
                step,
                place,
                buffers,
                bars,
                tensors,
                OUTPUTS,
                INPUTS,
                WIDTH,
                OWN,
                OTHER,
                GATED,
                BLOCKED,
                TOKENS // 2,
                WHICH,
            )
        else:
            step = _tile(
                step,
                place,
                buffers,
                bars,
                tensors,
                OUTPUTS,
                INPUTS,
                WIDTH,
                OWN,
                OTHER,
                GATED,
                BLOCKED,
                TOKENS,
                WHICH,
            )


@gluon.jit(do_not_specialize=["sizes_row"])
def _walk(
    x,
    w,
    sizes,
    scale,
    table,
    order,
    out,
    sizes_row,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    WIDTH: gl.constexpr,
    OWN: gl.constexpr,
    OTHER: gl.constexpr,
    ACROSS: gl.constexpr,
    STAGES: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
):
    """Program p: tiles p, and every so many programs further."""
    TOKENS: gl.constexpr = x.block_type.shape[0]
    ROWS: gl.constexpr = w.block_type.shape[0]
    STEP: gl.constexpr = x.block_type.shape[1]
    x_buffers = gl.allocate_shared_memory(gl.float8e4nv, [STAGES, TOKENS, STEP], x.layout)
    w_buffers = gl.allocate_shared_memory(gl.float8e4nv, [4 * STAGES, ROWS, STEP], w.layout)
    # the scales of this step's tokens and of the next one's, for each group that multiplies
    LINE: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    s_buffers = gl.allocate_shared_memory(gl.float32, [4, TOKENS], LINE)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        # both groups that multiply say when they are done
        mbarrier.init(empty.index(i), count=2)
    fence_async_shared()
    buffers, bars = (x_buffers, w_buffers, s_buffers), (full, empty)
    tensors = sizes, sizes_row, scale, order, out
    gl.warp_specialize(
        [
            (
                _compute,
                (
                    buffers,
                    bars,
                    table,
                    tensors,
                    OUTPUTS,
                    INPUTS,
                    WIDTH,
                    OWN,
                    OTHER,
                    GATED,
                    BLOCKED,
                    ACROSS,
                    0,
                ),
            ),
            (
                _compute,
                (
                    buffers,
                    bars,
                    table,
                    tensors,
                    OUTPUTS,
                    INPUTS,
                    WIDTH,
                    OWN,
                    OTHER,
                    GATED,
                    BLOCKED,
                    ACROSS,
                    1,
                ),
            ),
            (
                _fetch,
                (
                    x,
                    w,
                    buffers,
                    bars,
                    table,
                    OUTPUTS,
                    INPUTS,
                    OWN,
                    OTHER,
                    ACROSS,
                ),
            ),
        ],
        [4, 1],
        [MULTIPLIES, COPIES],
    )
