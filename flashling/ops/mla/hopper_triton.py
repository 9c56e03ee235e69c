"""Expanded attention for Hopper: one group of warps copies, two compute in turn.

While a group of warps makes the exponentials of one step, the other has the tensor cores; and
inside of a group the scores of the next step are under way while the values of this one are
summed. Triton's own pipeline gives neither, so this is written in Gluon, which names layouts,
barriers and copies.
"""

# a kernel's language has no types, and a launch takes more than its parameters
# pyright: reportCallIssue=false, reportAttributeAccessIssue=false, reportIndexIssue=false
# pyright: reportGeneralTypeIssues=false, reportArgumentType=false, reportOperatorIssue=false
# pyright: reportAssignmentType=false

from __future__ import annotations

import math

import torch
import triton
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

# rows of a group of warps, keys of a step, and steps that lie in shared memory: 208 of 227 KB
ROWS, KEYS, STAGES = 64, 128, 2
# registers of a thread that computes and of one that copies; 3 groups of 128 share 65,536
COMPUTES, COPIES = gl.constexpr(240), gl.constexpr(24)
MEAN = 168


def attend(
    q: Tensor,
    latent: Tensor,
    kv: Tensor,
    rank: int,
    value_dim: int,
    starts: tuple[Tensor, Tensor],
    longest: int,
) -> Tensor:
    """Rows q [T, H, N + P], end to end, over latents [L, R + P] whose keys and values are
    kv [L, H * (N + V)]; starts and longest as in `flash_triton.attend`. Returns [T, H, V].
    """
    heads = q.shape[1]
    plain = kv.shape[1] // heads - value_dim
    turned = q.shape[2] - plain
    out = q.new_empty(len(q), heads, value_dim)
    rows = q.flatten(1)

    def blocks(x: Tensor, tall: int, wide: int) -> TensorDescriptor:
        layout = gl.NVMMASharedLayout.get_default_for([tall, wide], gl.bfloat16)
        return TensorDescriptor.from_tensor(x, [tall, wide], layout)

    _attend[(triton.cdiv(longest, 2 * ROWS), heads, len(starts[0]) - 1)](
        blocks(rows, ROWS, plain),
        blocks(rows, ROWS, turned),
        blocks(kv, KEYS, plain),
        blocks(latent, KEYS, turned),
        blocks(kv, KEYS, value_dim),
        out,
        *starts,
        q.shape[-1] ** -0.5 / math.log(2),
        rank,
        ROWS,
        KEYS,
        STAGES,
        num_warps=4,
        maxnreg=MEAN,
    )
    return out


def fits(q: Tensor, latent: Tensor, kv: Tensor, value_dim: int) -> bool:
    """Whether the kernel takes these shapes: powers of two of 64 columns at least, whole rows."""
    plain = kv.shape[1] // q.shape[1] - value_dim
    widths = plain, q.shape[2] - plain, value_dim
    return (
        q.dtype == torch.bfloat16
        and q.is_contiguous()
        and latent.stride(1) == 1
        and all(n in (64, 128) for n in widths)
    )


