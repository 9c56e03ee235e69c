"""What a decode step counts: where its rows stand, and what it leaves to the step after it. Small
sums of integers, of which a framework makes a kernel each.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..op import op


@op(cuda=".triton:places")
def places(
    table: Tensor, slots: Tensor, lengths: Tensor, rows: int, size: int, first: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Of `rows` new rows in each of some slots [N] int64, which hold lengths [N] tokens: the
    positions of all rows [N * rows] int64; what the first row of each slot sees, itself included
    [N] int32; and the pages [N * rows] and places in them that the rows' latents go to, int64. The
    pages of a slot are a row of table [S, P] int32, of `size` places each; the first `first` of
    them have no row.
    """
    at = lengths.long()[:, None] + torch.arange(rows, device=table.device)
    page = table[slots[:, None], (at + first) // size].long()
    return at.flatten(), lengths.int() + 1 + first, page.flatten(), (at.flatten() + first) % size


@op(cuda=".triton:lay")
def lay(pages: Tensor, page: Tensor, place: Tensor, rows: Tensor) -> Tensor:
    """Write rows [T, W] to pages [P, S, W] at page [T] and place [T], both int64; the pages."""
    pages[page, place] = rows
    return pages


@op(cuda=".triton:advance")
def advance(
    tokens: Tensor,
    counts: tuple[Tensor, Tensor, Tensor],
    drawn: tuple[Tensor, Tensor, Tensor],
    spare: int,
    chunk: int,
    drafted: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """The end of a step whose rows read tokens [N, R] int64: these become what the next one reads,
    and counts move on: the slots, their lengths and the rows of their open chunks, [N] int64 each.
    The slot `spare` is nobody's and keeps its counts; a chunk that was full, with `chunk` rows, was
    folded by this step.

    drawn [N, R]: tokens int64, log-probabilities float32, whether those are finite. drafted: the
    last row of each slot that is taken [N] int64 (without, the first), and the drafts that the next
    step reads after the token drawn there [N, R - 1] int64.

    Returns [5, N, R] float64, which holds tokens and both float types exactly: what was drawn,
    whether a row is taken, and the tokens of the next step.
    """
    slots, lengths, tails = counts
    new, logprobs, is_finite = drawn
    last = torch.zeros_like(slots) if drafted is None else drafted[0]
    is_taken = torch.arange(tokens.shape[1], device=slots.device) <= last[:, None]
    tokens[:, :1] = new.gather(1, last[:, None])
    if drafted is not None:
        tokens[:, 1:] = drafted[1]
    # an idle row stays the first of its slot
    is_live = slots != spare
    lengths += (last + 1) * is_live
    tails.copy_((tails % chunk + last + 1) * is_live)
    return torch.stack([x.double() for x in (new, logprobs, is_finite, is_taken, tokens)])
