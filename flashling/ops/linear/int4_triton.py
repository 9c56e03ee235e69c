"""Linear maps with weights of four bits on CUDA: kernels for few rows and for up to 128.

A multiprocessor has some seven instructions of a thread for each byte that it can read, and a byte
holds two numbers. Few rows therefore multiply fields where they lie: a masked word is a float32
below the normal numbers, as exact as any other, once the row is scaled against its power of two.
More rows go to the tensor cores, for which two fields at a time become bfloat16, in the registers
that the operand is read from: its columns stand in an order in which a thread's part of it is what
the thread's own words hold, and activations are written in that order.
"""

# this file hides the package of its name from the checker
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportPrivateImportUsage=false, reportOperatorIssue=false

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded, silu_times
from .int4 import EACH, Int4
from .int4 import UNIT as TOGETHER

# up to so many rows, of so many inputs, the rows stay in registers (32 of them a thread and row).
# Four of them take longer than 16 on the tensor cores
FEW_ROWS, FEW_INPUTS = 1, 4096
SOME_ROWS = 128
# of an H200; a wrong number costs time, never bits
MULTIPROCESSORS = 132
# what one program of few rows takes at a time: the other programs fill the time better than a
# pipeline of one's own
FEW_TILE_BYTES = 32768
# a part of the inputs shorter than this gains less than the second pass costs
SHORTEST_PART = 1024
# inputs of one step of the tensor cores, for groups of 32; with 128 it is two groups, since a copy
# of the pipeline has at least four bytes, two scales
STEP = 128

UNIT = tl.constexpr(TOGETHER)
# two units, whose columns have an order of their own on the tensor cores
BLOCK = tl.constexpr(2 * TOGETHER)
# a field is 2^-149 times its number; rows times 2^96 keep the products normal, and stay below the
# largest float32 for inputs below 2^31
ROW, BACK = tl.constexpr(2.0**96), tl.constexpr(2.0**53)
# the interpreter multiplies bfloat16 wrongly and knows no assembly
INTERPRETED = tl.constexpr(triton.knobs.runtime.interpret)
# bfloat16 weights on the tensor cores are so much smaller, so that 2^117 times a scale below 2^10
# is finite
SMALLER = tl.constexpr(2.0**16)
# two words a, b and their scales -> for each of 8 fields the pair (a, b) as bfloat16 q * scale. A
# field in the lowest bits is 2^-133 times its number, as bfloat16 below the normal numbers, and one
# four bits higher, up to the smallest normal ones, 16 times that: of 2^117 scale, or 2^113, it is a
# factor, and 8 scale are taken off before the one rounding. (sm_80 has a fused multiply-add for
# pairs, and no multiplication.)
_FIELDS = "\n".join(
    f"and.b32 t, {'lh'[i // 4]}{i % 4 // 2}, {('0x000F000F', '0x00F000F0')[i % 2]};"
    f" fma.rn.bf16x2 ${i}, t, {'ab'[i % 2]}, c;"
    for i in range(8)
)
UNPACK = tl.constexpr(
    "{.reg .b32 l0, l1, h0, h1, t, a, b, c, p, q, r, z; mov.b32 z, 0x80008000;"
    " mov.b32 p, 0x7A007A00; mov.b32 q, 0x78007800; mov.b32 r, 0xB900B900;"
    " fma.rn.bf16x2 a, $10, p, z; fma.rn.bf16x2 b, $10, q, z; fma.rn.bf16x2 c, $10, r, z;"
    " prmt.b32 l0, $8, $9, 0x5410; prmt.b32 h0, $8, $9, 0x7632;"
    f" shr.u32 l1, l0, 8; shr.u32 h1, h0, 8;\n{_FIELDS}\n}}"
)


@dataclass(frozen=True)
class Few4:
    """How few rows are multiplied: `rows` of the weight a tile, `per_sm` programs a multiprocessor
    that walk over the tiles (None: a program for each tile), with `stages` - 1 tiles on their way.
    """

    rows: int
    warps: int = 4
    per_sm: int | None = None
    stages: int = 1


@dataclass(frozen=True)
class Stream4:
    """How tensor cores multiply: a tile of `outputs` x `rows` and the inputs in `splits` parts,
    summed in order by a second pass; `inputs` of them a step.
    """

    outputs: int
    rows: int
    splits: int
    warps: int = 8
    stages: int = 3
    inputs: int = STEP


