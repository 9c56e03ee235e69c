"""Steps with drafts of the MTP layer that are launched before the one before them is read."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from flashling.engine import engine as engines
from flashling.engine.engine import Engine
from flashling.engine.request import Event, Request
from flashling.engine.steps import STOPS, Steps
from flashling.model import oracle
from flashling.model.oracle import Generation
from flashling.sampling import Sampling

from .test_engine import check_empty, gather, model

HOT = Sampling(temperature=1.0, seed=5, max_tokens=40)


def drafting(drafts: int, slots: int = 3, budget: int = 512) -> Engine:
    engine = Engine(model(), slots=slots, pages=32, budget=budget, drafts=drafts)
    engine.steps = engine._steps()
    # drafts pay whatever becomes of them
    engine.pace.COST = 0.0
    return engine


class Told:
    """Makes the MTP layer's guesses mostly right, once it has run: what the oracle says next."""

    def __init__(self, patch: pytest.MonkeyPatch, engine: Engine, seed: int = 0) -> None:
        self.engine, self.draw, self.texts = engine, random.Random(seed), dict[int, list[int]]()
        self.rate, self.steps = 0.85, 0
        own = Steps.guesses

        def guesses(steps: Steps, *given: Tensor) -> Tensor:
            found, (slots, lengths, *_, last) = own(steps, *given), given
            self.steps += 1
            for row, slot in enumerate(slots.tolist()):
                s = next((s for s in engine.running if s.slot == slot), None)
                if s is None or s.id not in self.texts:
                    continue
                at = int(lengths[row] + last[row]) + 2
                for i, token in enumerate(self.texts[s.id][at : at + found.shape[1]]):
                    found[row, i] = token if self.draw.random() < self.rate else 8
            return found

        patch.setattr(Steps, "guesses", guesses)

    def add(
        self, prompt: tuple[int, ...], how: Sampling, session: str = ""
    ) -> tuple[int, Generation]:
        """Ask, and what is to come."""
        [want] = oracle.generate(model(), [prompt], how)
        # as if no token ended it: the layer goes on guessing
        free = replace(how, stop_ids=(), max_tokens=how.max_tokens + 8)
        number = self.engine.add(Request(prompt, how, session=session))
        [long] = oracle.generate(model(), [prompt], free)
        self.texts[number] = [*prompt, *long.tokens]
        return number, want


def check(want: Generation, events: list[Event]) -> None:
    assert [e.token for e in events] == want.tokens and events[-1].finish == want.finish
    assert [e.logprob for e in events] == pytest.approx(want.logprobs, abs=1e-9)


