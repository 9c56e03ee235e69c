"""Draws of many rows at once beside the draw of each alone, and beside the distribution."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from flashling import ops
from flashling.ops import Draw
from flashling.ops.sample import filtered
from flashling.sampling import Sampling


def alone(logits: torch.Tensor, row: Draw) -> int:
    """-1 where no token may come."""
    try:
        return ops.choose(logits, row.settings, row.prompt, row.out, row.sample, row.allowed)
    except ValueError:
        return -1


def random_row(draw: random.Random, vocab: int) -> Draw:
    """Settings of every kind, each in about half of the rows; one in four is plain and greedy."""

    def maybe(usual: float, *others: float) -> float:
        return draw.choice((usual, draw.choice(others)))

    if draw.random() < 0.25:
        return Draw(Sampling(temperature=0.0), [1], [2])
    stops = tuple(draw.sample(range(vocab), 2))
    settings = Sampling(
        temperature=maybe(1.0, 0.0, 0.3, 1.7),
        top_p=maybe(1.0, 0.1, 0.5, 0.97),
        top_k=int(maybe(0, 1, 5, vocab)),
        min_p=maybe(0.0, 0.02, 0.3),
        repetition_penalty=maybe(1.0, 0.7, 1.3),
        presence_penalty=maybe(0.0, 0.3, -0.2),
        frequency_penalty=maybe(0.0, 0.1, -0.7),
        logit_bias=draw.choice(({}, {draw.randrange(vocab): draw.choice((-3.3, 2.1, -1e9))})),
        seed=draw.choice((0, 7, 2**40 + 3, 2**64 - 1)),
        min_tokens=draw.choice((0, 0, 9)),
        stop_ids=draw.choice(((), stops)),
        logprobs=draw.choice((0, 0, 3)),
    )
    prompt = [draw.randrange(vocab) for _ in range(draw.randrange(1, 12))]
    out = [draw.randrange(vocab) for _ in range(draw.randrange(12))]
    mask = torch.rand(vocab, generator=torch.Generator().manual_seed(draw.randrange(99))) < 0.3
    only_stops = torch.zeros(vocab, dtype=torch.bool)
    only_stops[list(stops)] = True
    allowed = draw.choice((None, None, mask, only_stops, torch.zeros_like(mask)))
    return Draw(settings, prompt, out, draw.randrange(3), allowed)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("vocab", [61, 320])
def test_rows_are_drawn_as_each_alone(vocab: int, dtype: torch.dtype) -> None:
    draw, found = random.Random(vocab), set()
    for seed in range(40):
        g = torch.Generator().manual_seed(seed)
        rows = [random_row(draw, vocab) for _ in range(draw.randrange(1, 20))]
        # rounded, so that there are ties too
        logits = (torch.randn(len(rows), vocab, generator=g) * 2).mul(8).round().div(8).to(dtype)
        before = logits.clone()
        drawn = ops.draw(logits, rows)
        assert torch.equal(logits, before)
        for n, (row, got) in enumerate(zip(rows, drawn, strict=True)):
            want = alone(logits[n], row)
            assert (-1 if got.token is None else got.token) == want and got.is_finite, row
            logprobs = ops.logprobs_of(logits[n])
            assert want < 0 or got.logprob == float(logprobs[want])
            best = logprobs.topk(row.settings.logprobs).values.tolist()
            assert [p for _, p in got.top] == best
            assert all(float(logprobs[t]) == p for t, p in got.top)
            found.add(want < 0)
    assert found == {True, False}


def test_noise_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    logits = torch.randn(9, 50, generator=torch.Generator().manual_seed(0))
    rows = [Draw(Sampling(temperature=float(n % 3), seed=n), [1], [2] * n) for n in range(9)]
    want = ops.choose_rows(logits, rows)
    assert want.tolist() == [alone(x, r) for x, r in zip(logits, rows, strict=True)]
    monkeypatch.setattr("flashling.ops.sample.BLOCK", 120)
    assert torch.equal(ops.choose_rows(logits, rows), want)


def test_a_row_that_is_not_finite_is_told_alone() -> None:
    logits = torch.zeros(3, 8)
    logits[1, 3] = torch.nan
    logits[2, 0] = torch.inf
    drawn = ops.draw(logits, [Draw(Sampling(), [1], [])] * 3)
    assert [d.is_finite for d in drawn] == [True, False, False]


def test_what_does_not_fit_is_named() -> None:
    logits = torch.zeros(1, 8)
    with pytest.raises(ValueError, match="token 9; the vocabulary has 8"):
        ops.choose_rows(logits, [Draw(Sampling(logit_bias={9: 1.0}), [1], [])])
    with pytest.raises(ValueError, match="a mask of 7 tokens for a vocabulary of 8"):
        ops.choose_rows(logits, [Draw(Sampling(), [1], [], 0, torch.ones(7, dtype=torch.bool))])


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(),
        Sampling(temperature=0.7, top_p=0.8),
        Sampling(temperature=1.5, top_k=4),
        Sampling(min_p=0.1, repetition_penalty=1.5, frequency_penalty=0.4),
    ],
    ids=["plain", "top-p", "top-k", "min-p"],
)
@pytest.mark.parametrize("vary", ["seed", "sample", "position"])
def test_draws_follow_the_filtered_distribution(settings: Sampling, vary: str) -> None:
    """Over seeds, samples and positions alike: 0.1 % of a chi-square each."""
    logits, n = torch.tensor([1.0, 0.0, -1.0, 2.0, 0.5, 1.2, -0.3]), 4000
    rows = [
        Draw(
            replace(settings, seed=i if vary == "seed" else 3),
            prompt=[0] * (2 + i * (vary == "position")),
            out=[3],
            sample=i * (vary == "sample"),
        )
        for i in range(n)
    ]
    p = filtered(logits, settings, rows[0].prompt, [3]).softmax(-1)
    tokens = ops.choose_rows(logits.expand(n, -1), rows)
    counts = tokens.bincount(minlength=len(p)).double()
    likely = p > 0
    assert counts[~likely].sum() == 0
    chi = ((counts - n * p) ** 2 / (n * p))[likely].sum().item()
    # the 99.9 % points of chi-square with 1 to 6 degrees of freedom
    assert chi < [10.8, 13.8, 16.3, 18.5, 20.5, 22.5][int(likely.sum()) - 2]


def test_neighbours_are_independent() -> None:
    """Pairs of draws at neighbouring positions fill the product of their distributions."""
    logits, n = torch.tensor([0.0, 0.5, 1.0]), 6000
    p = logits.softmax(-1)
    rows = [Draw(Sampling(seed=5), [], range(i)) for i in range(n)]
    tokens = ops.choose_rows(logits.expand(n, -1), rows)
    pairs = (tokens[0::2] * 3 + tokens[1::2]).bincount(minlength=9)
    want = torch.outer(p, p).flatten() * (n // 2)
    # 99.9 % of chi-square with 8 degrees of freedom
    assert ((pairs - want) ** 2 / want).sum() < 26.1
