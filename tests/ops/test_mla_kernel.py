"""Latent attention over pages in Triton beside its body, and the body beside the absorbed form."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.mla.cases import _paged
from flashling.ops.mla.heads_triton import FEW_ROWS, by_head
from flashling.ops.mla.triton import Tile, mla_paged, tile_of

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = torch.bfloat16
# widths that are powers of two, and widths that are not: no-rope, rope, value, rank
EVEN, ODD = (16, 16, 16, 32), (16, 8, 12, 24)


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher allocates holds NaN until it is written."""
    real = torch.Tensor.new_empty

    def poisoned(*arguments, **options):
        x = real(*arguments, **options)
        return x.fill_(torch.nan) if x.is_floating_point() else x

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


def check(arguments: tuple, got: Tensor) -> None:
    double = (
        a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments
    )
    want = vars(ops.mla_paged)["body"](*double)
    assert got.shape == want.shape and got.dtype == BF16
    error = (got.double() - want).norm() / want.norm()
    # the interpreter cuts off where a GPU rounds to bfloat16
    assert error < (1e-2 if DEVICE.type == "cuda" else 2e-2)


@pytest.mark.parametrize(
    ("heads", "dims", "splits"), [(4, EVEN, 1), (4, ODD, 2), (17, ODD, 3), (40, EVEN, 8)]
)
def test_it_is_the_body(heads: int, dims: tuple[int, int, int, int], splits: int) -> None:
    lengths = [1, 16, 17, 50, 48, 3]
    arguments = _paged(Maker(BF16, DEVICE), lengths, heads, dims, 16)
    rows = tile_of(len(lengths), heads).columns
    assert rows == (32 if heads > 16 else 16)
    check(arguments, mla_paged(*arguments, tile=Tile(rows, splits, 4, 2)))


@pytest.mark.parametrize(("each", "first"), [(1, 0), (2, 0), (4, 0), (3, 1), (1, 1)])
@pytest.mark.parametrize("tile", [Tile(16, 1, 4, 2), Tile(16, 4, 4, 2), Tile(16, 3, 4, 1, False)])
def test_several_rows_of_a_sequence(each: int, first: int, tile: Tile) -> None:
    lengths = [1, 15, 16, 31, 50]
    arguments = _paged(Maker(BF16, DEVICE), lengths, 12, EVEN, 16, each, first)
    _, pages, table, seen, *_ = arguments
    ends = seen + each - 1
    for row, end in zip(table.tolist(), ends.tolist(), strict=True):
        if first:
            pages[row[0], 0] = torch.nan
        for n, page in enumerate(row):
            pages[page, max(end - n * 16, 0) :] = torch.nan
    check(arguments, mla_paged(*arguments, tile=tile))
    # each row is a single one of a longer sequence
    q, _, _, _, *rest = arguments
    got = mla_paged(*arguments, tile=tile)
    for i in range(each):
        check((q[i::each], pages, table, seen + i, *rest), got[i::each])


