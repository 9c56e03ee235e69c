"""Steps that are launched before the one before them is read."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashling.engine.engine import Engine
from flashling.engine.flight import Flight
from flashling.engine.request import Request
from flashling.model import oracle
from flashling.sampling import Sampling

from .test_engine import check_empty, gather, model

HOW = Sampling(temperature=1.0, seed=5, max_tokens=30)


def running_ahead(slots: int = 2) -> Engine:
    engine = Engine(model(), slots=slots, pages=16)
    engine.steps = engine._steps()
    return engine


def in_air(engine: Engine) -> Flight:
    assert engine._flight is not None
    return engine._flight


@pytest.mark.parametrize("length", [61, 62, 63, 64])
def test_a_row_too_many_does_not_show(length: int) -> None:
    """A turn ends by a stop with a row in the air, in an open chunk and at its end."""
    prompt, other = tuple(range(20, 20 + length)), tuple(range(90, 97))
    [free] = oracle.generate(model(), [prompt], HOW)
    how = replace(HOW, stop_ids=(free.tokens[2],))
    [want] = oracle.generate(model(), [prompt], how)
    assert want.finish == "stop"
    engine = running_ahead()
    number = engine.add(Request(prompt, how))
    engine.add(Request(other, replace(HOW, max_tokens=60)))
    events = []
    while not any(e.id == number and e.finish for e in events):
        events += engine.step()
    # it was launched for both, and counts for the other
    assert [s is None for s in in_air(engine).rows].count(True) == 1
    assert [e.token for e in events if e.id == number] == want.tokens
    longer = (*prompt, *want.tokens, 33)
    [after] = oracle.generate(model(), [longer], HOW)
    again = engine.add(Request(longer, HOW))
    found = gather([*events, *engine.run()])
    assert [e.token for e in found[again]] == after.tokens
    usage = found[again][-1].usage
    assert usage is not None and usage.cached == length + len(want.tokens) - 1
    [rest] = oracle.generate(model(), [other], replace(HOW, max_tokens=60))
    assert [e.token for e in found[number + 1]] == rest.tokens
    check_empty(engine)


def test_the_next_step_is_launched_first() -> None:
    engine = running_ahead()
    engine.add(Request((20, 21, 22), HOW))
    engine.step()
    assert engine.step() == [] and in_air(engine).rows
    first = in_air(engine)
    [event] = engine.step()
    assert event.token is not None and in_air(engine) is not first
    # nobody is run ahead of who waits: the step lands, and the next one reads the other's prompt
    late = engine.add(Request((30, 31), replace(HOW, max_tokens=3)))
    assert [e.id for e in engine.step()] == [0, 0] and engine._flight is None
    found = gather(list(engine.run()))
    [want] = oracle.generate(model(), [(30, 31)], replace(HOW, max_tokens=3))
    assert [e.token for e in found[late]] == want.tokens
    check_empty(engine)


@pytest.mark.parametrize("change", ["penalty", "alternatives", "bias", "early stop"])
def test_what_the_host_must_draw_is_drawn_there(change: str) -> None:
    more: dict = {
        "penalty": {"presence_penalty": 1.0},
        "alternatives": {"logprobs": 2},
        "bias": {"logit_bias": {40: 3.0}},
        "early stop": {"min_tokens": 3, "stop_ids": (40,)},
    }[change]
    how = replace(HOW, max_tokens=8, **more)
    engine = running_ahead()
    engine.add(Request((20, 21, 22), how))
    engine.add(Request((25, 26), replace(HOW, max_tokens=8)))
    events = []
    while not engine.is_idle:
        events += engine.step()
        assert engine._flight is None or all(
            s is None or s.request.sampling is not how for s in engine._flight.rows
        )
    found = gather(events)
    for number, prompt, own in ((0, (20, 21, 22), how), (1, (25, 26), replace(HOW, max_tokens=8))):
        [want] = oracle.generate(model(), [prompt], own)
        assert [e.token for e in found[number]] == want.tokens
    check_empty(engine)


def test_new_weights_find_no_row_in_the_air() -> None:
    engine = running_ahead()
    number = engine.add(Request((20, 21, 22), HOW))
    while engine._flight is None:
        engine.step()
    with torch.no_grad():
        other = type(model())(model().config).init_weights(9).to(model().dtype)
    engine.update_weights(other, b"other", begun="restart")
    events = list(engine.run())
    restart = next(i for i, e in enumerate(events) if e.is_restart)
    [want] = oracle.generate(other, [(20, 21, 22)], HOW)
    assert [e.token for e in events[restart + 1 :] if e.id == number] == want.tokens
    check_empty(engine)
