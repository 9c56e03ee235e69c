"""One row times an e4m3 weight on Hopper, with as much of the weight on its way as fits.

Every multiprocessor has one program: a warp copies the weight, 8 rows at a time, into a ring of
192 KiB; two groups of eight make the row, quantise it and multiply. The copies begin before the
kernel before has ended, so that the weight comes while norms, rotations and states are being made.
What makes the row (a residual sum and its norm; a gated norm) is done by each program anew: its
inputs are small, and the launch that it saves is not. Written in Gluon, which names barriers and
copies.
"""

# a kernel's language has no types, and a launch takes more than its parameters
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false
# pyright: reportOperatorIssue=false, reportAssignmentType=false

from __future__ import annotations

import torch
from torch import Tensor
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.nvidia.hopper import fence_async_shared, mbarrier, tma
from triton.experimental.gluon.nvidia.hopper import TensorDescriptor

from ..device import current
from ..overlap import OVERLAP
from . import BLOCK, Fp8
from . import TINY as SMALLEST
from . import TOP as LARGEST

# inputs, rows of the weight that come at once, and how many such are on their way
INPUTS, ROWS, STAGES = 4096, 8, 6
# warps of each of the two groups that multiply; registers of their threads, of one that copies, and
# of all in the mean: others' programs are to fit beside
WARPS = 8
MULTIPLIES, COPIES = gl.constexpr(88), gl.constexpr(24)
MEAN = 80
TOP, TINY = gl.constexpr(LARGEST), gl.constexpr(SMALLEST)
# what the row is made of
PLAIN, ADD_NORM, GATED = gl.constexpr(0), gl.constexpr(1), gl.constexpr(2)


def fits(rows: int, weight: Fp8) -> bool:
    """Whether the kernel takes so many rows of a weight."""
    outputs, inputs = weight.shape
    is_whole = inputs == INPUTS and outputs % (BLOCK if weight.group else ROWS) == 0
    return rows == 1 and is_whole


def plain(x: Tensor, weight: Fp8) -> Tensor:
    """x [1, 4096] bfloat16 times weight [O, 4096]^T -> [1, O]."""
    return _run(weight, PLAIN, x, x, x, x, 0.0)


def add_norm(
    x: Tensor, delta: Tensor, norm: Tensor, weight: Fp8, eps: float
) -> tuple[Tensor, Tensor]:
    """As `add_norm_linear` for one row."""
    total = torch.empty_like(x)
    return total, _run(weight, ADD_NORM, x, delta, norm, total, eps)


def gated(x: Tensor, norm: Tensor, gate: Tensor, weight: Fp8, eps: float) -> Tensor:
    """As `gated_linear` for one row x [1, 4096] float32 and four groups."""
    return _run(weight, GATED, x, gate, norm, gate, eps)


