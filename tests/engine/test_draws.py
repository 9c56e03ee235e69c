"""Draws that see the drafts before them: penalties, masks, stops that come too early."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch

from flashling.engine import engine as engines
from flashling.engine.drafts import heed, room_for_drafts
from flashling.engine.engine import Engine
from flashling.engine.request import Request, Sequence, Usage
from flashling.model import oracle
from flashling.sampling import Sampling

from .test_engine import check_empty, gather, model

HOT = Sampling(
    temperature=1.2,
    top_p=0.9,
    top_k=40,
    min_p=0.01,
    repetition_penalty=1.3,
    presence_penalty=0.4,
    frequency_penalty=0.3,
    logit_bias={11: 2.0},
    min_tokens=12,
    stop_ids=(11, 12),
    max_tokens=40,
    logprobs=2,
)


class Residues:
    """A token of every next residue mod 5, until 30 have come."""

    def __init__(self, count: int = 0) -> None:
        self.count = count

    @property
    def is_done(self) -> bool:
        return self.count == 30

    def mask(self) -> torch.Tensor:
        return torch.arange(256) % 5 == self.count % 5

    def accept(self, token: int) -> None:
        if not self.mask()[token]:
            raise ValueError(f"token {token} may not come here")
        self.count += 1

    def draft_masks(self, drafts: list[int]) -> list[torch.Tensor]:
        ahead = Residues(self.count)
        masks = [ahead.mask()]
        for draft in drafts:
            if not masks[-1][draft]:
                break
            ahead.accept(draft)
            masks.append(ahead.mask())
        return masks


@pytest.mark.parametrize("seed", range(6))
def test_all_settings_with_drafts_in_one_batch(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(seed)
    guides = [None, Residues, None, Residues]
    greedy = replace(HOT, temperature=0.0, seed=1)
    settings = [replace(HOT, seed=seed), replace(HOT, seed=seed), greedy, greedy]
    prompts = [tuple(draw.randrange(20, 250) for _ in range(20 + n)) for n in range(4)]
    asked = list(zip(prompts, settings, guides, strict=True))
    wanted = [oracle.generate(model(), [p], s, guide=g)[0] for p, s, g in asked]

    def propose(tokens: list[int], most: int) -> list[int]:
        """What comes next, with a slip now and then."""
        whole = next(
            [*p, *w.tokens]
            for p, w in zip(prompts, wanted, strict=True)
            if tuple(tokens[: len(p)]) == p
        )
        ahead = whole[len(tokens) : len(tokens) + draw.randint(0, most)]
        return [t if draw.random() < 0.85 else draw.randrange(256) for t in ahead]

    monkeypatch.setattr(engines, "propose", propose)
    engine = Engine(model(), slots=4, pages=32, drafts=5)
    numbers = [engine.add(Request(p, s, guide=g)) for p, s, g in asked]
    found = gather(list(engine.run()))
    refused = 0
    for number, want in zip(numbers, wanted, strict=True):
        events = found[number]
        assert [e.token for e in events] == want.tokens and events[-1].finish == want.finish
        assert [e.logprob for e in events] == pytest.approx(want.logprobs, abs=1e-9)
        assert [[t for t, _ in e.top] for e in events] == [[t for t, _ in top] for top in want.top]
        usage = events[-1].usage
        assert usage is not None and usage.accepted
        refused += usage.drafted - usage.accepted
    assert refused
    check_empty(engine)


def test_an_impossible_token_is_refused_before_it_runs() -> None:
    engine = Engine(model(), slots=1, pages=4)
    with pytest.raises(ValueError, match="logit_bias has token 256; the vocabulary has 256"):
        engine.add(Request((1, 2), Sampling(logit_bias={256: 1.0})))
    with pytest.raises(ValueError, match="stop_ids has token -1"):
        engine.add(Request((1, 2), Sampling(stop_ids=(3, -1))))


def test_a_mask_of_another_vocabulary_ends_its_request_alone() -> None:
    class Short(Residues):
        def mask(self) -> torch.Tensor:
            return super().mask()[:-1]

    engine = Engine(model(), slots=2, pages=8)
    bad = engine.add(Request((20, 21), HOT, guide=Short))
    good = engine.add(Request((20, 21), HOT))
    found = gather(list(engine.run()))
    assert found[bad][-1].finish == "error" and "a mask of 255" in found[bad][-1].error
    [want] = oracle.generate(model(), [(20, 21)], HOT)
    assert [e.token for e in found[good]] == want.tokens
    check_empty(engine)


def test_drafts_reach_as_far_as_they_are_taken() -> None:
    s = Sequence(0, Request((1, 2, 3), Sampling(max_tokens=100)), 0, 0, Usage(3), [1, 2, 3])
    reaches = []
    became = ((4, 4), (5, 5), (6, 1), (4, 0), (2, 0), (1, 0), (1, 0), (1, 1), (2, 2))
    for drafted, accepted in became:
        heed(s, drafted, accepted)
        reaches.append(room_for_drafts(s))
    assert reaches == [5, 6, 4, 2, 1, 1, 1, 2, 3]