@gluon.jit
def _fetch(tensors, buffers, bars, row, zero, h, steps, RANK: gl.constexpr):
    """The queries, then keys and values step by step, as buffers come free."""
    q_plain, q_turned, keys, turned, values = tensors
    a_buffers, b_buffers, k_buffers, t_buffers, v_buffers = buffers
    q_full, k_full, k_empty, v_full, v_empty = bars
    N: gl.constexpr = keys.block_type.shape[1]
    P: gl.constexpr = turned.block_type.shape[1]
    V: gl.constexpr = values.block_type.shape[1]
    ROWS: gl.constexpr = q_plain.block_type.shape[0]
    KEYS: gl.constexpr = keys.block_type.shape[0]
    STAGES: gl.constexpr = k_buffers.type.shape[0]
    mbarrier.expect(q_full, 2 * ROWS * (N + P) * 2)
    for which in gl.static_range(2):
        at = [row + which * ROWS, h * (N + P)]
        tma.async_copy_global_to_shared(q_plain, at, q_full, a_buffers.index(which))
        at = [row + which * ROWS, h * (N + P) + N]
        tma.async_copy_global_to_shared(q_turned, at, q_full, b_buffers.index(which))
    column = h * (N + V)
    for j in range(steps):
        i = j % STAGES
        used = (j // STAGES & 1) ^ 1
        first = zero + j * KEYS
        full = k_full.index(i)
        mbarrier.wait(k_empty.index(i), used)
        mbarrier.expect(full, KEYS * (N + P) * 2)
        tma.async_copy_global_to_shared(keys, [first, column], full, k_buffers.index(i))
        tma.async_copy_global_to_shared(turned, [first, RANK], full, t_buffers.index(i))
        full = v_full.index(i)
        mbarrier.wait(v_empty.index(i), used)
        mbarrier.expect(full, KEYS * V * 2)
        tma.async_copy_global_to_shared(values, [first, column + N], full, v_buffers.index(i))


@gluon.jit
def _scores(a, b, k, t, LAYOUT: gl.constexpr):
    """Begin the scores of rows a, b over keys k, t."""
    ROWS: gl.constexpr = a.type.shape[0]
    KEYS: gl.constexpr = k.type.shape[0]
    s = gl.zeros((ROWS, KEYS), gl.float32, layout=LAYOUT)
    s = warpgroup_mma(a, k.permute((1, 0)), s, use_acc=False, is_async=True)
    return warpgroup_mma(b, t.permute((1, 0)), s, is_async=True)


@gluon.jit
def _weights(s, m, l, place, at_key, scale, MASKED: gl.constexpr):
    """Exponentials of scores s, the peaks and masses after them, and what earlier sums shrink by;
    keys from at_key on, those behind a row's place hidden."""
    if MASKED:
        j = gl.arange(0, s.shape[1], layout=gl.SliceLayout(0, s.type.layout))
        s = gl.where((at_key + j)[None, :] > place[:, None], float("-inf"), s)
    top = gl.maximum(m, gl.max(s, 1) * scale)
    e = gl.exp2(s * scale - top[:, None])
    shrink = gl.exp2(m - top)
    return e, top, l * shrink + gl.sum(e, 1), shrink


@gluon.jit
def _turn(
    state,
    j,
    buffers,
    bars,
    place,
    scale,
    MASKED: gl.constexpr,
    S: gl.constexpr,
    Y: gl.constexpr,
):
    """Step j: its scores, while the values of step j - 1 are summed by their weights p."""
    acc, p, m, l = state
    a, b, k_buffers, t_buffers, v_buffers = buffers
    k_full, k_empty, v_full, v_empty = bars
    KEYS: gl.constexpr = k_buffers.type.shape[1]
    STAGES: gl.constexpr = k_buffers.type.shape[0]
    OPERAND: gl.constexpr = gl.DotOperandLayout(0, Y, 2)
    i, last = j % STAGES, (j - 1) % STAGES
    mbarrier.wait(k_full.index(i), j // STAGES & 1)
    s = _scores(a, b, k_buffers.index(i), t_buffers.index(i), S)
    mbarrier.wait(v_full.index(last), (j - 1) // STAGES & 1)
    acc = warpgroup_mma(p, v_buffers.index(last), acc, is_async=True)
    s = warpgroup_mma_wait(num_outstanding=1, deps=(s,))
    mbarrier.arrive(k_empty.index(i), count=1)
    e, m, l, shrink = _weights(s, m, l, place, j * KEYS, scale, MASKED)
    acc, p = warpgroup_mma_wait(num_outstanding=0, deps=(acc, p))
    mbarrier.arrive(v_empty.index(last), count=1)
    acc = acc * gl.convert_layout(shrink, gl.SliceLayout(1, Y))[:, None]
    return acc, gl.convert_layout(e.to(gl.bfloat16), OPERAND), m, l


@gluon.jit
def _compute(buffers, bars, out, facts, WHICH: gl.constexpr):
    """The rows of one group of warps; `seen` steps are seen whole, `steps` in all."""
    row, rows, place, length, h, seen, steps, scale, heads = facts
    a_buffers, b_buffers, k_buffers, t_buffers, v_buffers = buffers
    q_full, k_full, k_empty, v_full, v_empty = bars
    ROWS: gl.constexpr = a_buffers.type.shape[1]
    KEYS: gl.constexpr = k_buffers.type.shape[1]
    STAGES: gl.constexpr = k_buffers.type.shape[0]
    V: gl.constexpr = v_buffers.type.shape[2]
    S: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, KEYS, 16])
    Y: gl.constexpr = gl.NVMMADistributedLayout([3, 0], [4, 1], [16, V, 16])
    OPERAND: gl.constexpr = gl.DotOperandLayout(0, Y, 2)
    i = gl.arange(0, ROWS, layout=gl.SliceLayout(1, S)) + WHICH * ROWS
    own = a_buffers.index(WHICH), b_buffers.index(WHICH), k_buffers, t_buffers, v_buffers
    four = k_full, k_empty, v_full, v_empty
    if steps > 0:
        mbarrier.wait(q_full, 0)
        mbarrier.wait(k_full.index(0), 0)
        s = _scores(own[0], own[1], k_buffers.index(0), t_buffers.index(0), S)
        s = warpgroup_mma_wait(num_outstanding=0, deps=(s,))
        mbarrier.arrive(k_empty.index(0), count=1)
        m = gl.full((ROWS,), float("-inf"), gl.float32, layout=gl.SliceLayout(1, S))
        l = gl.zeros((ROWS,), gl.float32, layout=gl.SliceLayout(1, S))
        # masked always: the first step may be the last
        e, m, l, shrink = _weights(s, m, l, place + i, 0, scale, True)
        p = gl.convert_layout(e.to(gl.bfloat16), OPERAND)
        acc = gl.zeros((ROWS, V), gl.float32, layout=Y)
        for j in range(1, seen):
            acc, p, m, l = _turn((acc, p, m, l), j, own, four, place + i, scale, False, S, Y)
        for j in range(gl.maximum(seen, 1), steps):
            acc, p, m, l = _turn((acc, p, m, l), j, own, four, place + i, scale, True, S, Y)
        last = (steps - 1) % STAGES
        mbarrier.wait(v_full.index(last), (steps - 1) // STAGES & 1)
        v = v_buffers.index(last)
        # rows of others behind the last key: zero times their NaN would be NaN. Both groups write
        # the same
        if length % KEYS != 0:
            FLAT: gl.constexpr = gl.BlockedLayout([1, 8], [32 * 8 // V, V // 8], [4, 1], [1, 0])
            key = (steps - 1) * KEYS + gl.arange(0, KEYS, layout=gl.SliceLayout(1, FLAT))
            v.store(gl.where((key < length)[:, None], v.load(FLAT), 0.0).to(gl.bfloat16))
            fence_async_shared()
        acc = warpgroup_mma(p, v, acc, is_async=True)
        acc, p = warpgroup_mma_wait(num_outstanding=0, deps=(acc, p))
        acc = acc / gl.convert_layout(l, gl.SliceLayout(1, Y))[:, None]
        i = gl.arange(0, ROWS, layout=gl.SliceLayout(1, Y)) + WHICH * ROWS
        w = gl.arange(0, V, layout=gl.SliceLayout(0, Y))
        to = out + ((row + i).to(gl.int64)[:, None] * heads + h) * V + w[None, :]
        gl.store(to, acc.to(gl.bfloat16), (i < rows)[:, None])


@gluon.jit
def _attend(
    q_plain,
    q_turned,
    keys,
    turned,
    values,
    out,
    q_starts,
    k_starts,
    scale,
    RANK: gl.constexpr,
    ROWS: gl.constexpr,
    KEYS: gl.constexpr,
    STAGES: gl.constexpr,
):
    """Program (i, h, n): two blocks of rows of sequence n, head h; the last rows, which see most,
    come first."""
    N: gl.constexpr = keys.block_type.shape[1]
    P: gl.constexpr = turned.block_type.shape[1]
    V: gl.constexpr = values.block_type.shape[1]
    block = gl.num_programs(0) - 1 - gl.program_id(0)
    h, sequence = gl.program_id(1), gl.program_id(2)
    start = gl.load(q_starts + sequence)
    count = gl.load(q_starts + sequence + 1) - start
    zero = gl.load(k_starts + sequence)
    length = gl.load(k_starts + sequence + 1) - zero
    row, rows = start + block * 2 * ROWS, count - block * 2 * ROWS
    # a row's own place; what comes before the first of them is seen by all
    place = length - rows
    end = gl.minimum(length, place + 2 * ROWS)
    steps = gl.where(rows > 0, (end + KEYS - 1) // KEYS, 0)
    seen = (place + 1) // KEYS
    a_buffers = gl.allocate_shared_memory(gl.bfloat16, [2, ROWS, N], q_plain.layout)
    b_buffers = gl.allocate_shared_memory(gl.bfloat16, [2, ROWS, P], q_turned.layout)
    k_buffers = gl.allocate_shared_memory(gl.bfloat16, [STAGES, KEYS, N], keys.layout)
    t_buffers = gl.allocate_shared_memory(gl.bfloat16, [STAGES, KEYS, P], turned.layout)
    v_buffers = gl.allocate_shared_memory(gl.bfloat16, [STAGES, KEYS, V], values.layout)
    q_full = gl.allocate_shared_memory(gl.int64, [1], mbarrier.MBarrierLayout())
    k_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    k_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_full = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    v_empty = gl.allocate_shared_memory(gl.int64, [STAGES, 1], mbarrier.MBarrierLayout())
    mbarrier.init(q_full, count=1)
    for i in gl.static_range(STAGES):
        mbarrier.init(k_full.index(i), count=1)
        mbarrier.init(v_full.index(i), count=1)
        # both groups that compute say when they are done
        mbarrier.init(k_empty.index(i), count=2)
        mbarrier.init(v_empty.index(i), count=2)
    fence_async_shared()
    buffers = a_buffers, b_buffers, k_buffers, t_buffers, v_buffers
    bars = q_full, k_full, k_empty, v_full, v_empty
    facts = row, rows, place, length, h, seen, steps, scale, gl.num_programs(1)
    tensors = q_plain, q_turned, keys, turned, values
    gl.warp_specialize(
        [
            (_compute, (buffers, bars, out, facts, 0)),
            (_compute, (buffers, bars, out, facts, 1)),
            (_fetch, (tensors, buffers, bars, row, zero, h, steps, RANK)),
        ],
        [4, 1],
        [COMPUTES, COPIES],
    )
