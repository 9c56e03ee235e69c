"""What is kept: classes, worth, budgets; no tensor has a number here."""

from __future__ import annotations

import random

import pytest
import torch

from flashling.engine.cache import PAGE, Snapshot
from flashling.engine.keep import (
    NEWEST,
    OLDER,
    SHARED,
    SPARSE,
    SUPERSEDED,
    Keeper,
    Kept,
    Policy,
    ancestor,
    kind,
    path,
    whole_pages,
)
from flashling.engine.pages import Pages
from flashling.engine.request import pages_for

# bytes of one state, whatever its length
STATE = 400


def snapshot(length: int) -> Snapshot:
    state = torch.empty(1, 1, 10, 10, device="meta")
    return Snapshot(length, state, torch.empty(1, 2, 0, 1, 10, device="meta"))


class Bench:
    """A keeper on a clock of its own, with sequences that come and go."""

    def __init__(self, states: int, pages: int = 1000) -> None:
        self.clock, self.gone = 0.0, list[Kept]()
        self.pages = Pages(pages)
        self.keeper = Keeper(
            self.pages, states * STATE, now=lambda: self.clock, spill=self.gone.append
        )

    def keep(self, tokens: tuple[int, ...], over: int | None = None) -> Kept:
        """A sequence comes, goes on from what is kept, is kept itself and goes."""
        above = self.keeper.tree.match("", tokens, len(tokens)).checkpoint
        shared = list(above.pages[: whole_pages(above)]) if above else []
        self.pages.share(shared)
        held = shared + self.pages.take(pages_for(len(tokens)) - len(shared))
        self.keeper.keep("", tokens, snapshot(len(tokens)), held, over)
        self.pages.drop(held)
        found = self.keeper.tree.match("", tokens, len(tokens)).checkpoint
        assert isinstance(found, Kept) and path(found) == tokens
        return found

    def lengths(self) -> list[int]:
        return sorted(c.snapshot.length for c in self.keeper.tree)

    def check(self) -> None:
        """Bytes and pages are those of the checkpoints in the tree, and of nothing else."""
        kept = list(self.keeper.tree)
        assert self.keeper.bytes_kept == sum(c.snapshot.nbytes for c in kept)
        assert self.keeper.bytes_kept <= self.keeper.state_bytes
        held = [p for c in kept for p in c.pages]
        assert all(self.pages.held(p) == held.count(p) for p in range(self.pages.count))


def text(*parts: tuple[int, int]) -> tuple[int, ...]:
    """Parts of (token, how many)."""
    return tuple(t for token, count in parts for t in (token,) * count)


def test_stops_are_where_agents_return() -> None:
    stops = Policy().stops
    assert stops(0, 99, 0) == [99]
    assert stops(0, 99, 40, (20, 70, 100)) == [20, 40, 70, 99]
    # nothing behind what is restored, and nothing at the last token
    assert stops(70, 99, 99, (20, 70)) == [99]
    assert stops(99, 99, 99) == []
    assert stops(5, 3 * SPARSE, 0) == [SPARSE, 2 * SPARSE, 3 * SPARSE]


def test_classes_follow_the_tree() -> None:
    b = Bench(100)
    base = b.keep(text((1, 100)))
    assert kind(base) == NEWEST
    asked = b.keep(text((1, 100), (2, 50)))
    assert (kind(base), kind(asked)) == (OLDER, NEWEST)
    said = b.keep(text((1, 100), (2, 51), (3, 20)), over=150)
    assert (kind(base), kind(asked), kind(said)) == (OLDER, SUPERSEDED, NEWEST)
    assert ancestor(said) == 150 and ancestor(base) == 0
    # another way from the middle of a stretch, and from the end of a prompt
    b.keep(text((1, 100), (4, 9)))
    assert kind(base) == SHARED
    b.keep(text((1, 100), (2, 50), (5, 9)))
    assert kind(asked) == SHARED
    b.check()


def test_the_newest_of_a_line_outlives_what_it_supersedes() -> None:
    b = Bench(3)
    line = text((1, 1000))
    b.keep(line)
    for turn in range(2, 8):
        b.clock += 3
        asked = (*line, *text((turn, 40)))
        b.keep(asked)
        line = (*asked, *text((turn, 20)))
        b.keep(line, over=len(asked))
        b.check()
        # the long beginning stays, and of the last turn its end without its prompt
        kept = b.lengths()
        assert 1000 in kept and len(line) in kept and (turn < 3 or len(asked) not in kept)


