"""Recorded steps draft while that pays: when it ends, when it is tried again, and that no token and
no guess tells of it.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from flashling.engine import engine as engines
from flashling.engine.drafts import Pace
from flashling.engine.engine import Engine
from flashling.engine.request import Event, Request
from flashling.model import oracle

from .test_drafted_steps import HOT, Told, check
from .test_engine import check_empty, gather, model


def run(pace: Pace, steps: int, tokens: float) -> list[int]:
    """The drafts of so many steps that each give so many tokens if they draft."""
    found = []
    for _ in range(steps):
        found.append(pace.drafts)
        pace.heed(pace.drafts, tokens if pace.drafts else 1.0)
    return found


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_does_not_pay_ends_and_is_tried_again(most: int) -> None:
    pace = Pace(most)
    found = run(pace, 3 * Pace.PAUSE, 1.0)
    tried = found.index(0)
    # few steps tell, and a pause follows each time
    assert found[:tried] == [most] * tried and 3 < tried < Pace.WINDOW
    assert found == (found[: tried + Pace.PAUSE] * 3)[: len(found)]
    # steps that were tried cost as much as a few more plain ones
    assert found.count(most) * Pace.COST * most < 0.05 * len(found) * most


def test_what_pays_goes_on() -> None:
    assert set(run(Pace(1), 1000, 1.6)) == {1}
    assert 0 in run(Pace(1), 1000, 1.5)
    assert set(run(Pace(0), 300, 1.0)) == {0}
    # a mean of many steps: seven of eight drafts are taken, at random
    draw, pace = random.Random(0), Pace(1)
    assert all(run(pace, 1, 1.0 + (draw.random() < 7 / 8))[0] for _ in range(5000))


def test_after_a_pause_it_is_on_again_when_everything_is_taken() -> None:
    pace = Pace(1)
    assert run(pace, Pace.PAUSE + 50, 1.0)[-1] == 0
    found = run(pace, Pace.PAUSE, 2.0)
    on = found.index(1)
    assert set(found[on:]) == {1} and set(run(pace, 1000, 2.0)) == {1}


def paced(drafts: int, slots: int = 3, budget: int = 512) -> Engine:
    """An engine that takes up and leaves off drafts every few steps."""
    engine = Engine(model(), slots=slots, pages=32, budget=budget, drafts=drafts)
    engine.steps = engine._steps()
    engine.pace.WINDOW, engine.pace.PAUSE = 4, 5
    return engine


def widths(engine: Engine, events: list[Event], until: int | None = None) -> list[int]:
    """Step until a request has ended, or all; the rows of a sequence in each recorded step."""
    found = []
    while not engine.is_idle:
        told = engine.step()
        events += told
        if engine._flight is not None:
            found.append(engine._flight.width)
        if any(e.id == until and e.finish for e in told):
            break
    return found


@pytest.mark.parametrize("drafts", [pytest.param(1, marks=pytest.mark.soak), 3])
def test_tokens_are_the_oracles_while_it_switches(
    drafts: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drafts that are never right, then always, of sequences that come and end meanwhile; and
    later turns, whose past was left by steps of both kinds.
    """
    engine, draw, events = paced(drafts), random.Random(drafts), list[Event]()
    told, asked = Told(monkeypatch, engine, drafts), {}
    turns: list[tuple[int, ...]] = [
        tuple(draw.randrange(10, 250) for _ in range(n)) for n in (60, 1, 5, 64)
    ]
    for rate in (0.0, 1.0, 0.5):
        told.rate, begun = rate, []
        for n, prompt in enumerate(turns):
            how = replace(HOT, temperature=(0.0, 1.0)[n % 2], seed=n, max_tokens=30 + 9 * n)
            number, want = told.add(prompt, how, session=f"{n}")
            asked[number] = want
            begun.append(number)
        found = widths(engine, events)
        # it leaves off and begins anew, and where all are right it stays at it
        if rate == 1:
            assert set(found[-15:]) == {1 + drafts}
        else:
            assert sum(a != b for a, b in zip(found, found[1:], strict=False)) > 4
        turns = [(*p, *asked[n].tokens, 11) for p, n in zip(turns, begun, strict=True)]
    by_id = gather(events)
    for number, want in asked.items():
        check(want, by_id[number])
    for usage in [by_id[n][-1].usage for n in asked][4:]:
        # the last token, which ended the turn before, was not read
        assert usage is not None and usage.cached == usage.prompt - 2
    check_empty(engine)


def test_the_layer_has_read_what_steps_without_drafts_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """After a pause, and in a turn that goes on from a checkpoint made in one, guesses are those of
    an engine that never pauses.
    """
    monkeypatch.setattr(engines, "propose", lambda tokens, most: [])

    def all_drafts(engine: Engine) -> tuple[dict[tuple[int, ...], list[int]], set[int]]:
        seen, prompt = dict[tuple[int, ...], list[int]](), tuple(range(20, 75))
        rows = set()
        for _ in range(3):
            number = engine.add(Request(prompt, replace(HOT, max_tokens=33)))
            said = []
            while not engine.is_idle:
                said += [e.token for e in engine.step() if e.id == number]
                rows |= {engine._flight.width} if engine._flight else set()
                for s in engine.running:
                    if s.drafts and s.left == 1:
                        seen[tuple(s.tokens)] = list(s.drafts)
            prompt = (*prompt, *said, 11)
        return seen, rows

    found, rows = all_drafts(paced(2))
    assert rows == {1, 3}
    want, _ = all_drafts(Engine(model(), slots=3, pages=32, drafts=2))
    both = found.keys() & want.keys()
    assert len(both) > 20
    for text in both:
        # the host drafts no further than can be taken
        most = len(want[text])
        assert most and found[text][:most] == want[text]


def test_one_that_is_preempted_in_a_pause_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    engine, events = paced(1, slots=1), list[Event]()
    told = Told(monkeypatch, engine)
    told.rate = 0.0
    low, want = told.add(tuple(range(20, 80)), HOT)
    while not (engine.running and len(engine.running[0].owed) > 1):
        events += engine.step()
    [urgent] = oracle.generate(model(), [(30, 31)], HOT)
    high = engine.add(Request((30, 31), HOT, priority=1))
    found = gather([*events, *engine.run()])
    check(want, found[low])
    check(urgent, found[high])
    check_empty(engine)
