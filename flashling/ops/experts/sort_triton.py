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
PAIRS, MANY = 256, 1 << 13


def sort_many(chosen: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """As `rows_triton.sort`."""
    pairs, device = chosen.numel(), chosen.device
    blocks, padded = triton.cdiv(pairs, PAIRS), triton.next_power_of_2(num)
    order = torch.empty(pairs, dtype=torch.int32, device=device)
    before = torch.empty(blocks, num, dtype=torch.int32, device=device)
    counts = torch.empty(num, dtype=torch.int32, device=device)
    facts = {"PADDED": padded, "PAIRS": PAIRS, "num_warps": 8, **OVERLAP}
    _count[(blocks,)](chosen, before, pairs, num, **facts)
    tall = triton.next_power_of_2(blocks)
    _sum_before[(num,)](before, counts, blocks, num, BLOCKS=tall, num_warps=4, **OVERLAP)
    _place[(blocks,)](chosen, before, counts, order, pairs, num, **facts)
    return order, counts


@triton.jit(do_not_specialize=["pairs"])
def _count(chosen, counts, pairs, NUM, PADDED: tl.constexpr, PAIRS: tl.constexpr):
    """counts [blocks, NUM]: how many pairs of a block each expert has."""
    pair, e = tl.program_id(0) * PAIRS + tl.arange(0, PAIRS), tl.arange(0, PADDED)
    wait_for_inputs()
    expert = tl.load(chosen + pair, mask=pair < pairs, other=-1).to(tl.int32)
    found = tl.sum((expert[:, None] == e[None, :]).to(tl.int32), 0)
    tl.store(counts + tl.program_id(0) * NUM + e, found, mask=e < NUM)


@triton.jit(do_not_specialize=["blocks"])
def _sum_before(counts, totals, blocks, NUM, BLOCKS: tl.constexpr):
    """Program e: the counts of expert e become the sums of the blocks before; totals [NUM]."""
    b = tl.arange(0, BLOCKS)
    wait_for_inputs()
    at = counts + b * NUM + tl.program_id(0)
    found = tl.load(at, mask=b < blocks, other=0)
    tl.store(at, tl.cumsum(found, 0) - found, mask=b < blocks)
    tl.store(totals + tl.program_id(0), tl.sum(found, 0))


@triton.jit(do_not_specialize=["pairs"])
def _place(chosen, before, totals, order, pairs, NUM, PADDED: tl.constexpr, PAIRS: tl.constexpr):
    """order [pairs]: after the pairs of earlier experts, of earlier blocks, of earlier places."""
    i, e = tl.arange(0, PAIRS), tl.arange(0, PADDED)
    pair = tl.program_id(0) * PAIRS + i
    is_pair = pair < pairs
    wait_for_inputs()
    expert = tl.load(chosen + pair, mask=is_pair, other=0).to(tl.int32)
    total = tl.load(totals + e, mask=e < NUM, other=0)
    start = tl.sum(tl.where(e[None, :] < expert[:, None], total[None, :], 0), 1)
    start += tl.load(before + tl.program_id(0) * NUM + expert, mask=is_pair, other=0)
    earlier = (expert[None, :] == expert[:, None]) & (i[None, :] < i[:, None])
    start += tl.sum(earlier.to(tl.int32), 1)
    tl.store(order + start, pair, mask=is_pair)