def test_what_lies_far_from_others_is_worth_more() -> None:
    b = Bench(100)
    near, far = b.keep(text((1, 1000))), b.keep(text((2, 1000)))
    b.keep(text((1, 990)))
    worth = b.keeper.policy.worth
    assert worth(near, 1.0, STATE) < worth(far, 1.0, STATE)
    assert worth(far, 100.0, STATE) < worth(far, 1.0, STATE)
    assert worth(far, 1.0, STATE) == pytest.approx(2 * worth(far, 1.0, 2 * STATE))
    # neighbours protect each other no longer when one has gone
    b.keeper._drop(near)
    [left] = [c for c in b.keeper._kept.values() if c.snapshot.length == 990]
    assert ancestor(left) == 0 and kind(left) == NEWEST


def test_states_stay_in_their_budget_and_what_is_asked_for_stays() -> None:
    b = Bench(4)
    for i in range(1, 9):
        b.clock += 10
        b.keep(text((i, 100)))
        assert b.keeper.find("", text((1, 101))).checkpoint is not None
        b.check()
    assert [c.snapshot.length for c in b.gone] == [100] * 4
    assert 1 not in {path(c)[0] if c.node else 0 for c in b.gone}


def test_no_state_larger_than_the_budget() -> None:
    assert not Bench(0).keeper.fits(STATE) and Bench(1).keeper.fits(STATE)


def test_pages_are_freed_where_they_are_held_alone() -> None:
    b = Bench(100, pages=20)
    b.keep(text((1, 10 * PAGE)))
    b.clock += 1
    b.keep(text((1, 10 * PAGE), (2, PAGE)))
    b.keep(text((3, 4 * PAGE)))
    assert b.pages.free == 5
    # the first frees nothing while the second holds all its pages; the third is small
    assert b.keeper.make_room(6)
    assert 10 * PAGE in b.lengths()
    b.check()
    assert b.keeper.make_room(20) and b.lengths() == [] and b.pages.free == 20


def test_two_that_share_all_their_pages_go_together() -> None:
    b = Bench(100, pages=4)
    held = b.pages.take(4)
    for length in (200, 210):
        b.keeper.keep("", text((1, length)), snapshot(length), held)
    b.pages.drop(held)
    assert b.keeper.make_room(4) and b.lengths() == []


def test_nothing_is_dropped_in_vain() -> None:
    b = Bench(100, pages=10)
    running = b.pages.take(5)
    spared = b.keep(text((1, 2 * PAGE)))
    b.keep(text((2, 3 * PAGE)))
    assert not b.keeper.make_room(6) and len(b.lengths()) == 2
    assert not b.keeper.make_room(4, spared) and len(b.lengths()) == 2
    assert b.keeper.make_room(3, spared) and b.lengths() == [2 * PAGE]
    b.pages.drop(running)
    b.check()


def test_what_goes_is_told_while_it_is_whole() -> None:
    told: list[tuple[int, ...]] = []
    pages = Pages(10)

    def spill(kept: Kept) -> None:
        assert all(pages.held(p) for p in kept.pages) and kept.namespace == "who"
        told.append(path(kept))

    keeper = Keeper(pages, STATE, spill=spill)
    for token in (1, 2):
        held = pages.take(1)
        keeper.keep("who", text((token, 5)), snapshot(5), held)
        pages.drop(held)
    assert told == [text((1, 5))]
    keeper.clear()
    assert len(told) == 1 and pages.free == 10 and keeper.bytes_kept == 0


@pytest.mark.parametrize("seed", range(10))
def test_random_lines_leak_nothing(seed: int) -> None:
    draw = random.Random(seed)
    b = Bench(draw.choice((1, 3, 10)), pages=60)
    lines = [text((i, 30)) for i in range(1, 4)]
    for i in range(10, 150):
        b.clock += draw.choice((0.1, 5.0))
        line = draw.choice(lines)
        grown = (*line[: draw.randint(1, len(line))], *text((i, draw.randint(1, 90))))[: 14 * PAGE]
        b.keeper.find("", grown)
        if b.keeper.make_room(pages_for(len(grown))):
            b.keep(grown, draw.choice((None, len(grown) - 5)))
        lines[draw.randrange(3)] = grown
        b.check()
    b.keeper.clear()
    assert b.pages.free == 60
