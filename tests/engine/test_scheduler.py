"""Which sequences run how many tokens."""

from __future__ import annotations

from flashling.config import LING_FLASH
from flashling.engine.request import Request, Sequence, Usage
from flashling.engine.scheduler import BESIDE, plan, reach


def sequence(number: int, tokens: int, done: int = 0, priority: int = 0) -> Sequence:
    request = Request(tuple(range(tokens)), priority=priority)
    s = Sequence(number, request, number, number, Usage(tokens), list(range(tokens)))
    s.done = done
    return s


def counts(running: list[Sequence], budget: int) -> list[tuple[int, int]]:
    return [(s.id, rows) for s, rows in plan(running, budget)]


def test_prompts_share_a_step_by_priority_and_arrival() -> None:
    first, second, urgent = sequence(0, 100), sequence(1, 100), sequence(2, 30, priority=1)
    assert counts([first, second, urgent], 160) == [(2, 30), (0, 100), (1, 30)]


def test_beside_draws_a_prompt_gets_a_part_of_the_step() -> None:
    prompt, drawing = sequence(0, 1000), sequence(1, 50, done=49)
    assert counts([prompt], 512) == [(0, 512)]
    assert counts([prompt, drawing], 512) == [(1, 1), (0, 512 // BESIDE)]
    # never nothing at all, and never more than the draws leave
    assert counts([prompt, drawing], 4) == [(1, 1), (0, 1)]
    assert counts([prompt, drawing], 1) == [(1, 1)]


def test_beside_draws_rows_far_into_a_prompt_count_for_more() -> None:
    drawing, far = sequence(1, 50, done=49), sequence(0, 4000, done=3000)
    assert [rows for _, rows in plan([far, drawing], 512, reach=1000.0)] == [1, 16]
    assert [rows for _, rows in plan([far], 512, reach=1000.0)] == [512]
    assert [rows for _, rows in plan([far, drawing], 512, reach=1.0)] == [1, 1]


def test_reach_is_where_attention_costs_as_much_as_the_rest() -> None:
    assert 150_000 < reach(LING_FLASH) < 220_000


def test_a_chunk_ends_where_something_is_kept() -> None:
    s = sequence(0, 1000, done=64)
    s.stops = (64, 100, 900)
    assert counts([s], 512) == [(0, 36)]