@pytest.mark.parametrize("drafts", [1, 2, 3, 4])
def test_tokens_are_the_oracles(drafts: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Prompts around a chunk's end, greedy and drawn, that end apart and come while others run."""
    draw, engine = random.Random(drafts), drafting(drafts)
    told = Told(monkeypatch, engine, drafts)
    asked, events = {}, list[Event]()
    for n, length in enumerate((60, 1, 63, 64, 66, 70, 61)):
        prompt = tuple(draw.randrange(10, 250) for _ in range(length))
        how = replace(HOT, temperature=(0.0, 1.0, 0.8)[n % 3], seed=n, max_tokens=8 + 7 * n)
        if n % 3 == 2:
            how = replace(how, top_p=0.9, top_k=50, min_p=0.01)
        number, want = told.add(prompt, how)
        asked[number] = want
        for _ in range(3 * (n % 3)):
            events += engine.step()
    aborted = engine.running[0].id
    assert engine.abort(aborted)
    events += engine.run()
    found = gather(events)
    for number, want in asked.items():
        if number != aborted:
            check(want, found[number])
            usage = found[number][-1].usage
            assert usage is not None and usage.accepted <= usage.drafted
    # some steps gave a sequence several tokens
    tokens = sum(len(w.tokens) for w in asked.values())
    accepted = sum(es[-1].usage.accepted for es in found.values() if es[-1].usage)
    assert told.steps and accepted > tokens * drafts / (4 + 3 * drafts)
    check_empty(engine)


@pytest.mark.parametrize("drafts", [1, 3])
@pytest.mark.parametrize("length", [57, 59, 60, 61, 62])
def test_a_stop_among_drafts_is_gone_on_from(
    length: int, drafts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read behind a stop does not show, even where that has filled a chunk."""
    prompt, other = tuple(range(20, 20 + length)), tuple(range(90, 97))
    engine = drafting(drafts, slots=2)
    told = Told(monkeypatch, engine)
    told.rate = 1.0
    [free] = oracle.generate(model(), [prompt], HOT)
    number, want = told.add(prompt, replace(HOT, stop_ids=(free.tokens[5],)), session="a")
    assert want.finish == "stop"
    beside, rest = told.add(other, replace(HOT, max_tokens=60))
    events = []
    while not any(e.id == number and e.finish for e in events):
        events += engine.step()
    assert engine._flight is not None and engine._flight.rows.count(None) == 1
    longer = (*prompt, *want.tokens, 33)
    again, after = told.add(longer, HOT)
    found = gather([*events, *engine.run()])
    for n, wanted in ((number, want), (beside, rest), (again, after)):
        check(wanted, found[n])
    usage = found[again][-1].usage
    assert usage is not None and usage.cached == length + len(want.tokens) - 1
    check_empty(engine)


def test_the_layer_guesses_as_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drafts after each token, those of later turns too, whose past comes from a checkpoint."""
    monkeypatch.setattr(engines, "propose", lambda tokens, most: [])

    def all_drafts(engine: Engine) -> dict[tuple[int, ...], list[int]]:
        seen = dict[tuple[int, ...], list[int]]()
        prompt = tuple(range(20, 75))
        for _ in range(2):
            number = engine.add(Request(prompt, replace(HOT, max_tokens=25)))
            said = []
            while not engine.is_idle:
                said += [e.token for e in engine.step() if e.id == number]
                for s in engine.running:
                    if s.drafts and s.left == 1:
                        seen[tuple(s.tokens)] = list(s.drafts)
            prompt = (*prompt, *said, 11)
        return seen

    recorded = all_drafts(drafting(3))
    own = all_drafts(Engine(model(), slots=3, pages=32, drafts=3))
    both = recorded.keys() & own.keys()
    assert len(both) > 30
    for text in both:
        # the host drafts no further than can be taken
        most = len(own[text])
        assert most and recorded[text][:most] == own[text]


def test_many_stops_and_what_the_host_draws_go_without(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = drafting(2)
    told = Told(monkeypatch, engine)
    hows = [
        replace(HOT, stop_ids=tuple(range(100, 101 + STOPS))),
        replace(HOT, presence_penalty=1.0),
        HOT,
    ]
    asked = [told.add(tuple(range(20 + n, 60)), how) for n, how in enumerate(hows)]
    found = gather(list(engine.run()))
    for number, want in asked:
        check(want, found[number])
    check_empty(engine)


def test_one_that_was_preempted_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = drafting(3, slots=1)
    told = Told(monkeypatch, engine)
    low, want = told.add(tuple(range(20, 80)), HOT)
    events = []
    for _ in range(5):
        events += engine.step()
    [urgent] = oracle.generate(model(), [(30, 31)], HOT)
    high = engine.add(Request((30, 31), HOT, priority=1))
    found = gather([*events, *engine.run()])
    check(want, found[low])
    check(urgent, found[high])
    check_empty(engine)


def test_rows_of_a_budget_and_the_last_page() -> None:
    """Where the rows of all are too many the host plans; rows behind a sequence hurt no other."""
    torch.manual_seed(0)
    engine = drafting(3, slots=2, budget=6)
    hows = [replace(HOT, max_tokens=128 - 60), replace(HOT, max_tokens=40)]
    prompts = [tuple(range(20, 80)), tuple(range(100, 140))]
    wants = [oracle.generate(model(), [p], h)[0] for p, h in zip(prompts, hows, strict=True)]
    numbers = [engine.add(Request(p, h)) for p, h in zip(prompts, hows, strict=True)]
    found = gather(list(engine.run()))
    for number, want in zip(numbers, wants, strict=True):
        check(want, found[number])
    engine.budget = 100
    numbers = [engine.add(Request((*p, 5), h)) for p, h in zip(prompts, hows, strict=True)]
    found = gather(list(engine.run()))
    for number, p, how in zip(numbers, prompts, hows, strict=True):
        check(oracle.generate(model(), [(*p, 5)], how)[0], found[number])
    check_empty(engine)
