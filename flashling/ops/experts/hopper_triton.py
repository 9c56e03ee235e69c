"""Routed experts of many tokens on Hopper: their two products as one walk over tiles.

Every multiprocessor has one program, which takes tile after tile of 128 tokens of an expert (160
where that saves a tile) by 256 rows of its weight. One group of warps copies, two multiply: each
holds the sums of half of the rows, so that where scales come in blocks one group scales a part of a
sum while the other has the tensor cores. Triton's own pipeline waits there, and its copies of
single rows are slower than those of blocks. Written in Gluon, which names layouts, barriers and
copies; sums are in the order of `triton.py`'s kernels and give the same bits.
"""

# a kernel's language has no types, and a launch takes more than its parameters
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportPrivateUsage=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false

from __future__ import annotations

import torch
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
from ..linear import BLOCK, Fp8
from .spread_triton import EXTRA, HEAD, TOKENS, Rows, by_group, spread, tiles, turned

# rows of a weight that a product has, inputs of a step, and steps that lie in shared memory: 4 of
# 48 KiB
ROWS, STEP = 64, BLOCK
STAGES = 4
# registers of a thread that multiplies and of one that copies; 3 groups of 128 share 65,536
MULTIPLIES, COPIES = gl.constexpr(240), gl.constexpr(24)
MEAN = 168
BEFORE = gl.constexpr(HEAD)


def fits(gate_up: Fp8, down: Fp8) -> bool:
    """Whether the kernel takes these weights: whole tiles."""
    (_, width, hidden) = down.shape
    return width % 256 == 0 and hidden % 128 == 0 and gate_up.group == down.group


def products(
    x: Tensor, order: Tensor, counts: Tensor, k: int, gate_up: Fp8, down: Fp8
) -> tuple[Tensor, Rows]:
    """What each pair's expert makes of its token: x [T, D] bfloat16, order [T * k] and counts [E]
    as of `sort` -> [T, k, D] bfloat16, not weighted; and x as `quantise` has it.
    """
    table, places = tiles(order, counts, _extra(gate_up))
    rows, own = spread(x, places, k, gate_up.group)
    return _both(rows, table, order, gate_up, down).unflatten(0, (-1, k)), own


def of_one(rows: Rows, gate_up: Fp8, down: Fp8) -> Tensor:
    """What one expert [2 F, D] and [D, F] makes of all rows [T, D] as of `quantise`, with the bits
    of one that is routed to -> [T, D] bfloat16.
    """
    numbers, _ = rows
    order = torch.arange(len(numbers), dtype=torch.int32, device=numbers.device)
    counts = torch.full((1,), len(numbers), dtype=torch.int32, device=numbers.device)
    gate_up, down = (Fp8(w.numbers[None], w.scale[None]) for w in (gate_up, down))
    table, _ = tiles(order, counts, _extra(gate_up))
    return _both(turned(rows), table, order, gate_up, down)


def _both(rows: Rows, table: Tensor, order: Tensor, gate_up: Fp8, down: Fp8) -> Tensor:
    """Both products of rows of sorted pairs as of `spread` -> [P, D] in the pairs' own order."""
    (_, width, hidden), pairs = down.shape, len(order)
    between = torch.empty(pairs, hidden, dtype=torch.bfloat16, device=order.device)
    found = between.new_empty(pairs, width)
    multiply(rows, gate_up, table, between, order, True)
    multiply(by_group(between, down.group), down, table, found, order, False)
    return found


def _extra(weight: Fp8) -> int:
    """Tokens that a tile may have more: the third sum of scales by block leaves no registers."""
    return EXTRA if weight.group is None else 0


