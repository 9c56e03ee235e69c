"""Expanded attention in Triton beside its bodies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.mla import flash_triton as flash
from flashling.ops.mla.cases import _expanded, _over

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = torch.bfloat16
# widths that are powers of two, and widths that are not: no-rope, rope, value, rank
EVEN, ODD = (16, 16, 16, 32), (24, 8, 40, 24)
# the interpreter cuts off where a GPU rounds to bfloat16
MOST = 1e-2 if DEVICE.type == "cuda" else 2e-2


def body(op, *arguments) -> Tensor:
    double = (
        a.double() if isinstance(a, Tensor) and a.is_floating_point() else a for a in arguments
    )
    return vars(op)["body"](*double)


def error(got: Tensor, want: Tensor) -> float:
    assert got.shape == want.shape and got.dtype == BF16
    return float((got.double() - want).norm() / want.norm())


@pytest.mark.parametrize("dims", [EVEN, ODD])
@pytest.mark.parametrize("tile", [flash.Tile(16, 16, 4, 2), flash.Tile(32, 16, 4, 2)])
def test_packed_documents(dims: tuple[int, int, int, int], tile: flash.Tile) -> None:
    arguments = _expanded(Maker(BF16, DEVICE), [1, 16, 17, 50, 5], 4, dims)
    *rest, docs = arguments
    got = flash.attend(*rest, (docs.ends, docs.ends), docs.longest, tile)
    assert error(got, body(ops.mla_expanded, *arguments)) < MOST
    assert error(flash.mla_expanded(*arguments), body(ops.mla_expanded, *arguments)) < MOST


@pytest.mark.parametrize(("rows", "seen"), [(1, 1), (1, 40), (20, 90), (64, 64), (33, 130)])
def test_last_rows_of_a_context(rows: int, seen: int) -> None:
    arguments = _over(Maker(BF16, DEVICE), rows, seen, 4, EVEN)
    assert error(flash.mla_over(*arguments), body(ops.mla_over, *arguments)) < MOST


def test_real_widths() -> None:
    arguments = _over(Maker(BF16, DEVICE), 70, 150, 2, (128, 64, 128, 512))
    assert error(flash.mla_over(*arguments), body(ops.mla_over, *arguments)) < MOST


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_a_row_does_not_depend_on_its_company() -> None:
    q, latent, *rest, docs = _expanded(Maker(BF16, DEVICE), [40, 30], 4, EVEN)
    both = flash.mla_expanded(q, latent, *rest, docs)
    alone = flash.mla_expanded(q[40:], latent[40:], *rest, ops.Documents((0, 30), DEVICE))
    assert torch.equal(both[40:], alone)
    changed = latent.clone()
    changed[40:] = torch.nan
    assert torch.equal(flash.mla_expanded(q, changed, *rest, docs)[:40], both[:40])