@triton.jit
def _fields(words, turned, i: tl.constexpr):
    """Field i of words as float32 2^-149 (2^(4 i) for i < 5, else 2^(4 i - 20)) (q + 8); `turned`
    are the words without their lower 20 bits."""
    place: tl.constexpr = 4 * i if i < 5 else 4 * i - 20
    return ((words if i < 5 else turned) & (15 << place)).to(tl.float32, bitcast=True)


@triton.jit
def _few(
    x,
    words,
    scale,
    chosen,
    shared_words,
    shared_scale,
    y,
    stride,
    outputs,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    SLOTS: tl.constexpr,
    SHARED: tl.constexpr,
    GATED: tl.constexpr,
    T: tl.constexpr,
    U: tl.constexpr,
    R: tl.constexpr,
    TURNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """y [T, outputs] of the tiles of a program: its index, then every so many programs further.
    With SLOTS, program_id(1) is a pair: its one row of x, its expert's weight, its row of y; with
    SHARED a token has a slot more, for that weight. GATED: each pair has a row of x, gate then up,
    and silu(gate) * up of it is multiplied."""
    tile, step = tl.program_id(0), tl.num_programs(0)
    wait_for_inputs()
    if SLOTS:
        pair = tl.program_id(1)
        token, slot = pair // (SLOTS + SHARED), pair % (SLOTS + SHARED)
        if slot < SLOTS:
            expert = tl.load(chosen + token * SLOTS + slot).to(tl.int64)
            words += expert * outputs * (INPUTS // 8)
            scale += expert * outputs * (INPUTS // GROUP)
        else:
            words, scale = shared_words, shared_scale
        x += (pair if GATED else token) * stride
        y += pair * outputs
    unit, part = tl.arange(0, U), tl.arange(0, 4)
    is_unit = unit < INPUTS // UNIT
    # a row's inputs of one field, against the place of the field; and what its q + 8 has too much
    rows = ()
    extra = ()
    for t in tl.static_range(T):
        whole = tl.zeros((U, 4), tl.float32)
        for i in tl.static_range(8):
            from_ = x + t * stride + unit[:, None] * UNIT + 4 * i + part[None, :]
            piece = tl.load(from_, mask=is_unit[:, None], other=0.0).to(tl.float32)
            if GATED:
                up = tl.load(from_ + INPUTS, mask=is_unit[:, None], other=0.0).to(tl.float32)
                piece = silu_times(piece, up, x.dtype.element_ty).to(tl.float32)
            whole += piece
            rows = rows + (piece * (ROW / (1 << (4 * i if i < 5 else 4 * i - 20))),)
        extra = extra + (tl.sum(whole, 1) * (8 / BACK),)
    for turn in tl.range(0, TURNS, num_stages=STAGES):
        row = (tile + turn * step) * R + tl.arange(0, R)
        is_row = row < outputs
        # units stand before rows: threads are dealt to the axes from the last to the first, then
        # the middle, and so each keeps its own units of x
        at = row[None, :] * (INPUTS // UNIT) + unit[:, None]
        size_at = row[None, :] * (INPUTS // GROUP) + unit[:, None] // (GROUP // UNIT)
        inside = is_unit[:, None] & is_row[None, :]
        # read once a step, so the cache is left to others
        found = tl.load(
            words + at[:, :, None] * 4 + part[None, None, :],
            mask=inside[:, :, None],
            other=0,
            eviction_policy="evict_first",
        )
        sizes = tl.load(scale + size_at, mask=inside, other=0.0).to(tl.float32)
        turned = (found.to(tl.uint32, bitcast=True) >> 20).to(tl.int32, bitcast=True)
        for t in tl.static_range(T):
            total = _fields(found, turned, 0) * rows[8 * t][:, None, :]
            for i in tl.static_range(1, 8):
                total += _fields(found, turned, i) * rows[8 * t + i][:, None, :]
            sums = (tl.sum(total, 2) - extra[t][:, None]) * sizes
            product = rounded(tl.sum(sums, 0) * BACK, y.dtype.element_ty)
            tl.store(y + t * outputs + row, product, mask=is_row)


@triton.jit
def _numbers(words, sizes):
    """The 8 fields of words [O, W], times sizes [O, W] bfloat16: 8 times [O, W] bfloat16, SMALLER
    than they are."""
    if INTERPRETED:
        found = ()
        for i in tl.static_range(8):
            found = found + ((((words >> (4 * i)) & 15).to(tl.float32) - 8) * (sizes / SMALLER),)
    else:
        kinds: tl.constexpr = (tl.bfloat16,) * 8
        found = tl.inline_asm_elementwise(
            UNPACK, "=&r,=&r,=&r,=&r,=&r,=&r,=&r,=&r,r,r,r", [words, sizes], kinds, True, 2
        )
    return found


@triton.jit
def _step(at, first, WIDTH: tl.constexpr, MORE: tl.constexpr):
    """Columns `first` and on of the WIDTH that rows of pointers [N, S] lead to; zeros after the
    last, if there can be MORE."""
    S: tl.constexpr = at.shape[1]
    if MORE:
        found = tl.load(at + first, mask=(tl.arange(0, S) + first < WIDTH)[None, :], other=0)
    else:
        found = tl.load(at + first)
    return found


@triton.jit
def _input(column, NEAR: tl.constexpr):
    """The input that stands at a column: of two units, the words' fields are the columns' slow
    axis, then come the words of a unit, and the units side by side. NEAR: how many columns of a
    thread's part of the operand are neighbours, 2, or 4: then two fields of a word are, too."""
    place = column % BLOCK
    word, field = place // NEAR % 4, place // (4 * NEAR) * (NEAR // 2) + place % NEAR // 2
    return column - place + place % 2 * UNIT + field * 4 + word


@triton.jit
def _add_product(
    total,
    words,
    scale,
    x,
    k,
    D: tl.constexpr,
    K: tl.constexpr,
    GROUP: tl.constexpr,
    NEAR: tl.constexpr,
):
    """total [N, M], SMALLER than it is, plus inputs k to k + K of a weight times x [M, K]^T; the
    weight are pointers to words [N, K / 8] and to scales [N, K / GROUP]."""
    N: tl.constexpr = words.shape[0]
    sizes = _step(scale, k // GROUP, D // GROUP, D % K != 0)
    sizes = tl.broadcast_to(sizes[:, :, None], (N, K // GROUP, GROUP // 8)).reshape(N, K // 8)
    words = _step(words, k // 8, D // 8, D % K != 0)
    n0, n1, n2, n3, n4, n5, n6, n7 = _numbers(words, sizes)
    even = tl.join(tl.join(n0, n4), tl.join(n2, n6))
    odd = tl.join(tl.join(n1, n5), tl.join(n3, n7))
    # blocks, unit, word, and the three bits of a field
    w = tl.join(even, odd).reshape(N, K // BLOCK, 2, 4, 2, 2, 2)
    if NEAR == 2:
        w = w.permute(0, 1, 4, 5, 6, 3, 2).reshape(N, K)
    else:
        w = w.permute(0, 1, 4, 5, 3, 6, 2).reshape(N, K)
    if INTERPRETED:
        x = x.to(tl.float32)
    return tl.dot(w, x.T, total)


@triton.jit
def _arrange_row(x, out, row, part, D, WIDE, COLUMNS: tl.constexpr, NEAR: tl.constexpr):
    """COLUMNS of a row of out [T, WIDE], part by part, of x's row: in order, zeros for inputs that
    it lacks."""
    column = part * COLUMNS + tl.arange(0, COLUMNS)
    from_ = _input(column, NEAR)
    found = tl.load(x + from_, mask=from_ < D, other=0.0)
    tl.store(out + row.to(tl.int64) * WIDE + column, found, mask=column < WIDE)


@triton.jit
def _arrange(x, out, stride, D, WIDE, COLUMNS: tl.constexpr, NEAR: tl.constexpr):
    """out [T, WIDE] of x [T, D]."""
    row = tl.program_id(0)
    wait_for_inputs()
    own = x + row.to(tl.int64) * stride
    _arrange_row(own, out, row, tl.program_id(1), D, WIDE, COLUMNS, NEAR)


def arranged(x: Tensor, near: int) -> Tensor:
    """x [T, I] with its columns in the order of the tensor cores' operand, of which a thread has
    `near` beside each other: [T, I] in x's dtype, where I is a multiple of 64, or a row has zeros
    up to the next one.
    """
    x = x if x.stride(1) == 1 else x.contiguous()
    rows, inputs = x.shape
    wide = triton.cdiv(inputs, BLOCK.value) * BLOCK.value
    out, block = x.new_empty(rows, wide), min(1024, triton.next_power_of_2(wide))
    grid = (rows, triton.cdiv(wide, block))
    _arrange[grid](x, out, x.stride(0), inputs, wide, block, near, num_warps=4, **OVERLAP)
    return out


def neighbours(rows: int, tokens: int, warps: int) -> int:
    """How many columns of a thread's part of the operand are neighbours, in a program with so many
    rows of a weight and of x: Triton gives Hopper's instruction of four warps two, and that of one
    warp four.
    """
    is_group = rows % 64 == 0 and tokens >= 16 and warps % 4 == 0
    return 2 if is_group and current().capability[0] in (9, 10) else 4


@triton.jit
def _stream(
    x,
    words,
    scale,
    y,
    outputs,
    rows,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    SPLITS: tl.constexpr,
    O: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    NEAR: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A tile of weight [O, K] x^T [K, T] over a part of the inputs, x's columns in order:
    y [SPLITS, rows, outputs]."""
    wait_for_inputs()
    part = tl.program_id(1)
    out = tl.program_id(0) * O + tl.arange(0, O)
    row = tl.arange(0, T)
    is_out, is_row = out < outputs, row < rows
    weight = tl.minimum(out, outputs - 1).to(tl.int64)[:, None]
    x_at = x + row[:, None] * INPUTS + tl.arange(0, K)[None, :]
    w_at = words + weight * (INPUTS // 8) + tl.arange(0, K // 8)[None, :]
    s_at = scale + weight * (INPUTS // GROUP) + tl.arange(0, K // GROUP)[None, :]
    total = tl.zeros((O, T), tl.float32)
    length: tl.constexpr = INPUTS // SPLITS
    for step in tl.range(0, length // K, num_stages=STAGES):
        start = part * length + step * K
        v = tl.load(x_at + start, mask=is_row[:, None], other=0.0)
        total = _add_product(total, w_at, s_at, v, start, INPUTS, K, GROUP, NEAR)
    at = (part * rows + row)[:, None] * outputs + out[None, :]
    tl.store(y + at, total.T * SMALLER, mask=is_row[:, None] & is_out[None, :])


@triton.jit
def _unpack(words, scale, out, units, UNITS: tl.constexpr, B: tl.constexpr):
    """out [units, 32] of words [units, 4], UNITS of which share one of scale; B units a program."""
    unit = tl.program_id(0).to(tl.int64) * B + tl.arange(0, B)
    field, part = tl.arange(0, 8)[None, :, None], tl.arange(0, 4)[None, None, :]
    inside = unit < units
    found = tl.load(words + unit[:, None] * 4 + tl.arange(0, 4), mask=inside[:, None], other=0)
    size = tl.load(scale + unit // UNITS, mask=inside, other=0.0).to(tl.float32)[:, None, None]
    numbers = (((found[:, None, :] >> (4 * field)) & 15) - 8).to(tl.float32) * size
    to = out + unit[:, None, None] * UNIT + 4 * field + part
    tl.store(to, rounded(numbers, out.dtype.element_ty), mask=inside[:, None, None])


def unpacked(weight: Int4, dtype: torch.dtype) -> Tensor:
    """As `weight.unpack(dtype)`, without its float32 numbers on the way."""
    assert weight.words.is_contiguous() and weight.scale.is_contiguous()
    out = torch.empty(weight.shape, dtype=dtype, device=weight.words.device)
    units, block = out.numel() // TOGETHER, 128
    if units:
        _unpack[(triton.cdiv(units, block),)](
            *(weight.words, weight.scale, out, units), UNITS=weight.group // TOGETHER, B=block
        )
    return out


@triton.jit
def _add_parts(parts, y, size, SPLITS: tl.constexpr, O: tl.constexpr):
    """y [size] = the parts [SPLITS, size] in order."""
    at = tl.program_id(0) * O + tl.arange(0, O)
    inside = at < size
    wait_for_inputs()
    total = tl.load(parts + at, mask=inside, other=0.0)
    for part in tl.static_range(1, SPLITS):
        total += tl.load(parts + part * size + at, mask=inside, other=0.0)
    tl.store(y + at, total, mask=inside)


def linear(x: Tensor, weight: Int4, tile: Few4 | Stream4 | None = None) -> Tensor | None:
    """x [T, I] bfloat16 times weight [O, I]^T -> [T, O], or None where no kernel serves the shape.
    `tile` names the kernel and its shape instead of the number of rows.
    """
    if is_exact() and len(x) > SOME_ROWS and choose(SOME_ROWS, *weight.shape, weight.group):
        parts = [linear(part, weight) for part in x.split(SOME_ROWS)]
        return torch.cat([part for part in parts if part is not None])
    tile = tile or choose(len(x), *weight.shape, weight.group)
    if tile is None:
        return None
    if not len(x):
        return x.new_empty(0, weight.shape[0])
    return few(x, weight, tile) if isinstance(tile, Few4) else stream(x, weight, tile)


def choose(rows: int, outputs: int, inputs: int, group: int = TOGETHER) -> Few4 | Stream4 | None:
    """The kernel for so many rows of a weight of that shape and group, if there is one."""
    if rows <= FEW_ROWS and inputs <= FEW_INPUTS and not is_exact():
        return Few4(max(2 * FEW_TILE_BYTES // triton.next_power_of_2(inputs), 4))
    step = max(STEP, 2 * group)
    if rows > SOME_ROWS or inputs % step:
        return None
    tall = max(triton.next_power_of_2(rows), 16)
    # an input of a row has four times the bytes of a number, so more outputs share more rows
    wide = 64 if tall <= 16 else 128
    stages = current().stages(step * (2 * tall + wide * 9 // 16), 4)
    return Stream4(wide, tall, splits(outputs, inputs, step), wide // 16, stages, step)


def splits(outputs: int, inputs: int, step: int = STEP) -> int:
    """Into how many parts of whole steps the inputs of a weight are cut: up to two programs a
    multiprocessor if 64 outputs make one, whatever the rows.
    """
    tiles, parts = triton.cdiv(outputs, 64), 1
    while (
        2 * parts * tiles <= 2 * MULTIPROCESSORS
        and inputs % (2 * parts * step) == 0
        and inputs >= 2 * parts * SHORTEST_PART
    ):
        parts *= 2
    return parts


def few(
    x: Tensor,
    weight: Int4,
    tile: Few4,
    chosen: Tensor | None = None,
    shared: Int4 | None = None,
    is_gated: bool = False,
) -> Tensor:
    """x [T, I] times weight [O, I]^T -> [T, O] in x's dtype. With chosen [T, k] int64 the weight is
    a stack [E, O, I], and each row meets k of them, and then `shared`: [T, k or k + 1, O].
    is_gated: each of these has a row of its own in x [T * k or T * (k + 1), 2 I], whose `swiglu` is
    multiplied.
    """
    *_, outputs, inputs = weight.shape
    assert inputs % TOGETHER == 0
    last = shared or weight
    assert all(w.words.is_contiguous() and w.scale.is_contiguous() for w in (weight, last))
    assert last.group == weight.group
    # offsets inside one matrix are 32 bits wide
    assert outputs * inputs // EACH < 2**31
    x = x if x.stride(1) == 1 else x.contiguous()
    tokens, slots = (len(x), 0) if chosen is None else chosen.shape
    each = slots + (shared is not None)
    y = x.new_empty(tokens, *([each] if each else []), outputs)
    tiles = triton.cdiv(outputs, tile.rows)
    programs = min(tiles, MULTIPROCESSORS * tile.per_sm) if tile.per_sm else tiles
    _few[(programs, tokens * each or 1)](
        *(x, weight.words, weight.scale, x if chosen is None else chosen.contiguous()),
        *(last.words, last.scale, y, x.stride(0), outputs),
        INPUTS=inputs,
        GROUP=weight.group,
        SLOTS=slots,
        SHARED=each - slots,
        GATED=is_gated,
        T=1 if slots else tokens,
        U=triton.next_power_of_2(inputs // TOGETHER),
        R=tile.rows,
        TURNS=triton.cdiv(tiles, programs),
        STAGES=tile.stages,
        num_warps=tile.warps,
        **OVERLAP,
    )
    return y


def stream(x: Tensor, weight: Int4, tile: Stream4) -> Tensor:
    """x [T, I], of at most `tile.rows` rows, times weight [O, I]^T -> [T, O] in x's dtype."""
    outputs, inputs = weight.shape
    assert weight.words.is_contiguous() and weight.scale.is_contiguous()
    assert len(x) <= tile.rows and inputs % (tile.splits * tile.inputs) == 0
    y = x.new_empty(len(x), outputs)
    shape = (tile.splits, len(x), outputs)
    found = y if tile.splits == 1 else x.new_empty(shape, dtype=torch.float32)
    near = neighbours(tile.outputs, tile.rows, tile.warps)
    _stream[(triton.cdiv(outputs, tile.outputs), tile.splits)](
        *(arranged(x, near), weight.words, weight.scale, found, outputs, len(x)),
        INPUTS=inputs,
        GROUP=weight.group,
        SPLITS=tile.splits,
        O=tile.outputs,
        T=tile.rows,
        K=tile.inputs,
        NEAR=near,
        STAGES=tile.stages,
        num_warps=tile.warps,
        **OVERLAP,
    )
    if tile.splits > 1:
        block = 1024
        grid = (triton.cdiv(y.numel(), block),)
        _add_parts[grid](found, y, y.numel(), SPLITS=tile.splits, O=block, **OVERLAP)
    return y