def multiply(
    rows: Rows, weight: Fp8, table: Tensor, out: Tensor, order: Tensor, is_gate_up: bool
) -> None:
    """One product of all tiles of a table, each of which counts those taken but once: rows of
    sorted pairs as of `spread`, out [P, F] in their order (gate_up) or [P, D] in the pairs' own.
    """
    (numbers, sizes), (num, outputs, inputs) = rows, weight.shape
    flat = weight.numbers.view(num * outputs, inputs)
    layout = gl.NVMMASharedLayout.get_default_for([ROWS, STEP], gl.float8e4nv)
    most = (len(table) - HEAD) // 3 * (outputs // (4 * ROWS))
    _walk[(min(current().multiprocessors, most),)](
        TensorDescriptor.from_tensor(numbers, [TOKENS // 2, STEP], layout),
        TensorDescriptor.from_tensor(numbers, [EXTRA, STEP], layout),
        TensorDescriptor.from_tensor(flat, [ROWS, STEP], layout),
        *(sizes, weight.scale, table, order, out, sizes.stride(0)),
        OUTPUTS=outputs,
        INPUTS=inputs,
        STAGES=STAGES,
        GATED=is_gate_up,
        BLOCKED=weight.group is not None,
        EXTRA=_extra(weight),
        num_warps=4,
        maxnreg=MEAN,
    )


@gluon.jit
def _fetch(
    x,
    more_x,
    w,
    table,
    buffers,
    bars,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    GATED: gl.constexpr,
    EXTRA: gl.constexpr,
):
    """Take tiles until none is left; tell the other groups of each, and bring tokens and four
    pieces of weight for each of its steps, as buffers come free."""
    x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places = buffers
    full, empty, told, read = bars
    PART: gl.constexpr = x.block_type.shape[0]
    ROWS: gl.constexpr = w.block_type.shape[0]
    STEP: gl.constexpr = x.block_type.shape[1]
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    # pieces of a tile: a gate's rows and the same of up, or rows that follow each other
    OWN: gl.constexpr = ROWS if GATED else 2 * ROWS
    OTHER: gl.constexpr = OUTPUTS // 2 if GATED else ROWS
    ACROSS: gl.constexpr = OUTPUTS // (4 * ROWS)
    LANES: gl.constexpr = gl.BlockedLayout([1], [32], [1], [0])
    lane = gl.arange(0, 32, layout=LANES)
    FOUR: gl.constexpr = gl.BlockedLayout([4], [32], [1], [0])
    four = gl.arange(0, 4, layout=FOUR)
    items = gl.load(table) * ACROSS
    item = gl.program_id(0)
    tile = 0
    step = 0
    while item < items:
        # the next one is asked for now and needed a tile later
        took = gl.atomic_add(
            table + (1 if GATED else 2) + lane, lane * 0 + 1, lane == 0, sem="relaxed"
        )
        at = table + BEFORE + 3 * (item // ACROSS)
        expert, first, count = gl.load(at), gl.load(at + 1), gl.load(at + 2)
        block = item % ACROSS
        j = tile % STAGES
        mbarrier.wait(read.index(j), (tile // STAGES & 1) ^ 1)
        facts = gl.where(four == 0, expert, gl.where(four == 1, first, block))
        places.index(j).store(gl.where(four == 3, count, facts))
        mbarrier.arrive(told.index(j), count=1)
        row = expert * OUTPUTS + block * (2 * OWN)
        is_wide, is_wider = count > PART, count > 2 * PART
        tokens = gl.where(is_wider, 2 * PART + EXTRA, gl.where(is_wide, 2 * PART, PART))
        for k in range(0, INPUTS, STEP):
            i = step % STAGES
            bar = full.index(i)
            mbarrier.wait(empty.index(i), (step // STAGES & 1) ^ 1)
            mbarrier.expect(bar, (PART + 4 * ROWS) * STEP, tokens == PART)
            mbarrier.expect(bar, (2 * PART + 4 * ROWS) * STEP, tokens == 2 * PART)
            if EXTRA > 0:
                size: gl.constexpr = (2 * PART + EXTRA + 4 * ROWS) * STEP
                mbarrier.expect(bar, size, is_wider)
                place = first + 2 * PART
                buffer = e_buffers.index(i)
                tma.async_copy_global_to_shared(more_x, [place, k], bar, buffer, is_wider)
            buffer = x_buffers.index(i).slice(0, PART)
            tma.async_copy_global_to_shared(x, [first, k], bar, buffer)
            buffer = x_buffers.index(i).slice(PART, PART)
            tma.async_copy_global_to_shared(x, [first + PART, k], bar, buffer, is_wide)
            for piece in gl.static_range(4):
                place = row + piece // 2 * OWN + piece % 2 * OTHER
                buffer = w_buffers.index(i * 4 + piece)
                tma.async_copy_global_to_shared(w, [place, k], bar, buffer)
            step += 1
        item = gl.num_programs(0) + gl.sum(gl.where(lane == 0, took, 0), 0)
        tile += 1
    # a tile without tokens: there are no more
    j = tile % STAGES
    mbarrier.wait(read.index(j), (tile // STAGES & 1) ^ 1)
    places.index(j).store(four * 0)
    mbarrier.arrive(told.index(j), count=1)


@gluon.jit
def _sums(
    step,
    buffers,
    bars,
    STEPS: gl.constexpr,
    TOKENS: gl.constexpr,
    EXTRA: gl.constexpr,
    WHICH: gl.constexpr,
):
    """Two sums [64, TOKENS] over all inputs, and two [64, EXTRA] of the tokens after those."""
    x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places = buffers
    full, empty, told, read = bars
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    ROWS: gl.constexpr = w_buffers.type.shape[1]
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TOKENS, 32])
    MORE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, max(EXTRA, 8), 32])
    a = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    b = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    c = gl.zeros((ROWS, max(EXTRA, 8)), gl.float32, layout=MORE)
    d = gl.zeros((ROWS, max(EXTRA, 8)), gl.float32, layout=MORE)
    for _ in range(STEPS):
        i = step % STAGES
        mbarrier.wait(full.index(i), step // STAGES & 1)
        x = x_buffers.index(i).slice(0, TOKENS).permute((1, 0))
        first, second = w_buffers.index(i * 4 + 2 * WHICH), w_buffers.index(i * 4 + 2 * WHICH + 1)
        a = warpgroup_mma(first, x, a, is_async=True)
        if EXTRA > 0:
            more = e_buffers.index(i).permute((1, 0))
            c = warpgroup_mma(first, more, c, is_async=True)
            b = warpgroup_mma(second, x, b, is_async=True)
            d = warpgroup_mma(second, more, d, is_async=True)
            a, b, c, d = warpgroup_mma_wait(num_outstanding=0, deps=(a, b, c, d))
        else:
            b = warpgroup_mma(second, x, b, is_async=True)
            a, b = warpgroup_mma_wait(num_outstanding=0, deps=(a, b))
        mbarrier.arrive(empty.index(i), count=1)
        step += 1
    return a, b, c, d, step


@gluon.jit
def _scaled_sums(
    step,
    buffers,
    bars,
    sizes,
    sizes_row,
    a_scales,
    b_scales,
    STEPS: gl.constexpr,
    TOKENS: gl.constexpr,
    WHICH: gl.constexpr,
):
    """As `_sums`, each step's products scaled; sizes: of the tokens, those of the next group
    `sizes_row` further; a_scales, b_scales: of the two weights' first blocks."""
    x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places = buffers
    full, empty, told, read = bars
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    ROWS: gl.constexpr = w_buffers.type.shape[1]
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TOKENS, 32])
    a = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    b = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    none = gl.zeros((ROWS, TOKENS), gl.float32, layout=LAYOUT)
    # a thread brings the scales of one token, a step ahead
    THREADS: gl.constexpr = gl.BlockedLayout([1], [32], [4], [0])
    token = gl.arange(0, TOKENS, layout=THREADS)
    size, one, two = gl.load(sizes + token), gl.load(a_scales), gl.load(b_scales)
    a_sizes = s_buffers.index(2 * WHICH).slice(0, TOKENS)
    b_sizes = s_buffers.index(2 * WHICH + 1).slice(0, TOKENS)
    for k in range(STEPS):
        i = step % STAGES
        mbarrier.wait(full.index(i), step // STAGES & 1)
        x = x_buffers.index(i).slice(0, TOKENS).permute((1, 0))
        first = w_buffers.index(i * 4 + 2 * WHICH)
        part = warpgroup_mma(first, x, none, use_acc=False, is_async=True)
        a_sizes.store(one * size)
        b_sizes.store(two * size)
        sizes += sizes_row
        more = k + 1 < STEPS
        size = gl.load(sizes + token, (token >= 0) & more, 0.0)
        one, two = gl.load(a_scales + k + 1, more, 0.0), gl.load(b_scales + k + 1, more, 0.0)
        part = warpgroup_mma_wait(num_outstanding=0, deps=(part,))
        a += part * a_sizes.load(gl.SliceLayout(0, LAYOUT))[None, :]
        second = w_buffers.index(i * 4 + 2 * WHICH + 1)
        part = warpgroup_mma(second, x, none, use_acc=False, is_async=True)
        part = warpgroup_mma_wait(num_outstanding=0, deps=(part,))
        mbarrier.arrive(empty.index(i), count=1)
        b += part * b_sizes.load(gl.SliceLayout(0, LAYOUT))[None, :]
        step += 1
    return a, b, step


@gluon.jit
def _lay(y, out, pair, column, WIDTH: gl.constexpr, FLAT: gl.constexpr, buffer):
    """Rows y [64, N], by way of a buffer [tokens, 64], to columns `column` and on of the rows
    [., WIDTH] of `pair`, none if that is -1."""
    N: gl.constexpr = y.shape[1]
    if buffer.shape[0] < N:
        first, second = y.reshape((y.shape[0], 2, N // 2)).permute((0, 2, 1)).split()
        first_pair, second_pair = pair.reshape((2, N // 2)).permute((1, 0)).split()
        _lay(first, out, first_pair, column, WIDTH, FLAT, buffer)
        _lay(second, out, second_pair, column, WIDTH, FLAT, buffer)
    else:
        own = buffer.slice(0, N)
        own.permute((1, 0)).store(y.to(gl.bfloat16))
        r = column + gl.arange(0, y.shape[0], layout=gl.SliceLayout(0, FLAT))
        pair = gl.convert_layout(pair, gl.SliceLayout(1, FLAT), assert_trivial=True)
        at = out + pair.to(gl.int64)[:, None] * WIDTH + r[None, :]
        gl.store(at, own.load(FLAT), (pair >= 0)[:, None])


@gluon.jit
def _pairs(order, first, count, GATED: gl.constexpr, FLAT: gl.constexpr, N: gl.constexpr):
    """Where the results of N tokens go, of which `count` are there: -1 for others."""
    token = gl.arange(0, N, layout=gl.SliceLayout(1, FLAT))
    if GATED:
        found = gl.where(token < count, first + token, -1)
    else:
        found = gl.load(order + first + token, token < count, -1)
    return found


@gluon.jit
def _end(
    a,
    b,
    out,
    pair,
    column,
    WIDTH: gl.constexpr,
    OTHER: gl.constexpr,
    GATED: gl.constexpr,
    FLAT: gl.constexpr,
    buffer,
):
    """What two sums become, to where it goes."""
    if GATED:
        gate, up = a.to(gl.bfloat16).to(gl.float32), b.to(gl.bfloat16).to(gl.float32)
        silu = (gate / (1.0 + gl.exp(-gate))).to(gl.bfloat16).to(gl.float32)
        _lay(silu * up, out, pair, column, WIDTH, FLAT, buffer)
    else:
        _lay(a, out, pair, column, WIDTH, FLAT, buffer)
        _lay(b, out, pair, column + OTHER, WIDTH, FLAT, buffer)


@gluon.jit
def _tile(
    step,
    place,
    buffers,
    bars,
    tensors,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
    TOKENS: gl.constexpr,
    EXTRA: gl.constexpr,
    WHICH: gl.constexpr,
):
    """One group's half of a tile of TOKENS and EXTRA tokens at most."""
    expert, first, block, count = place
    sizes, sizes_row, scale, order, out = tensors
    x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places = buffers
    full, empty, told, read = bars
    ROWS: gl.constexpr = w_buffers.type.shape[1]
    STEP: gl.constexpr = w_buffers.type.shape[2]
    OWN: gl.constexpr = ROWS if GATED else 2 * ROWS
    OTHER: gl.constexpr = OUTPUTS // 2 if GATED else ROWS
    WIDTH: gl.constexpr = OUTPUTS // 2 if GATED else OUTPUTS
    G: gl.constexpr = INPUTS // STEP
    LAYOUT: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, TOKENS, 32])
    # eight threads write the 128 bytes of a token
    FLAT: gl.constexpr = gl.BlockedLayout([1, 8], [4, 8], [4, 1], [1, 0])
    column = block * (2 * OWN) + WHICH * OWN
    row = expert * OUTPUTS + column
    buffer = y_buffers.index(WHICH)
    # all that the end needs is asked for before the sums
    pair = _pairs(order, first, count, GATED, FLAT, TOKENS)
    if BLOCKED:
        a_scales, b_scales = scale + row // STEP * G, scale + (row + OTHER) // STEP * G
        a, b, step = _scaled_sums(
            step,
            buffers,
            bars,
            sizes + first,
            sizes_row,
            a_scales,
            b_scales,
            G,
            TOKENS,
            WHICH,
        )
        _end(a, b, out, pair, column, WIDTH, OTHER, GATED, FLAT, buffer)
    else:
        # tokens after the last one have any scale, and are not written
        token = sizes + first
        size = gl.load(token + gl.arange(0, TOKENS, layout=gl.SliceLayout(0, LAYOUT)))
        r = gl.arange(0, ROWS, layout=gl.SliceLayout(1, LAYOUT))
        a_scale, b_scale = gl.load(scale + row + r), gl.load(scale + row + OTHER + r)
        if EXTRA > 0:
            MORE: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, EXTRA, 32])
            more = gl.arange(0, EXTRA, layout=gl.SliceLayout(0, MORE))
            more_size = gl.load(token + TOKENS + more)
            after = first + TOKENS
            more_pair = _pairs(order, after, count - TOKENS, GATED, FLAT, EXTRA)
        a, b, c, d, step = _sums(step, buffers, bars, G, TOKENS, EXTRA, WHICH)
        a = a * size[None, :] * a_scale[:, None]
        b = b * size[None, :] * b_scale[:, None]
        _end(a, b, out, pair, column, WIDTH, OTHER, GATED, FLAT, buffer)
        if EXTRA > 0:
            # the rows of the narrow product lie in the same threads
            a_scale = gl.convert_layout(a_scale, gl.SliceLayout(1, MORE), assert_trivial=True)
            b_scale = gl.convert_layout(b_scale, gl.SliceLayout(1, MORE), assert_trivial=True)
            c = c * more_size[None, :] * a_scale[:, None]
            d = d * more_size[None, :] * b_scale[:, None]
            _end(c, d, out, more_pair, column, WIDTH, OTHER, GATED, FLAT, buffer)
    return step


@gluon.jit
def _compute(
    tensors,
    buffers,
    bars,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
    EXTRA: gl.constexpr,
    WHICH: gl.constexpr,
):
    """One group's half of every tile that `_fetch` tells of."""
    x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places = buffers
    full, empty, told, read = bars
    HALF: gl.constexpr = x_buffers.type.shape[1] // 2
    STAGES: gl.constexpr = x_buffers.type.shape[0]
    FOUR: gl.constexpr = gl.BlockedLayout([4], [32], [4], [0])
    four = gl.arange(0, 4, layout=FOUR)
    tile = 0
    step = 0
    count = 1
    while count > 0:
        j = tile % STAGES
        mbarrier.wait(told.index(j), tile // STAGES & 1)
        place = places.index(j).load(FOUR)
        mbarrier.arrive(read.index(j), count=1)
        expert = gl.sum(gl.where(four == 0, place, 0), 0)
        first = gl.sum(gl.where(four == 1, place, 0), 0)
        block = gl.sum(gl.where(four == 2, place, 0), 0)
        count = gl.sum(gl.where(four == 3, place, 0), 0)
        # an expert's last tokens often fill no more than half of a tile
        for halves in gl.static_range(3 if EXTRA else 2):
            if (count > halves * HALF) & (count <= (halves + 1) * HALF):
                step = _tile(
                    step,
                    (expert, first, block, count),
                    buffers,
                    bars,
                    tensors,
                    OUTPUTS,
                    INPUTS,
                    GATED,
                    BLOCKED,
                    2 * HALF if halves > 0 else HALF,
                    EXTRA if halves > 1 else 0,
                    WHICH,
                )
        tile += 1


@gluon.jit(do_not_specialize=["sizes_row"])
def _walk(
    x,
    more_x,
    w,
    sizes,
    scale,
    table,
    order,
    out,
    sizes_row,
    OUTPUTS: gl.constexpr,
    INPUTS: gl.constexpr,
    STAGES: gl.constexpr,
    GATED: gl.constexpr,
    BLOCKED: gl.constexpr,
    EXTRA: gl.constexpr,
):
    """Each program takes tile after tile."""
    TOKENS: gl.constexpr = 2 * x.block_type.shape[0]
    ROWS: gl.constexpr = w.block_type.shape[0]
    STEP: gl.constexpr = x.block_type.shape[1]
    x_buffers = gl.allocate_shared_memory(gl.float8e4nv, [STAGES, TOKENS, STEP], x.layout)
    w_buffers = gl.allocate_shared_memory(gl.float8e4nv, [4 * STAGES, ROWS, STEP], w.layout)
    # each group's results, tokens by rows of a weight
    PART: gl.constexpr = TOKENS // 2 if EXTRA else TOKENS
    FLAT: gl.constexpr = gl.NVMMASharedLayout.get_default_for([PART, ROWS], gl.bfloat16)
    y_buffers = gl.allocate_shared_memory(gl.bfloat16, [2, PART, ROWS], FLAT)
    LINE: gl.constexpr = gl.SwizzledSharedLayout(1, 1, 1, [0])
    e_buffers, s_buffers = x_buffers, x_buffers
    if EXTRA:
        e_buffers = gl.allocate_shared_memory(gl.float8e4nv, [STAGES, EXTRA, STEP], x.layout)
    if BLOCKED:
        # the scales of a step's tokens, for each group and each of its sums
        s_buffers = gl.allocate_shared_memory(gl.float32, [4, TOKENS], LINE)
    # which tiles the program has: expert, first pair, block of rows, number of tokens
    places = gl.allocate_shared_memory(gl.int32, [STAGES, 4], LINE)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    told = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    read = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(told.index(i), count=1)
        # both groups that multiply say when they are done
        mbarrier.init(empty.index(i), count=2)
        mbarrier.init(read.index(i), count=2)
    fence_async_shared()
    buffers = x_buffers, e_buffers, w_buffers, s_buffers, y_buffers, places
    bars = full, empty, told, read
    tensors = sizes, sizes_row, scale, order, out
    gl.warp_specialize(
        [
            (
                _compute,
                (
                    tensors,
                    buffers,
                    bars,
                    OUTPUTS,
                    INPUTS,
                    GATED,
                    BLOCKED,
                    EXTRA,
                    0,
                ),
            ),
            (
                _compute,
                (
                    tensors,
                    buffers,
                    bars,
                    OUTPUTS,
                    INPUTS,
                    GATED,
                    BLOCKED,
                    EXTRA,
                    1,
                ),
            ),
            (
                _fetch,
                (
                    x,
                    more_x,
                    w,
                    table,
                    buffers,
                    bars,
                    OUTPUTS,
                    INPUTS,
                    GATED,
                    EXTRA,
                ),
            ),
        ],
        [4, 1],
        [MULTIPLIES, COPIES],
    )
