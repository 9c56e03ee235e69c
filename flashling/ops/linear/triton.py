"""Linear maps with e4m3 and int8 weights on CUDA: three kernels for few, some and many rows.

Few rows (decode) are bound by reading the weight: one kernel quantises the rows in registers and
multiplies without tensor cores. Some rows stream the weight through tensor cores; many go to the
library's matrix product, or to the same kernel with square tiles where that does not fit. In exact
mode any number of rows streams, in parts that follow the shape of the weight alone. Rows that meet
int8 stay as they are, and any number of them streams; its numbers widen in registers.
"""

# this file hides the package of its name from the checker
# pyright: reportAttributeAccessIssue=false, reportIndexIssue=false, reportCallIssue=false
# pyright: reportArgumentType=false, reportAssignmentType=false, reportGeneralTypeIssues=false
# pyright: reportPrivateImportUsage=false, reportReturnType=false

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
import triton
import triton.language as tl
from torch import Tensor

from ..device import current
from ..exact import CUDA_ROWS, is_exact
from ..exact import product as plain_product
from ..overlap import OVERLAP, wait_for_inputs
from ..rounding import rounded
from ..tuned import tuned
from . import BLOCK, FLOAT8, Fp8, Weight
from . import linear as linear_op
from .int4 import Int4
from .int4_triton import Few4, Stream4, unpacked
from .int4_triton import linear as int4_linear
from .int8 import Int8
from .quantise_triton import INTERPRETED, _padded, _quantised, quantise

# up to so many rows, of so many inputs, the rows stay in registers (32 of them a thread and row).
# Four of them already take longer than 16 on the tensor cores
FEW_ROWS, FEW_INPUTS = 1, 4096
# up to so many rows one column of tiles holds them all, so that the weight is read once
SOME_ROWS = 128
# what one program of few rows takes at a time: two such in flight for each of two programs hide
# the latency of a multiprocessor's share of the bandwidth (about 32 KiB) twice
FEW_TILE_BYTES = 16384
# inputs of one step of the tensor cores, and of one scale of a weight in blocks
STEP = BLOCK
# a part of the inputs shorter than this gains less than the second pass costs
SHORTEST_PART = 1024
# tiles of rows that share a tile of outputs before the next, for the cache
TOGETHER = 8

# four int8 numbers, 128 higher and so unsigned, set into 2^23 as float32, from which that is taken
WIDEN = tl.constexpr(
    "{.reg .b32 u; xor.b32 u, $4, 0x80808080;"
    + "".join(f"prmt.b32 ${i}, u, 0x4B000000, 0x754{i};" for i in range(4))
    + "".join(f"sub.f32 ${i}, ${i}, 0f4B000080;" for i in range(4))
    + "}"
)


@dataclass(frozen=True)
class Few:
    """How few rows are multiplied: `rows` of the weight a tile, `per_sm` programs a multiprocessor
    that walk over the tiles (None: a program for each tile), `ahead` tiles in registers before the
    rows are there, and then `stages` - 1 at most in shared memory (1 stage: none, other programs
    fill the time). The bits of a row depend on `rows` and `warps` alone.
    """

    rows: int
    warps: int = 4
    per_sm: int | None = 2
    ahead: int = 1
    stages: int = 4


@dataclass(frozen=True)
class Stream:
    """How tensor cores multiply: a tile of `outputs` x `rows` and the inputs in `splits` parts,
    summed in order by a second pass, or joined by the same program. Swapped, the outputs are the
    wide side of the instruction (64 at least), which leaves the rows free to be 16.
    """

    outputs: int
    rows: int
    splits: int
    warps: int = 8
    stages: int = 4
    is_swapped: bool = True
    is_joined: bool = False


# many rows of a weight that is not in whole blocks; a thread holds two rows' scales this way round
MANY = Stream(128, 128, 1, is_swapped=False)
# stages of the same in exact mode where the inputs are one part
STAGES_ALONE = 6


