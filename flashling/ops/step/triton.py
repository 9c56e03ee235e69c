"""The counts of a decode step in Triton: a kernel where the framework makes a dozen."""

# the checker does not know what a launch takes and what kernels are written in
# pyright: reportCallIssue=false, reportArgumentType=false, reportAttributeAccessIssue=false

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..overlap import OVERLAP, wait_for_inputs

# rows of a program
BLOCK = 128


def places(
    table: Tensor, slots: Tensor, lengths: Tensor, rows: int, size: int, first: int = 0
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """As the op."""
    slots, lengths, count = slots.contiguous(), lengths.contiguous(), len(slots) * rows
    positions, page, place = torch.empty(3, count, dtype=torch.int64, device=table.device).unbind()
    seen = torch.empty(len(slots), dtype=torch.int32, device=table.device)
    if count:
        _places[(triton.cdiv(count, BLOCK),)](
            *(table, slots, lengths, positions, seen, page, place, count, table.stride(0)),
            *(table.shape[1], rows, size, first, BLOCK),
            num_warps=BLOCK // 32,
            **OVERLAP,
        )
    return positions, seen, page, place


# a launch is not to differ by where a step's counts happen to lie
@triton.jit(
    do_not_specialize=["count", "stride", "most"],
    do_not_specialize_on_alignment=["slots", "lengths", "table"],
)
def _places(
    table,
    slots,
    lengths,
    positions,
    seen,
    page,
    place,
    count,
    stride,
    most,
    ROWS: tl.constexpr,
    SIZE: tl.constexpr,
    FIRST: tl.constexpr,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = row < count
    n = row // ROWS
    wait_for_inputs()
    slot = tl.load(slots + n, inside, 0)
    length = tl.load(lengths + n, inside, 0)
    position = length.to(tl.int64) + row % ROWS
    at = position + FIRST
    # an idle row may stand behind its table, and what it is given there is not used
    found = tl.load(table + slot * stride + at // SIZE, inside & (at // SIZE < most), 0)
    tl.store(positions + row, position, inside)
    tl.store(page + row, found.to(tl.int64), inside)
    tl.store(place + row, at % SIZE, inside)
    tl.store(seen + n, (length + 1 + FIRST).to(tl.int32), inside & (row % ROWS == 0))


def lay(pages: Tensor, page: Tensor, place: Tensor, rows: Tensor) -> Tensor:
    """As the op."""
    if pages.stride(2) != 1 or rows.dtype != pages.dtype:
        raise ValueError(f"{rows.dtype} rows into {pages.dtype} pages of strides {pages.stride()}")
    rows = rows if rows.stride(1) == 1 else rows.contiguous()
    count, width = rows.shape
    if count:
        _lay_rows[(count,)](
            *(pages, page.contiguous(), place.contiguous(), rows, *pages.stride()[:2]),
            *(rows.stride(0), width, triton.next_power_of_2(width)),
            num_warps=4,
            **OVERLAP,
        )
    return pages


@triton.jit(do_not_specialize_on_alignment=["page", "place"])
def _lay_rows(
    pages,
    page,
    place,
    rows,
    page_stride,
    place_stride,
    row_stride,
    WIDTH: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program t: row t."""
    t, d = tl.program_id(0).to(tl.int64), tl.arange(0, COLUMNS)
    wait_for_inputs()
    found = tl.load(rows + t * row_stride + d, d < WIDTH)
    to = pages + tl.load(page + t) * page_stride + tl.load(place + t) * place_stride
    tl.store(to + d, found, d < WIDTH)


def advance(
    tokens: Tensor,
    counts: tuple[Tensor, Tensor, Tensor],
    drawn: tuple[Tensor, Tensor, Tensor],
    spare: int,
    chunk: int,
    drafted: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """As the op."""
    count, rows = tokens.shape
    assert all(x.is_contiguous() for x in (*counts, *drawn, *(drafted or ())))
    found = torch.empty(5, count, rows, dtype=torch.float64, device=tokens.device)
    last, more = drafted or (None, None)
    if count:
        _advance[(count,)](
            *(tokens, *counts, *drawn, last, more, found, *tokens.stride(), spare, chunk),
            *(rows, triton.next_power_of_2(rows)),
            num_warps=1,
            **OVERLAP,
        )
    return found


@triton.jit(
    do_not_specialize=["token_row", "token_column", "spare"],
    do_not_specialize_on_alignment=["tokens", "slots", "lengths", "tails"],
)
def _advance(
    tokens,
    slots,
    lengths,
    tails,
    new,
    logprobs,
    is_finite,
    lasts,
    more,
    found,
    token_row,
    token_column,
    spare,
    chunk,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """Program n: the rows of a slot."""
    n, count = tl.program_id(0), tl.num_programs(0)
    r = tl.arange(0, COLUMNS)
    inside = r < ROWS
    wait_for_inputs()
    last = 0
    if lasts is not None:
        last = tl.load(lasts + n).to(tl.int32)
    at = n * ROWS + r
    token = tl.load(new + at, inside, 0)
    # the token that was drawn after the last row that is taken, then the drafts behind it
    read = tl.sum(tl.where(r == last, token, 0), 0) + tl.zeros_like(token)
    if more is not None:
        draft = tl.load(more + n * (ROWS - 1) + r - 1, inside & (r > 0), 0)
        read = tl.where(r == 0, read, draft)
    tl.store(tokens + n * token_row + r * token_column, read, inside)
    to = found + at
    tl.store(to, token.to(tl.float64), inside)
    tl.store(to + count * ROWS, tl.load(logprobs + at, inside, 0.0).to(tl.float64), inside)
    finite = tl.load(is_finite + at, inside, 0).to(tl.float64)
    tl.store(to + 2 * count * ROWS, finite, inside)
    tl.store(to + 3 * count * ROWS, (r <= last).to(tl.float64), inside)
    tl.store(to + 4 * count * ROWS, read.to(tl.float64), inside)
    # an idle row stays the first of its slot
    moved = tl.where(tl.load(slots + n) == spare, 0, last + 1)
    held = tl.load(tails + n) % chunk
    tl.store(lengths + n, tl.load(lengths + n) + moved)
    tl.store(tails + n, tl.where(moved > 0, held + moved, 0))