def _run(
    weight: Fp8,
    made: gl.constexpr,
    x: Tensor,
    other: Tensor,
    norm: Tensor,
    total: Tensor,
    eps: float,
) -> Tensor:
    outputs = weight.shape[0]
    y = torch.empty(1, outputs, dtype=torch.bfloat16, device=x.device)
    parts = weight.numbers.view(-1, BLOCK)
    shape = [ROWS * INPUTS // BLOCK, BLOCK]
    layout = gl.NVMMASharedLayout.get_default_for(shape, gl.float8e4nv)
    _stream_row[(min(current().multiprocessors, outputs // ROWS),)](
        TensorDescriptor.from_tensor(parts, shape, layout),
        *(weight.scale, x, other, norm, total, y, outputs, eps),
        ROWS=ROWS,
        STAGES=STAGES,
        MADE=made.value,
        BLOCKED=weight.group is not None,
        num_warps=WARPS,
        maxnreg=MEAN,
        **OVERLAP,
    )
    return y


@gluon.jit
def _wait_for_inputs():
    """Until all kernels before have ended."""
    gl.inline_asm_elementwise(
        "griddepcontrol.wait; // dummy $0", "=r", [], dtype=gl.int32, is_pure=False, pack=1
    )


@gluon.jit
def _start_next():
    """Let the next kernel begin to ask for its weights."""
    gl.inline_asm_elementwise(
        "griddepcontrol.launch_dependents; // dummy $0",
        "=r",
        [],
        dtype=gl.int32,
        is_pure=False,
        pack=1,
    )


@gluon.jit
def _fetch(w, buffers, full, empty, outputs):
    """The tiles of a program: its index, then every so many programs further."""
    SHAPE: gl.constexpr = w.block_type.shape
    STAGES: gl.constexpr = buffers.type.shape[0]
    ROWS: gl.constexpr = 8
    step = 0
    for tile in range(gl.program_id(0), outputs // ROWS, gl.num_programs(0)):
        i = step % STAGES
        mbarrier.wait(empty.index(i), (step // STAGES & 1) ^ 1)
        mbarrier.expect(full.index(i), SHAPE[0] * SHAPE[1])
        tma.async_copy_global_to_shared(w, [tile * SHAPE[0], 0], full.index(i), buffers.index(i))
        step += 1  # noqa: SIM113


@gluon.jit
def _all(x):
    """The sum of a tile [G, 128]."""
    return gl.sum(gl.sum(x, 1), 0)


@gluon.jit
def _row(
    x,
    other,
    norm,
    total,
    eps,
    MADE: gl.constexpr,
    WHICH: gl.constexpr,
    LAYOUT: gl.constexpr,
):
    """The row [32, 128] as its parts make it, in float32 and rounded to bfloat16."""
    TILE: gl.constexpr = gl.SliceLayout(0, LAYOUT)
    group = gl.arange(0, 32, layout=gl.SliceLayout(1, TILE))
    at = group[:, None] * 128 + gl.arange(0, 128, layout=gl.SliceLayout(0, TILE))[None, :]
    if MADE == 0:
        _wait_for_inputs()
        y = gl.load(x + at).to(gl.float32)
    elif MADE == 1:
        w = gl.load(norm + at).to(gl.float32)
        _wait_for_inputs()
        f = gl.load(x + at).to(gl.float32) + gl.load(other + at).to(gl.float32)
        kept = f.to(gl.bfloat16)
        if gl.program_id(0) == 0 and WHICH == 0:
            gl.store(total + at, kept)
        f = kept.to(gl.float32)
        unit = gl.rsqrt(_all(f * f) / 4096 + eps)
        y = ((f * unit).to(gl.bfloat16).to(gl.float32) * w).to(gl.bfloat16).to(gl.float32)
    else:
        w = gl.load(norm + at).to(gl.float32)
        _wait_for_inputs()
        f = gl.load(x + at).to(gl.float32)
        g = gl.load(other + at).to(gl.float32)
        # four groups of eight times 128
        square = gl.sum(f * f, 1)
        unit = gl.zeros_like(square)
        for i in gl.static_range(4):
            own = (group // 8) == i
            mean = gl.sum(gl.where(own, square, 0.0), 0) / 1024
            unit = gl.where(own, gl.rsqrt(mean + eps), unit)
        y = f * unit[:, None] * w / (1.0 + gl.exp(-g))
        y = y.to(gl.bfloat16).to(gl.float32)
    return y


@gluon.jit
def _multiply(
    buffers,
    full,
    empty,
    tensors,
    outputs,
    eps,
    ROWS: gl.constexpr,
    MADE: gl.constexpr,
    BLOCKED: gl.constexpr,
    WHICH: gl.constexpr,
):
    """Make the row, quantise it, and multiply it by every second tile: while one group of warps
    waits for the sums of its threads, the other multiplies."""
    scale, x, other, norm, total, y = tensors
    STAGES: gl.constexpr = buffers.type.shape[0]
    # 16 columns of a group are a thread's, 4 groups a warp's, all rows everyone's
    LAYOUT: gl.constexpr = gl.BlockedLayout([1, 1, 16], [1, 4, 8], [1, 8, 1], [2, 1, 0])
    FLAT: gl.constexpr = gl.BlockedLayout([1, 16], [4, 8], [8, 1], [1, 0])
    TILE: gl.constexpr = gl.SliceLayout(0, LAYOUT)
    OUT: gl.constexpr = gl.SliceLayout(1, gl.SliceLayout(2, LAYOUT))
    # all that comes next may come: it asks for what is read only, and then waits for this kernel
    _start_next()
    f = _row(x, other, norm, total, eps, MADE, WHICH, LAYOUT)
    size = gl.max(gl.abs(f), 1)
    if not BLOCKED:
        size = gl.full_like(size, gl.max(size, 0))
    size = gl.maximum(gl.div_rn(size, gl.full_like(size, TOP)), TINY)
    inverse = (1.0 / size)[:, None]
    q = f * inverse
    q = gl.fma(gl.fma(-q, size[:, None] + gl.zeros_like(q), f), inverse + gl.zeros_like(q), q)
    q = q.to(gl.float8e4nv).to(gl.float32)
    one = gl.max(size, 0)
    group = gl.arange(0, 32, layout=gl.SliceLayout(1, TILE))
    step, programs = WHICH, gl.num_programs(0)
    for tile in range(gl.program_id(0) + WHICH * programs, outputs // ROWS, 2 * programs):
        i = step % STAGES
        row = tile * ROWS + gl.arange(0, ROWS, layout=OUT)
        if BLOCKED:
            own = q * (size * gl.load(scale + tile * ROWS // 128 * 32 + group))[:, None]
        else:
            by_row = gl.load(scale + row)
        mbarrier.wait(full.index(i), step // STAGES & 1)
        w = buffers.index(i).load(FLAT)
        # the copy that comes next writes by another way than this read
        fence_async_shared()
        mbarrier.arrive(empty.index(i), count=1)
        w = gl.convert_layout(w.reshape((ROWS, 32, 128)), LAYOUT, assert_trivial=True)
        if BLOCKED:
            found = gl.sum(gl.sum(w.to(gl.float32) * gl.expand_dims(own, 0), 2), 1)
        else:
            found = gl.sum(gl.sum(w.to(gl.float32) * gl.expand_dims(q, 0), 2), 1)
            found = found * one * by_row
        gl.store(y + row, found.to(gl.bfloat16))
        step += 2


@gluon.jit
def _stream_row(
    w,
    scale,
    x,
    other,
    norm,
    total,
    y,
    outputs,
    eps,
    ROWS: gl.constexpr,
    STAGES: gl.constexpr,
    MADE: gl.constexpr,
    BLOCKED: gl.constexpr,
):
    """y [outputs]: the row that MADE says times the weight's rows."""
    SHAPE: gl.constexpr = w.block_type.shape
    BYTES: gl.constexpr = [STAGES, SHAPE[0], SHAPE[1]]
    buffers = gl.allocate_shared_memory(gl.float8e4nv, BYTES, w.layout)
    full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    for i in gl.static_range(STAGES):
        mbarrier.init(full.index(i), count=1)
        mbarrier.init(empty.index(i), count=1)
    fence_async_shared()
    tensors = scale, x, other, norm, total, y
    gl.warp_specialize(
        [
            (_multiply, (buffers, full, empty, tensors, outputs, eps, ROWS, MADE, BLOCKED, 0)),
            (_multiply, (buffers, full, empty, tensors, outputs, eps, ROWS, MADE, BLOCKED, 1)),
            (_fetch, (w, buffers, full, empty, outputs)),
        ],
        [8, 1],
        [MULTIPLIES, COPIES],
    )
