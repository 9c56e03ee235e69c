"""Several samples of one request: the prompt is read once, each sample is the oracle's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from flashling.engine.engine import Engine
from flashling.engine.request import Overloaded, Request
from flashling.model import oracle
from flashling.sampling import Sampling

from .test_engine import check_empty, gather, model

HOT = Sampling(temperature=1.0, seed=3, max_tokens=9)
PROMPT = tuple(range(20, 120))


def wanted(sample: int, prompt: tuple[int, ...] = PROMPT, s: Sampling = HOT) -> list[int]:
    return oracle.generate(model(), [prompt], s, sample=sample)[0].tokens


@contextmanager
def rows() -> Iterator[list[int]]:
    """The rows of each step of the model."""
    found: list[int] = []

    def count(_: Any, arguments: tuple[Any, ...]) -> None:
        found.append(len(arguments[0].tokens))

    hook = model().register_forward_pre_hook(count)
    yield found
    hook.remove()


@pytest.mark.parametrize(("slots", "budget"), [(8, 512), (2, 512), (1, 30), (3, 1)])
@pytest.mark.parametrize("length", [1, 2, 64, 65, 100])
def test_the_prompt_is_read_once(length: int, slots: int, budget: int) -> None:
    engine = Engine(model(), slots=slots, pages=32, budget=budget)
    prompt = PROMPT[:length]
    with rows() as read:
        numbers = engine.add_samples(Request(prompt, HOT), 4)
        found = gather(list(engine.run()))
    said = [[e.token for e in found[n]] for n in numbers]
    assert said == [wanted(i, prompt) for i in range(4)] and len({*map(tuple, said)}) > 1
    # of the prompt only the last token is read by each, since each draws after it
    assert sum(read) == length - 1 + sum(map(len, said))
    usages = [found[n][-1].usage for n in numbers]
    assert [u.cached for u in usages if u] == [0, *[length - 1] * 3]
    assert [u.restored_from for u in usages if u][1:] == ["device" if length > 1 else ""] * 3
    assert [u.recomputed for u in usages if u] == [0] * 4
    check_empty(engine)


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_without_the_first_the_next_reads(steps: int) -> None:
    engine = Engine(model(), slots=4, pages=32, budget=40)
    with rows() as read:
        first, *others = engine.add_samples(Request(PROMPT, HOT), 3)
        events = [e for _ in range(steps) for e in engine.step()]
        assert engine.abort(first)
        # the others have not begun, for the prompt has not been read
        assert [s.id for s in engine.waiting] == others
        found = gather(events + list(engine.run()))
    assert found[first][-1].finish == "abort"
    said = [[e.token for e in found[n]] for n in others]
    assert said == [wanted(1), wanted(2)]
    assert sum(read) == 40 * steps + len(PROMPT) - 1 + sum(map(len, said))
    check_empty(engine)


def test_a_reader_that_is_overtaken_goes_on() -> None:
    engine = Engine(model(), slots=1, pages=32, budget=40)
    with rows() as read:
        numbers = engine.add_samples(Request(PROMPT, HOT), 2)
        engine.step()
        urgent = engine.add(Request(PROMPT[::-1], HOT, priority=1))
        found = gather(list(engine.run()))
    assert [e.token for e in found[urgent]] == wanted(0, PROMPT[::-1])
    said = [[e.token for e in found[n]] for n in numbers]
    assert said == [wanted(0), wanted(1)]
    assert sum(read) == 2 * (len(PROMPT) - 1) + sum(map(len, said)) + len(found[urgent])
    check_empty(engine)


def test_others_pass_samples_that_wait() -> None:
    engine = Engine(model(), slots=2, pages=32, budget=40)
    engine.add_samples(Request(PROMPT, HOT), 2)
    other = engine.add(Request((1, 2, 3), HOT))
    engine.step()
    assert [s.id for s in engine.running] == [0, other]
    list(engine.run())
    check_empty(engine)


def test_without_room_for_a_checkpoint_each_reads_by_itself() -> None:
    engine = Engine(model(), slots=2, pages=32, checkpoint_bytes=0)
    numbers = engine.add_samples(Request(PROMPT, HOT, sample=5), 3)
    found = gather(list(engine.run()))
    assert [[e.token for e in found[n]] for n in numbers] == [wanted(5 + i) for i in range(3)]
    check_empty(engine)


def test_too_many_samples_are_refused_whole() -> None:
    engine = Engine(model(), slots=1, pages=32, queue=3)
    with pytest.raises(ValueError, match="0 samples"):
        engine.add_samples(Request(PROMPT, HOT), 0)
    with pytest.raises(ValueError, match="4 samples for a queue of 3"):
        engine.add_samples(Request(PROMPT, HOT), 4)
    engine.add_samples(Request(PROMPT, HOT), 2)
    with pytest.raises(Overloaded):
        engine.add_samples(Request(PROMPT, HOT), 2)
    assert len(engine.waiting) == 2