@pytest.mark.parametrize("first", [0, 1])
def test_in_exact_mode_rows_are_those_of_single_ones(
    first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashling.ops.mla.exact_triton.PAGES", 1)
    arguments = _paged(Maker(BF16, DEVICE), [1, 63, 64, 130], 4, EVEN, 64, 3, first)
    q, pages, table, seen, *rest = arguments
    for row, end in zip(table.tolist(), (seen + 2).tolist(), strict=True):
        pages[row[0], :first] = torch.nan
        for n, page in enumerate(row):
            pages[page, max(end - n * 64, 0) :] = torch.nan
    with ops.exactly():
        check(arguments, mla_paged(*arguments))
        for call in (mla_paged, vars(ops.mla_paged)["body"]):
            got = call(*arguments)
            for i in range(3):
                assert torch.equal(got[i::3], call(q[i::3], pages, table, seen + i, *rest))


@pytest.mark.parametrize(
    ("heads", "dims", "each"),
    [(4, ODD, 5), (40, EVEN, 1), pytest.param(40, ODD, 3, marks=pytest.mark.soak)],
)
def test_in_exact_mode_it_is_the_body(
    heads: int, dims: tuple[int, int, int, int], each: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flashling.ops.mla.exact_triton.PAGES", 1)
    monkeypatch.setattr("flashling.ops.mla.exact_triton.PARTS", 1)
    monkeypatch.setattr("flashling.ops.mla.exact_triton.JOINED", 2)
    arguments = _paged(Maker(BF16, DEVICE), [1, 16, 17, 50, 120, 0], heads, dims, 16, each)
    with ops.exactly():
        check(arguments, mla_paged(*arguments))


def test_more_parts_than_pages() -> None:
    arguments = _paged(Maker(BF16, DEVICE), [40], 4, EVEN, 16)
    assert tile_of(1, 4).splits == 128
    check(arguments, mla_paged(*arguments))


def test_real_widths() -> None:
    arguments = _paged(Maker(BF16, DEVICE), [150, 64], 32, (128, 64, 128, 512))
    check(arguments, mla_paged(*arguments))


def test_what_lies_beyond_a_length_is_not_seen() -> None:
    q, pages, table, lengths, *rest = _paged(Maker(BF16, DEVICE), [5, 20], 4, EVEN, 16)
    want = mla_paged(q, pages, table, lengths, *rest)
    body = vars(ops.mla_paged)["body"]
    plain = body(q, pages, table, lengths, *rest)
    pages[table[0, 0].item(), 5:] = torch.nan
    pages[table[1, 1].item(), 4:] = torch.nan
    table[0, 1] = -(2**30)
    # what is not followed may name any page
    assert torch.equal(mla_paged(q, pages, table, lengths, *rest), want)
    assert torch.equal(body(q, pages, table, lengths, *rest), plain)


def test_the_table_may_be_that_of_all_slots() -> None:
    arguments = _paged(Maker(BF16, DEVICE), [5, 20, 33], 4, EVEN, 16)
    q, pages, table, lengths, *rest = arguments
    slots = torch.tensor([4, 0, 2], device=DEVICE)
    whole = torch.full((5, table.shape[1]), -(2**30), dtype=torch.int32, device=DEVICE)
    whole[slots] = table
    for call in (mla_paged, vars(ops.mla_paged)["body"]):
        got = call(q, pages, whole, lengths, *rest, slots)
        assert torch.equal(got, call(*arguments))


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("mode", [nullcontext, ops.exactly])
def test_nothing_to_see_gives_zeros(first: int, mode: Callable[[], Any]) -> None:
    arguments = _paged(Maker(BF16, DEVICE), [5, 20], 4, EVEN, 16, 2, first)
    lengths = arguments[3]
    lengths[0] = first
    for call in (mla_paged, vars(ops.mla_paged)["body"]):
        with mode():
            out = call(*arguments)
        assert not out[0].any() and out[1:].any((1, 2)).all()
    # nor does the second row
    lengths[0] = first - 1
    for call in (mla_paged, vars(ops.mla_paged)["body"]):
        with mode():
            out = call(*arguments)
        assert not out[:2].any() and out[2:].any((1, 2)).all()


def test_rows_do_not_see_their_company() -> None:
    q, pages, table, lengths, *rest = _paged(Maker(BF16, DEVICE), [5, 20, 33], 4, EVEN, 16)
    tile = Tile(16, 2, 4, 2)
    whole = mla_paged(q, pages, table, lengths, *rest, tile=tile)
    for n in range(3):
        part = slice(n, n + 1)
        one = mla_paged(q[part], pages, table[part], lengths[part], *rest, tile=tile)
        assert torch.equal(one, whole[part])


def test_the_body_is_the_absorbed_form() -> None:
    lengths = [1, 16, 17, 50]
    q, pages, table, seen, kv_b, value = _paged(Maker(torch.float64, DEVICE), lengths, 4, ODD, 16)
    contexts = [pages[row.long()].flatten(0, 1)[:n] for row, n in zip(table, lengths, strict=True)]
    want = ops.mla_absorbed(q, contexts, kv_b, value, range(len(lengths) + 1))
    got = vars(ops.mla_paged)["body"](q, pages, table, seen, kv_b, value)
    torch.testing.assert_close(got, want)


@pytest.mark.parametrize("rows", [0, 1, 5, FEW_ROWS, FEW_ROWS + 1])
@pytest.mark.parametrize("is_turned", [False, True])
def test_a_product_for_each_head(rows: int, is_turned: bool) -> None:
    make = Maker(BF16, DEVICE)
    x = make(rows, 3, 40)[..., 8:].transpose(0, 1)
    weight = make(3, 24, 32).transpose(1, 2) if is_turned else make(3, 32, 24)
    got, want = by_head(x, weight), x.double() @ weight.double()
    assert got.shape == want.shape and got.dtype == BF16
    torch.testing.assert_close(got.double(), want, atol=2e-2, rtol=1e-2)
    with ops.exactly():
        torch.testing.assert_close(by_head(x, weight), got, atol=2e-2, rtol=1e-2)


def test_the_number_of_parts_fills_the_device() -> None:
    assert [tile_of(n, 32).splits for n in (1, 2, 3, 16, 64, 4096)] == [128, 66, 44, 8, 2, 2]
    # four rows are four programs for a part
    assert [tile_of(n, 4 * 32).splits for n in (1, 2, 4, 64)] == [33, 16, 8, 2]


def test_other_kinds_take_the_body_and_wrong_ones_are_refused() -> None:
    q, pages, table, lengths, *rest = _paged(Maker(torch.float32, DEVICE), [5, 20], 4, EVEN, 16)
    assert mla_paged(q, pages, table, lengths, *rest).dtype == torch.float32
    q, pages, table, lengths, *rest = _paged(Maker(BF16, DEVICE), [5, 20], 4, EVEN, 16)
    assert mla_paged(q.requires_grad_(), pages, table, lengths, *rest).requires_grad
    q = q.detach()
    with pytest.raises(ValueError, match="must be int32, not torch.int64"):
        mla_paged(q, pages, table.long(), lengths, *rest)
    with pytest.raises(ValueError, match="pages"):
        mla_paged(q, pages[:, ::2], table, lengths, *rest)
    assert mla_paged(q[:0], pages, table[:0], lengths[:0], *rest).shape == (0, 4, 16)
