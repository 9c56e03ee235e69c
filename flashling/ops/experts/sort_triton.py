"""Pairs sorted by expert, many at a time: counted in blocks, then placed.

`rows_triton.sort` has every expert look at every pair, which is quickest up to some thousands;
here each block of pairs is read twice, and what others have of an expert is a column of counts.
"""

# the checker does not know what kernels are written in
# pyright: reportAttributeAccessIssue=false, reportCallIssue=false, reportArgumentType=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..overlap import OVERLAP, wait_for_inputs

# pairs of a program, and from how many on this way is taken
PAIRS, MANY = 128, 1 << 13


def sort_many(chosen: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """As `rows_triton.sort`."""
    pairs, device = chosen.numel(), chosen.device
    blocks = triton.cdiv(pairs, PAIRS)
    order = torch.empty(pairs, dtype=torch.int32, device=device)
    places = torch.empty(blocks, num, dtype=torch.int32, device=device)
    counts = torch.zeros(num, dtype=torch.int32, device=device)
    padded, tall = triton.next_power_of_2(num), triton.next_power_of_2(blocks)
    _count[(blocks,)](
        *(chosen, places, counts, pairs, num), PADDED=padded, PAIRS=PAIRS, num_warps=4, **OVERLAP
    )
    _sum_before[(num,)](
        *(places, counts, blocks, num), PADDED=padded, BLOCKS=tall, num_warps=4, **OVERLAP
    )
    _place[(blocks,)](chosen, places, order, pairs, num, PAIRS=PAIRS, num_warps=4, **OVERLAP)
    return order, counts


@triton.jit(do_not_specialize=["pairs"])
def _count(chosen, found, totals, pairs, NUM, PADDED: tl.constexpr, PAIRS: tl.constexpr):
    """found [blocks, NUM]: how many pairs of a block each expert has; totals [NUM], which are zero
    before."""
    pair, e = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS), tl.arange(0, PADDED)
    wait_for_inputs()
    expert = tl.load(chosen + pair, mask=pair < pairs, other=0).to(tl.int32)
    count = tl.histogram(expert, PADDED, mask=pair < pairs)
    tl.store(found + tl.program_id(0) * NUM + e, count, mask=e < NUM)
    tl.atomic_add(totals + e, count, mask=(e < NUM) & (count > 0))


@triton.jit(do_not_specialize=["blocks"])
def _sum_before(places, totals, blocks, NUM, PADDED: tl.constexpr, BLOCKS: tl.constexpr):
    """Program e: the counts of expert e become the places where those of each block begin."""
    b, e = tl.arange(0, BLOCKS), tl.arange(0, PADDED)
    wait_for_inputs()
    first = tl.sum(tl.load(totals + e, mask=e < tl.program_id(0), other=0), 0)
    at = places + b * NUM + tl.program_id(0)
    count = tl.load(at, mask=b < blocks, other=0)
    tl.store(at, first + tl.cumsum(count, 0) - count, mask=b < blocks)


@triton.jit(do_not_specialize=["pairs"])
def _place(chosen, places, order, pairs, NUM, PAIRS: tl.constexpr):
    """order [pairs]: after the pairs of earlier experts, of earlier blocks, of earlier places."""
    i = tl.arange(0, PAIRS)
    pair = tl.program_id(0) * PAIRS + i
    is_pair = pair < pairs
    wait_for_inputs()
    expert = tl.load(chosen + pair, mask=is_pair, other=0).to(tl.int32)
    first = tl.load(places + tl.program_id(0) * NUM + expert, mask=is_pair, other=0)
    earlier = (expert[None, :] == expert[:, None]) & (i[None, :] < i[:, None])
    tl.store(order + first + tl.sum(earlier.to(tl.int32), 1), pair, mask=is_pair)
