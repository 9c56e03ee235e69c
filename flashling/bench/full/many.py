"""As many sequences at once as a server is asked for, prompts of a shared beginning: what runs."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from ...config import ModelConfig
from ...engine.engine import Engine
from ...engine.memory import SLACK, Costs, Wanted, workspace_bytes
from ...engine.request import Event, Request, Usage, pages_for
from ...engine.scheduler import BESIDE
from ...model.ling import Ling
from ...sampling import Sampling
from ..engine.memory import free_bytes
from .plan import Plan, Row
from .serving import watched

# tokens that each sequence draws while all run
DRAWN = 128
# of a prompt, what all prompts begin with
SHARED = 1 / 4


@dataclass(frozen=True)
class Size:
    """An engine for so many sequences that begin with `prompt` tokens, the first `shared` of them
    alike, and steps of so many rows.
    """

    count: int
    prompt: int
    shared: int
    rows: int

    @classmethod
    def of(cls, count: int, plan: Plan) -> Size:
        """The size that a plan asks for."""
        return cls(count, plan.held - DRAWN, int(plan.held * SHARED), plan.rows)

    @property
    def most(self) -> int:
        """Tokens that a sequence may draw: the first to draw do so while the others are read, in a
        part of the rows of a step; half as many again, lest one ends before all run.
        """
        steps = self.count * (self.prompt - self.shared) // (self.rows // BESIDE)
        return DRAWN + 64 + steps * 3 // 2

    @property
    def pages(self) -> int:
        """Pages of all, and of what they have in common."""
        return self.count * pages_for(self.prompt + self.most) + pages_for(self.shared + 1)

    def left(self, config: ModelConfig, costs: Costs, free: int) -> int:
        """Bytes for checkpoints, of those that are free beside the weights: with as much again for
        results on the way as the engine counts.
        """
        wanted = Wanted(self.count, self.prompt + self.most, self.rows)
        used = self.count * costs.slot + self.pages * costs.page
        return free - int(SLACK * free) - used - 2 * workspace_bytes(config, wanted)


def measure(model: Ling, plan: Plan) -> Iterator[Row]:
    """A row for each number of sequences: what they found in the cache, how many ran at once, and
    tokens a second while all of them did; or the bytes missing.
    """
    costs = Costs.of(model.config, model.dtype)
    for count in plan.together:
        size = Size.of(count, plan)
        kept = size.left(model.config, costs, free_bytes(model.head.device))
        about = {"asked": count, "prompt": size.prompt, "shared": size.shared, "rows": size.rows}
        if kept < costs.checkpoint:
            yield {**about, "missing_bytes": costs.checkpoint - kept}
            continue
        with watched() as memory, endless(model):
            found = Many(model, size, kept).measure()
        yield {**about, **found, **memory}


@contextmanager
def endless(model: Ling) -> Iterator[None]:
    """Random weights draw any token, those that end a text too: here none does."""
    config = model.config
    model.config = config.with_(eos_token_ids=())
    try:
        yield
    finally:
        model.config = config


class Many:
    """The sequences of one engine, and what became of them."""

    def __init__(self, model: Ling, size: Size, kept: int) -> None:
        self.size, self.vocab, self.draw = size, model.config.vocab_size, random.Random(size.count)
        self.engine = Engine(model, size.count, size.pages, size.rows, kept)
        self.running = self.preempted = 0
        self.ended = list[Event]()
        self.began = set[int]()

    def measure(self) -> Row:
        """Read what the prompts share, then all of them, and draw until each has `DRAWN` more."""
        size, common = self.size, self._some(self.size.shared)
        self.engine.add(Request((*common, 0), Sampling(max_tokens=1), boundaries=(size.shared,)))
        list(self.engine.run())
        how, own = Sampling(temperature=0.0, max_tokens=size.most), size.prompt - size.shared
        start = time.perf_counter()
        for _ in range(size.count):
            self.engine.add(Request(common + self._some(own), how, boundaries=(size.shared,)))
        while len(self.began) + len(self.ended) < size.count:
            self._step()
        filled, told = time.perf_counter(), 0
        while told < size.count * DRAWN:
            told += self._step()
        seconds, running = time.perf_counter() - filled, self.engine.running
        held = sum(s.done for s in running) / max(1, len(running))
        keeper, failed = self.engine.room.keeper, len(self.ended)
        checkpoints = {"checkpoints": sum(1 for _ in keeper.tree), "kept_bytes": keeper.bytes_kept}
        usages = self._end()
        return {
            "running": self.running,
            "context": held - DRAWN / 2,
            "tokens_per_s": told / seconds,
            "ms_of_step": 1e3 * seconds * size.count / told,
            "read_s": filled - start,
            "read_tokens_per_s": sum(u.prompt - u.cached for u in usages) / (filled - start),
            "hits": sum(u.cached > 0 for u in usages),
            "cached": sum(u.cached for u in usages),
            **checkpoints,
            "preempted": self.preempted,
            "failed": failed,
        }

    def _step(self) -> int:
        """A step of the engine; the tokens that it told."""
        if self.engine.is_idle:
            said = next((e.error for e in self.ended if e.error), "they are too short")
            raise RuntimeError(f"all sequences ended before they had run together: {said}")
        events = self.engine.step()
        self.running = max(self.running, len(self.engine.running))
        self.preempted = max(self.preempted, sum(s.is_begun for s in self.engine.waiting))
        self.ended += [e for e in events if e.finish]
        self.began |= {e.id for e in events if e.token is not None}
        self.began -= {e.id for e in self.ended}
        return sum(e.token is not None for e in events)

    def _end(self) -> list[Usage]:
        """Abort what runs and waits; the usages of all."""
        for s in [*self.engine.running, *self.engine.waiting]:
            self.engine.abort(s.id)
        return [e.usage for e in [*self.ended, *self.engine.run()] if e.usage is not None]

    def _some(self, count: int) -> tuple[int, ...]:
        return tuple(self.draw.randrange(self.vocab) for _ in range(count))
