"""Draws in Triton beside their body."""

from __future__ import annotations

import random

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.sample.triton import Tile, pick

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SMALL = Tile(128, 64, 4)
body = vars(ops.pick)["body"]


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the launcher allocates holds NaN, or a number that is no place, until it is written."""
    real = torch.Tensor.new_empty

    def poisoned(*arguments, **options):
        x = real(*arguments, **options)
        return x.fill_(torch.nan) if x.is_floating_point() else x.fill_(-123)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)


def columns(*rows: list[float], dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [torch.tensor(r, dtype=dtype, device=DEVICE) for r in rows]


def settings(draw: random.Random, num: int, vocab: int) -> tuple:
    """Of `num` rows, every setting on in about half of them."""

    def some(usual: float, *others: float) -> list[float]:
        return [draw.choice((usual, draw.choice(others))) for _ in range(num)]

    temperature = some(1.0, 0.0, 0.3, 1.7)
    top_p, min_p = some(1.0, 1e-9, 0.1, 0.5, 0.97), some(0.0, 0.02, 0.3, 1.0)
    top_k = some(0, 1, 5, vocab // 2, vocab, vocab + 3)
    seed = [ops.signed(draw.choice((0, 7, 2**40 + 3, 2**64 - 1))) for _ in range(num)]
    sample, position = some(0, 1, 5), [draw.randrange(1 << 20) for _ in range(num)]
    temperature, top_p, min_p = columns(temperature, top_p, min_p)
    whole = columns(top_k, seed, sample, position, dtype=torch.int64)
    return temperature, *whole[1:], (whole[0], top_p, min_p)


def normal(draw: random.Random, *shape: int) -> Tensor:
    g = torch.Generator().manual_seed(draw.randrange(1 << 30))
    return torch.randn(shape, generator=g) * 2


def check(logits: Tensor, given: tuple, tile: Tile = SMALL) -> None:
    tokens, logprobs, is_finite = pick(logits, *given, tile=tile)
    want, own, finite = body(logits, *given)
    assert torch.equal(tokens, want) and torch.equal(is_finite, finite)
    assert logprobs.dtype == torch.float32
    torch.testing.assert_close(logprobs, own, rtol=0, atol=2e-5)


@pytest.mark.parametrize("vocab", [1, 61, 300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("is_even", [False, True], ids=["ties", "plain"])
def test_it_is_the_body(vocab: int, dtype: torch.dtype, is_even: bool) -> None:
    draw = random.Random(vocab)
    logits = normal(draw, 6, vocab)
    # steps of an eighth: many are equal
    logits = logits if is_even else logits.mul(8).round().div(8)
    logits = logits.to(DEVICE, dtype)
    given = settings(draw, 6, vocab)
    check(logits, given)
    check(logits, (*given[:-1], None))


@pytest.mark.parametrize("name", ["top_k", "top_p", "min_p", "all"])
def test_each_filter_draws_the_same_at_many_places(name: str) -> None:
    """Enough draws that a token more or less among those kept would be seen."""
    num, vocab, draw = 9, 200, random.Random(3)
    logits = normal(draw, 1, vocab).mul(4).round().div(4).expand(num, -1).to(DEVICE)
    temperature, *_ = columns([1.3] * num)
    seed, sample, position = columns([5] * num, [0] * num, list(range(num)), dtype=torch.int64)
    on = {k: name in (k, "all") for k in ("top_k", "top_p", "min_p")}
    [top_k] = columns([n * 20 * on["top_k"] for n in range(num)], dtype=torch.int64)
    top_p, min_p = columns(
        [(n + 1) / num if on["top_p"] else 1.0 for n in range(num)],
        [n / num / 4 * on["min_p"] for n in range(num)],
    )
    check(logits, (temperature, seed, sample, position, (top_k, top_p, min_p)))


def test_the_size_that_is_used() -> None:
    draw = random.Random(1)
    logits = normal(draw, 2, 5000).bfloat16().to(DEVICE)
    given = settings(draw, 2, 5000)
    check(logits, given, Tile(4096, 512, 4))


def test_rows_do_not_see_their_company() -> None:
    draw = random.Random(2)
    logits, given = normal(draw, 3, 300).to(DEVICE), settings(draw, 3, 300)
    whole = pick(logits, *given, tile=SMALL)
    for n in range(3):
        part = slice(n, n + 1)
        own = [x[part] for x in given[:-1]]
        one = pick(logits[part], *own, tuple(x[part] for x in given[-1]), tile=SMALL)
        assert all(torch.equal(a, b[part]) for a, b in zip(one, whole, strict=True))


def test_zeros_of_both_signs_are_equal_and_infinities_are_told() -> None:
    logits = torch.zeros(5, 100, device=DEVICE)
    logits[0, ::2] = -0.0
    logits[1, 50:] = -torch.inf
    logits[2] = -torch.inf
    logits[3, 7] = torch.nan
    logits[4, 99] = torch.inf
    whole = columns([3] * 5, [0] * 5, [9] * 5, [20] * 5, dtype=torch.int64)
    real = columns([1.0] * 5, [0.9] * 5, [0.0] * 5)
    for cut in (None, (whole[3], *real[1:])):
        tokens, logprobs, is_finite = pick(logits, real[0], *whole[:3], cut, tile=SMALL)
        want = body(
            logits[:2], *(x[:2] for x in (real[0], *whole[:3])), cut and [c[:2] for c in cut]
        )
        assert tokens[:2].tolist() == want[0].tolist() and int(tokens[1]) < 50
        assert is_finite.tolist() == [True, False, False, False, False]
        assert all(0 <= token < 100 for token in tokens.tolist())
        assert torch.isfinite(logprobs[:2]).all()


def test_other_kinds_take_the_body_and_no_rows_give_none() -> None:
    draw = random.Random(4)
    given = settings(draw, 3, 50)
    logits = normal(draw, 3, 50).double().to(DEVICE)
    got = pick(logits, *given)
    assert got[1].dtype == torch.float64
    assert all(torch.equal(a, b) for a, b in zip(got, body(logits, *given), strict=True))
    none = [x[:0] for x in given[:-1]]
    assert [len(x) for x in pick(logits[:0].float(), *none)] == [0, 0, 0]
