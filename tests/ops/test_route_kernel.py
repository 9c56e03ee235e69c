"""The router in Triton beside its body."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.route.triton import MANY, TILES, Tile, route

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
FLASH = ops.Choice(8, 8, 4, True, 2.5)


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher allocates holds NaN, or no expert, until a kernel writes it."""
    real = torch.Tensor.new_empty

    def filled(*arguments, **options):
        x = real(*arguments, **options)
        return x.fill_(torch.nan if x.is_floating_point() else -1)

    monkeypatch.setattr(torch.Tensor, "new_empty", filled)


def inputs(tokens: int, width: int, num: int) -> tuple[Tensor, Tensor, Tensor]:
    make = Maker(torch.bfloat16, DEVICE)
    # 24 bits in every weight, and logits so far apart that no rounding flips a choice
    router = torch.randn(num, width, generator=make.generator).to(DEVICE) * 0.2
    return make(tokens, width), router, make(num, scale=0.1, dtype=torch.float32)


def check(got: tuple[Tensor, Tensor], x: Tensor, router: Tensor, bias: Tensor, choice) -> None:
    weights, experts = vars(ops.route)["body"](x.double(), router.double(), bias.double(), choice)
    assert got[0].dtype == torch.float32 and got[1].dtype == torch.int64
    assert torch.equal(got[1], experts)
    assert ((got[0] - weights).norm() / weights.norm()) < 1e-6


@pytest.mark.parametrize("tokens", [1, 4, 5, 19])
@pytest.mark.parametrize(
    ("num", "choice"),
    [
        (256, FLASH),
        (24, ops.Choice(3, 6, 2, True, 2.5)),
        (4, ops.Choice(2, 1, 1, False, 1.0)),
        (5, ops.Choice(4, 5, 4, True, 1.0)),
    ],
    ids=["flash", "six_groups", "one_group", "groups_of_one"],
)
def test_it_is_the_body(tokens: int, num: int, choice: ops.Choice) -> None:
    x, router, bias = inputs(tokens, 128, num)
    check(route(x, router, bias, choice), x, router, bias, choice)


@pytest.mark.parametrize(
    "tile",
    [*(t for _, t in TILES), MANY, Tile(16, 64, 3, 4), Tile(32, 16, 1, 4)],
    ids=lambda t: f"{t.rows}x{t.experts}/{t.splits}",
)
def test_tiles(tile: Tile) -> None:
    x, router, bias = inputs(37, 256, 72)
    choice = ops.Choice(4, 8, 4, True, 2.5)
    check(route(x, router, bias, choice, tile=tile), x, router, bias, choice)


def test_full_width() -> None:
    x, router, bias = inputs(6, 4096, 256)
    check(route(x, router, bias, FLASH), x, router, bias, FLASH)
    x, router, bias = x[:1], router[:32], bias[:32]
    check(route(x, router, bias, FLASH), x, router, bias, FLASH)


def test_rows_that_begin_anywhere() -> None:
    x, router, bias = inputs(6, 384, 32)
    choice = ops.Choice(2, 4, 2, True, 1.0)
    for part in (x[:, 64:192], x[:2, 64:192], x[:, ::2]):
        weights = router[:, : part.shape[1]]
        check(route(part, weights, bias, choice), part, weights, bias, choice)


def test_rows_do_not_see_their_company() -> None:
    x, router, bias = inputs(24, 128, 64)
    few, some = route(x[:4], router, bias, FLASH), route(x, router, bias, FLASH)
    for t in range(4):
        for a, b in zip(few, route(x[t : t + 1], router, bias, FLASH), strict=True):
            assert torch.equal(a[t : t + 1], b)
    for a, b in zip(some, route(x[:5], router, bias, FLASH), strict=True):
        assert torch.equal(a[:5], b)


def test_ties_go_to_the_lowest_index() -> None:
    x, router, _ = inputs(5, 64, 32)
    bias = torch.zeros(32, device=DEVICE)
    choice = ops.Choice(4, 4, 2, True, 1.0)
    for same in (router[:1].expand(32, 64), router[:8].repeat(4, 1), router * 0):
        for rows in (x, x[:2]):
            want = vars(ops.route)["body"](rows, same, bias, choice)[1]
            assert torch.equal(route(rows, same, bias, choice)[1], want)


@pytest.mark.filterwarnings("ignore:All-NaN")
def test_a_row_that_is_no_number_still_names_experts() -> None:
    x, router, bias = inputs(2, 64, 32)
    x[0] = torch.nan
    _, experts = route(x, router, bias, ops.Choice(4, 4, 2, True, 1.0))
    assert ((experts >= 0) & (experts < 32)).all()
    assert all(len(set(row)) == 4 for row in experts.tolist())


def test_no_rows() -> None:
    x, router, bias = inputs(0, 64, 32)
    weights, experts = route(x, router, bias, FLASH)
    assert weights.shape == experts.shape == (0, 8)


def test_other_kinds_take_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(route.__globals__, "composed", vars(ops.route)["body"])
    x, router, bias = inputs(2, 64, 32)
    choice = ops.Choice(4, 4, 2, True, 1.0)
    assert route(x.double(), router, bias, choice)[0].dtype == torch.float64
    router.requires_grad_()
    assert route(x, router, bias, choice)[0].requires_grad
    with torch.no_grad():
        assert not route(x, router, bias, choice)[0].requires_grad
    with pytest.raises(ValueError, match="32 experts in 5 groups"), torch.no_grad():
        route(x, router, bias, ops.Choice(4, 5, 2, True, 1.0))
