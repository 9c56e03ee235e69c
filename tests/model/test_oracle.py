"""What generation means: filters, penalties, noise, stopping."""

from __future__ import annotations

import math

import pytest
import torch

from flashling import ops
from flashling.config import TOY
from flashling.model.oracle import generate
from flashling.ops.sample import filtered
from flashling.sampling import Sampling

from .test_model import build, text, whole


def kept_ids(logits: list[float], **settings: float) -> list[int]:
    x = filtered(torch.tensor(logits), Sampling(**settings), [], [])  # pyright: ignore
    return torch.isfinite(x).nonzero()[:, 0].tolist()


def test_philox_known_answers() -> None:
    # vectors of the Random123 distribution: counter and key all zero, then all ones
    assert ops.philox(torch.tensor([0]), 0, 0, 0).item() == 0x6627E8D5
    ones = (1 << 32) - 1
    assert ops.philox(torch.tensor([ones]), ones, ones, ones).item() != 0x6627E8D5


def test_the_draw_follows_the_distribution() -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    p = logits.softmax(-1)
    n = 4000
    counts = torch.zeros(4)
    for seed in range(n):
        counts[ops.choose(logits, Sampling(seed=seed), [1, 2], [])] += 1
    chi = ((counts - n * p) ** 2 / (n * p)).sum().item()
    assert chi < 16.3  # 0.1 % of a chi-square with three degrees of freedom


def test_filters() -> None:
    logits = [math.log(p) for p in (0.1, 0.5, 0.15, 0.25)]
    assert kept_ids(logits, top_k=2) == [1, 3]
    assert kept_ids(logits, top_p=0.5) == [1]
    assert kept_ids(logits, top_p=0.51) == [1, 3]
    assert kept_ids(logits, min_p=0.3) == [1, 2, 3]
    assert kept_ids(logits, top_k=3, top_p=0.7) == [1, 3]
    assert kept_ids([1.0, 1.0, 1.0], top_k=1) == [0]


def test_penalties_and_bias() -> None:
    logits = torch.tensor([2.0, -2.0, 1.0])
    s = Sampling(repetition_penalty=2.0, temperature=0)
    assert filtered(logits, s, [0], [1]).tolist() == [1.0, -4.0, 1.0]
    s = Sampling(presence_penalty=0.5, frequency_penalty=0.25, temperature=0)
    assert filtered(logits, s, [0], [2, 2]).tolist() == [2.0, -2.0, 0.0]
    s = Sampling(logit_bias={1: 100.0}, temperature=0)
    assert ops.choose(logits, s, [], []) == 1
    with pytest.raises(ValueError, match="token 7; the vocabulary has 3"):
        filtered(logits, Sampling(logit_bias={7: 1.0}), [], [])


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", -1.0), ("top_p", 0.0), ("top_p", math.nan), ("max_tokens", 0)],
)
def test_bad_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=name):
        Sampling(**{name: value})  # pyright: ignore[reportArgumentType]


def test_generation_is_what_scoring_says() -> None:
    model, prompt = build(), text(20)
    s = Sampling(max_tokens=12, seed=5, temperature=1.5, logprobs=3)
    [out] = generate(model, [prompt], s)
    hidden = whole(model, prompt + out.tokens)
    scores = ops.logprobs_of(model.logits(hidden))
    for i, (token, logprob) in enumerate(zip(out.tokens, out.logprobs, strict=True)):
        assert logprob == pytest.approx(scores[len(prompt) - 1 + i, token].item(), abs=1e-9)
    assert all(len(t) == 3 for t in out.top)
    # company changes nothing, another sample does
    assert generate(model, [text(9, 3), prompt], s)[1].tokens == out.tokens
    assert generate(model, [prompt], s, sample=1)[0].tokens != out.tokens


def test_stopping() -> None:
    model, prompt = build(TOY.with_(eos_token_ids=())), text(20)
    s = Sampling(max_tokens=8, temperature=0)
    [free] = generate(model, [prompt], s)
    assert (len(free.tokens), free.finish) == (8, "length")
    stop = free.tokens[2]
    first = free.tokens.index(stop)
    [out] = generate(model, [prompt], Sampling(max_tokens=8, temperature=0, stop_ids=(stop,)))
    assert (out.tokens, out.finish) == (free.tokens[: first + 1], "stop")
    s = Sampling(max_tokens=8, temperature=0, stop_ids=(stop,), min_tokens=first + 2)
    [out] = generate(model, [prompt], s)
    assert len(out.tokens) >= first + 2
    with pytest.raises(ValueError, match="empty"):
        generate(model, [[]], s)