@triton.jit
def _few_tile(
    numbers,
    scale,
    tile,
    outputs,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKED: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
    R: tl.constexpr,
):
    """Tile `tile` of the weight as stored [G, R, W] and its scales [G, R]; zeros past the end."""
    row = tile * R + tl.arange(0, R)
    group, column = tl.arange(0, G), tl.arange(0, W)
    inside = (group < INPUTS // GROUP)[:, None] & (row < outputs)[None, :]
    at = row[None, :] * INPUTS + group[:, None] * GROUP
    # groups stand before rows: threads are dealt to the axes from the last to the first, then the
    # middle, and so each keeps its own part of x. Read once a step, so the cache is left to others
    block = tl.load(
        numbers + at[:, :, None] + column[None, None, :],
        mask=inside[:, :, None] & (column < GROUP)[None, None, :],
        other=0.0,
        eviction_policy="evict_first",
    )
    # a scale for each 128 rows and group, or for each row (then there is one group)
    across: tl.constexpr = INPUTS // GROUP
    tall: tl.constexpr = GROUP if BLOCKED else 1
    at = (row // tall)[None, :] * across + group[:, None]
    return block, tl.load(scale + at, mask=inside, other=0.0)


@triton.jit
def _wide(x):
    """Numbers of a weight as float32: a conversion of integers takes longer than these steps."""
    if INTERPRETED or x.dtype != tl.int8:
        x = x.to(tl.float32)
    else:
        x = tl.inline_asm_elementwise(WIDEN, "=&f,=&f,=&f,=&f,r", [x], tl.float32, True, 4)
    return x


@triton.jit
def _few_products(weights, rows, row_sizes, y, tile, outputs, T: tl.constexpr):
    """Store y [T, R] of a tile: sums per group, times the row's scale, times the weight's."""
    block, sizes = weights
    at = tile * block.shape[1] + tl.arange(0, block.shape[1])
    block = _wide(block)
    for t in tl.static_range(T):
        found = tl.sum(block * rows[t][:, None, :], 2) * row_sizes[t][:, None] * sizes
        tl.store(y + t * outputs + at, tl.sum(found, 0), mask=at < outputs)


@triton.jit
def _few(
    x,
    numbers,
    scale,
    y,
    stride,
    outputs,
    INPUTS: tl.constexpr,
    GROUP: tl.constexpr,
    BLOCKED: tl.constexpr,
    QUANTISED: tl.constexpr,
    T: tl.constexpr,
    G: tl.constexpr,
    W: tl.constexpr,
    R: tl.constexpr,
    AHEAD: tl.constexpr,
    TURNS: tl.constexpr,
    STAGES: tl.constexpr,
):
    """T rows times the tiles of a program: its index, then every so many programs further."""
    tile, step = tl.program_id(0), tl.num_programs(0)
    # the first tiles stand outside the loop: they are on their way while x is quantised, and a tile
    # carried from round to round would be taken apart into bytes, a register each
    first = ()
    for turn in tl.static_range(AHEAD):
        far = tile + turn * step
        first = first + (_few_tile(numbers, scale, far, outputs, INPUTS, GROUP, BLOCKED, G, W, R),)
    wait_for_inputs()
    group, column = tl.arange(0, G), tl.arange(0, W)
    inside = (group < INPUTS // GROUP)[:, None] & (column < GROUP)[None, :]
    rows = ()
    row_sizes = ()
    for t in tl.static_range(T):
        at = t * stride + group[:, None] * GROUP + column[None, :]
        found = tl.load(x + at, mask=inside, other=0.0).to(tl.float32)
        if QUANTISED:
            found, size = _quantised(found)
        else:
            size = tl.full((G,), 1.0, tl.float32)
        rows = rows + (found.to(tl.float32),)
        row_sizes = row_sizes + (size,)
    for turn in tl.static_range(AHEAD):
        _few_products(first[turn], rows, row_sizes, y, tile + turn * step, outputs, T)
    for turn in tl.range(AHEAD, TURNS, num_stages=STAGES):
        far = tile + turn * step
        block = _few_tile(numbers, scale, far, outputs, INPUTS, GROUP, BLOCKED, G, W, R)
        _few_products(block, rows, row_sizes, y, far, outputs, T)


@triton.jit
def _part(
    part,
    weights,
    inputs,
    INPUTS: tl.constexpr,
    BLOCKED: tl.constexpr,
    SPLITS: tl.constexpr,
    O: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    IS_SWAPPED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """The sums of a tile over a part of the inputs, [O, T] if swapped, else [T, O]. weights: where
    rows of a weight lie, which there are, and their first block's scales; inputs: where rows of x
    lie, which there are, and their scales.
    """
    w_at, is_out, scale = weights
    v_at, is_row, x_scale = inputs
    total = tl.zeros((O, T) if IS_SWAPPED else (T, O), tl.float32)
    length: tl.constexpr = INPUTS // SPLITS
    for step in tl.range(0, (length + K - 1) // K, num_stages=STAGES):
        start = part * length + step * K
        k = start + tl.arange(0, K)[None, :]
        if length % K == 0:
            w = tl.load(w_at + k, mask=is_out[:, None], other=0.0)
            v = tl.load(v_at + k, mask=is_row[:, None], other=0.0)
        else:
            w = tl.load(w_at + k, mask=is_out[:, None] & (k < INPUTS), other=0.0)
            v = tl.load(v_at + k, mask=is_row[:, None] & (k < INPUTS), other=0.0)
        if INTERPRETED:
            w, v = w.to(tl.float32), v.to(tl.float32)
        elif w.dtype == tl.int8:
            w = w.to(v.dtype)
        a, b = (w, v.T) if IS_SWAPPED else (v, w.T)
        if BLOCKED:
            group = start // K
            sizes = tl.load(x_scale + group, mask=is_row, other=0.0)
            sizes *= tl.load(scale + group)
            total += tl.dot(a, b) * (sizes[None, :] if IS_SWAPPED else sizes[:, None])
        else:
            # a tensor core keeps about 14 bits of a sum: after K products it is added in float32
            total = tl.dot(a, b, total, max_num_imprecise_acc=K)
    return total


@triton.jit(do_not_specialize=["rows"])
def _stream(
    numbers,
    scale,
    x,
    x_scale,
    y,
    outputs,
    rows,
    INPUTS: tl.constexpr,
    BLOCKED: tl.constexpr,
    SPLITS: tl.constexpr,
    O: tl.constexpr,
    T: tl.constexpr,
    K: tl.constexpr,
    IS_SWAPPED: tl.constexpr,
    TOGETHER: tl.constexpr,
    IS_JOINED: tl.constexpr,
    STAGES: tl.constexpr,
):
    """A tile of x [T, K] weight^T [K, O] over a part of the inputs, or if joined over all of them:
    y [rows, outputs] finished, or with several parts apart y [SPLITS, rows, outputs] float32
    without the scales of whole rows. Without x_scale x is bfloat16 and the weight int8.
    """
    part = tl.program_id(1)
    across, down = tl.cdiv(outputs, O), tl.cdiv(rows, T)
    # a few tiles of rows take turns at a tile of outputs before the next is read
    place = tl.program_id(0)
    first = place // (across * TOGETHER) * TOGETHER
    size = tl.minimum(down - first, TOGETHER)
    place = place % (across * TOGETHER)
    tile = place // size
    out = tile * O + tl.arange(0, O)
    row = (first + place % size) * T + tl.arange(0, T)
    is_out, is_row = out < outputs, row < rows
    w_at = numbers + out.to(tl.int64)[:, None] * INPUTS
    v_at = x + row.to(tl.int64)[:, None] * INPUTS
    if BLOCKED:
        weights = w_at, is_out, scale + tile * O // K * (INPUTS // K)
        inputs = v_at, is_row, x_scale + row * (INPUTS // K)
    else:
        weights, inputs = (w_at, is_out, scale), (v_at, is_row, x_scale)
    wait_for_inputs()
    total = _part(part, weights, inputs, INPUTS, BLOCKED, SPLITS, O, T, K, IS_SWAPPED, STAGES)
    if IS_JOINED:
        for other in range(1, SPLITS):
            total += _part(
                other, weights, inputs, INPUTS, BLOCKED, SPLITS, O, T, K, IS_SWAPPED, STAGES
            )
    total = total.T if IS_SWAPPED else total
    if (SPLITS == 1 or IS_JOINED) and not BLOCKED:
        if x_scale is not None:
            total *= tl.load(x_scale + row, mask=is_row, other=0.0)[:, None]
        total *= tl.load(scale + out, mask=is_out, other=0.0)[None, :]
    at = (part * rows + row).to(tl.int64)[:, None] * outputs + out[None, :]
    total = rounded(total, y.dtype.element_ty)
    tl.store(y + at, total, mask=is_row[:, None] & is_out[None, :])


@triton.jit(do_not_specialize=["rows"])
def _add_parts(
    parts,
    scale,
    x_scale,
    y,
    outputs,
    rows,
    BLOCKED: tl.constexpr,
    SPLITS: tl.constexpr,
    O: tl.constexpr,
):
    """y [rows, outputs] = the parts [SPLITS, rows, outputs] in order, then scaled."""
    row = tl.program_id(0)
    out = tl.program_id(1) * O + tl.arange(0, O)
    is_out = out < outputs
    at = row * outputs + out
    wait_for_inputs()
    total = tl.load(parts + at, mask=is_out, other=0.0)
    for part in tl.static_range(1, SPLITS):
        total += tl.load(parts + part * rows * outputs + at, mask=is_out, other=0.0)
    if not BLOCKED:
        if x_scale is not None:
            total *= tl.load(x_scale + row)
        total *= tl.load(scale + out, mask=is_out, other=0.0)
    tl.store(y + at, rounded(total, y.dtype.element_ty), mask=is_out)


def linear(
    x: Tensor, weight: Weight, *, tile: Few | Stream | Few4 | Stream4 | None = None
) -> Tensor:
    """As the op. `tile` names the kernel and its shape instead of the number of rows."""
    if isinstance(weight, Tensor):
        return plain_product(x, weight, CUDA_ROWS)
    if x.dtype != torch.bfloat16 or (torch.is_grad_enabled() and x.requires_grad):
        return vars(linear_op)["body"](x, weight)
    if isinstance(weight, Fp8) and not current().has_e4m3:
        return vars(linear_op)["body"](x, weight)
    if isinstance(weight, Int4):
        assert not isinstance(tile, (Few, Stream))
        found = int4_linear(x, weight, tile)
        # more rows than a tile of the tensor cores: unpacking once is little beside the product
        if found is None:
            return plain_product(x, unpacked(weight, x.dtype), CUDA_ROWS)
        return found
    assert not isinstance(tile, (Few4, Stream4))
    tile = tile or choose(len(x), weight)
    if not len(x):
        return x.new_empty(0, weight.shape[0])
    if isinstance(tile, Few):
        return few(x, weight, tile)
    if isinstance(weight, Int8):
        assert tile is not None
        return stream(x.contiguous(), None, weight, tile, x.dtype)
    return product(*quantise(x, weight.group), weight, x.dtype, tile)


def product(
    numbers: Tensor, scale: Tensor, weight: Fp8, dtype: torch.dtype, tile: Stream | None = None
) -> Tensor:
    """Quantised rows (numbers [T, I], scale [T] or [T, I / 128]) times an e4m3 weight [O, I]^T ->
    [T, O] in `dtype`, on the tensor cores; by `tile`, else as suits the number of rows.
    """
    tile = tile or on_tensor_cores(len(numbers), weight)
    if tile is None:
        return library(numbers, scale, weight)
    return stream(numbers, scale, weight, tile, dtype)


def choose(rows: int, weight: Fp8 | Int8) -> Few | Stream | None:
    """The kernel for so many rows of a weight; None is the library's."""
    outputs, inputs = weight.shape
    if rows <= FEW_ROWS and inputs <= FEW_INPUTS and not is_exact():
        if found := tuned("few", shape_of(weight), rows, Few):
            return found
        tall = min(FEW_TILE_BYTES // triton.next_power_of_2(inputs), BLOCK)
        # four programs of one tile each fit a multiprocessor and have it all on its way at once
        is_small = triton.cdiv(outputs, tall) <= 4 * current().multiprocessors
        # the other programs of a multiprocessor fill the time better than a pipeline of one's own
        return Few(tall, per_sm=None if is_small else 4, stages=1)
    return on_tensor_cores(rows, weight)


def shape_of(weight: Fp8 | Int8) -> str:
    """A weight as the tuned tiles name it."""
    kind = " int8" if isinstance(weight, Int8) else " blocks" if weight.group else ""
    return "x".join(map(str, weight.shape)) + kind


def on_tensor_cores(rows: int, weight: Fp8 | Int8) -> Stream | None:
    """The tile for so many rows of a weight; None is the library's."""
    outputs, inputs = weight.shape
    parts, tall = splits(outputs, inputs), max(triton.next_power_of_2(rows), 16)
    # bytes of an input of a row
    size = 2 if isinstance(weight, Int8) else 1
    if rows > SOME_ROWS:
        step = (MANY.outputs + size * MANY.rows) * STEP
        most = current().stages(step, MANY.stages)
        if isinstance(weight, Int8):
            return replace(MANY, splits=parts, stages=most, is_swapped=True)
        if is_exact() and parts == 1:
            return replace(MANY, stages=current().stages(step, STAGES_ALONE), is_swapped=True)
        if is_exact():
            # where the tiles fill the GPU by themselves the parts need not be written; scales by
            # block leave no registers for a second sum
            tiles = triton.cdiv(outputs, MANY.outputs) * triton.cdiv(rows, MANY.rows)
            is_joined = tiles >= current().multiprocessors and weight.group is None
            return replace(MANY, splits=parts, stages=most, is_swapped=True, is_joined=is_joined)
        if weight.group is None:
            fits = outputs % 16 == inputs % 16 == 0
        else:
            # it reads the scales of a row of blocks in fours
            fits = outputs % BLOCK == inputs % (4 * BLOCK) == 0 and _has_blocks()
        return None if fits else replace(MANY, stages=most)
    # a tuned tile may cut the inputs otherwise
    if not is_exact() and (found := tuned("stream", shape_of(weight), rows, Stream)):
        return found
    # each tile of outputs reads all rows from the cache again: with many rows, twice as wide
    # tiles, if they still make one program for nearly every multiprocessor and not more
    gpu, programs = current(), triton.cdiv(outputs, 128) * parts
    near = 3 * gpu.multiprocessors // 4 <= programs <= gpu.multiprocessors
    wide = 128 if rows > 32 and near else 64
    # as many stages as let all programs run at once
    programs = triton.cdiv(outputs, wide) * parts
    together = min(triton.cdiv(programs, gpu.multiprocessors), 3)
    stages = gpu.stages((wide + size * tall) * STEP, 6, together)
    return Stream(wide, tall, parts, warps=wide // 16, stages=stages)


def _has_blocks() -> bool:
    """Whether the library multiplies with scales by block: on Hopper it does."""
    return current().capability == (9, 0)


def splits(outputs: int, inputs: int) -> int:
    """Into how many parts the inputs of a weight are cut: up to two programs a multiprocessor if
    64 outputs make one. It asks nothing of the rows, so that a row has the same bits in every
    company of up to 128.
    """
    tiles, parts = triton.cdiv(outputs, 64), 1
    while (
        2 * parts * tiles <= 2 * current().multiprocessors
        and inputs % (2 * parts * STEP) == 0
        and inputs >= 2 * parts * SHORTEST_PART
    ):
        parts *= 2
    return parts


def few(x: Tensor, weight: Fp8 | Int8, tile: Few) -> Tensor:
    """x [T, I] times a weight [O, I]^T -> [T, O] in x's dtype; for e4m3 quantised on the way."""
    outputs, inputs = weight.shape
    assert weight.numbers.numel() < 2**31 and weight.numbers.is_contiguous()
    x = x if x.stride(1) == 1 else x.contiguous()
    width = weight.group or inputs
    # a group of rows that share a scale must hold whole tiles
    assert weight.group is None or BLOCK % tile.rows == 0
    across, wide = _padded(inputs, width)
    y = x.new_empty(len(x), outputs)
    tiles = triton.cdiv(outputs, tile.rows)
    programs = min(tiles, current().multiprocessors * tile.per_sm) if tile.per_sm else tiles
    _few[(programs,)](
        *(x, weight.numbers, weight.scale, y, x.stride(0), outputs),
        INPUTS=inputs,
        GROUP=width,
        BLOCKED=weight.group is not None,
        QUANTISED=isinstance(weight, Fp8),
        T=len(x),
        G=across,
        W=wide,
        R=tile.rows,
        AHEAD=min(tile.ahead, triton.cdiv(tiles, programs)),
        TURNS=triton.cdiv(tiles, programs),
        STAGES=tile.stages,
        num_warps=tile.warps,
        **OVERLAP,
    )
    return y


def stream(
    numbers: Tensor,
    scale: Tensor | None,
    weight: Fp8 | Int8,
    tile: Stream,
    dtype: torch.dtype,
) -> Tensor:
    """As `product`, by the kernel with a tile; for int8 `numbers` are rows as they are."""
    outputs, inputs = weight.shape
    rows, parts, is_blocked = len(numbers), tile.splits, weight.group is not None
    assert numbers.is_contiguous() and weight.numbers.is_contiguous()
    assert scale is None or scale.is_contiguous()
    assert parts == 1 or inputs % (parts * STEP) == 0
    assert not is_blocked or BLOCK % tile.outputs == 0
    y = torch.empty(rows, outputs, dtype=dtype, device=numbers.device)
    apart = 1 if tile.is_joined else parts
    shape = (apart, rows, outputs)
    # offsets of the second pass are 32 bits wide
    assert apart == 1 or apart * rows * outputs < 2**31
    found = y if apart == 1 else torch.empty(shape, dtype=torch.float32, device=y.device)
    programs = triton.cdiv(outputs, tile.outputs) * triton.cdiv(rows, tile.rows)
    _stream[(programs, apart)](
        *(weight.numbers, weight.scale, numbers, scale, found, outputs, rows),
        INPUTS=inputs,
        BLOCKED=is_blocked,
        SPLITS=parts,
        O=tile.outputs,
        T=tile.rows,
        K=STEP,
        IS_SWAPPED=tile.is_swapped,
        TOGETHER=TOGETHER,
        IS_JOINED=tile.is_joined and parts > 1,
        STAGES=tile.stages,
        num_warps=tile.warps,
        **OVERLAP,
    )
    if apart > 1:
        block = 1024
        _add_parts[(rows, triton.cdiv(outputs, block))](
            *(found, weight.scale, scale, y, outputs, rows),
            BLOCKED=is_blocked,
            SPLITS=parts,
            O=block,
            **OVERLAP,
        )
    return y


def library(numbers: Tensor, scale: Tensor, weight: Fp8) -> Tensor:
    """Quantised rows (numbers [T, I], scale [T] or [T, I / 128]) times an e4m3 weight [O, I]^T ->
    [T, O] bfloat16 by the framework's own product.
    """
    rows, by_row, by_output = len(numbers), scale[:, None], weight.scale[None, :]
    if weight.group is not None:
        # it wants rows in sixteens, and the scales of a group side by side
        more = -rows % 16
        if more:
            numbers = F.pad(numbers.view(torch.uint8), (0, 0, 0, more)).view(FLOAT8)
            scale = F.pad(scale, (0, 0, 0, more))
        by_row, by_output = scale.t().contiguous().t(), weight.scale.t()
    return torch._scaled_mm(
        numbers,
        weight.numbers.t(),
        scale_a=by_row,
        scale_b=by_output,
        out_dtype=torch.bfloat16,
        use_fast_accum=weight.group is None,
    )[:rows]
