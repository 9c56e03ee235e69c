"""What long prompts do to the sequences that run beside them, by the rows of a step."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

from ...engine.costs import Costs
from ...engine.engine import Engine
from ...engine.request import Request, pages_for
from ...model.ling import Ling
from ...sampling import Sampling
from ..report import percentile
from .plan import Plan, Row

# tokens of what runs before the prompts come, prompts, and tokens that each sequence draws alone
BEFORE, PROMPTS, ALONE = 512, 2, 32
MOST = 1 << 20


def measure(model: Ling, plan: Plan) -> Iterator[Row]:
    """A row for each budget: milliseconds between the tokens of the sequences that run, alone and
    while prompts are read, and to the first token of the prompts.
    """
    for budget in plan.budgets:
        yield {"budget": budget, **Mixed(model, plan, budget).measure()}


class Mixed:
    """Sequences that run, and one long prompt after the other beside them."""

    def __init__(self, model: Ling, plan: Plan, budget: int) -> None:
        c, self.running, self.prompt = model.config, plan.running, plan.prompt
        self.vocab, self.draw = c.vocab_size, random.Random(budget)
        own = pages_for(min(BEFORE + 64 * ALONE * PROMPTS, c.max_position_embeddings))
        pages = self.running * own + (PROMPTS + 1) * pages_for(self.prompt + 1)
        # nobody comes back, so hardly anything is kept
        kept = 2 * Costs.of(c, model.dtype).checkpoint
        self.engine = Engine(model, self.running + 1, pages, budget, kept)
        self.most = own * 64 - BEFORE

    def measure(self) -> Row:
        """Figures of one budget."""
        ids = {self._add(BEFORE, self.most) for _ in range(self.running)}
        # the first steps record what later ones replay
        self._run(ids, ALONE)
        alone = self._run(ids, ALONE)
        beside, firsts = list[float](), list[float]()
        for turn in range(PROMPTS + 1):
            number, began = self._add(self.prompt, 1), time.perf_counter()
            found = self._run(ids, MOST, number)
            # the first compiles what has not run before
            if turn:
                beside += found
                firsts.append(1e3 * (time.perf_counter() - began))
        for number in ids:
            self.engine.abort(number)
        list(self.engine.run())
        told = {"alone": alone, "beside": beside}
        return {
            **{f"{k}_p{p}_ms": percentile(v, p) for k, v in told.items() for p in (50, 99)},
            "prompt_ttft_ms": sum(firsts) / PROMPTS,
            "prompt_tokens_per_s": 1e3 * self.prompt * PROMPTS / sum(firsts),
            "running": self.running,
            "prompt": self.prompt,
        }

    def _add(self, count: int, most: int) -> int:
        prompt = tuple(self.draw.randrange(self.vocab) for _ in range(count))
        return self.engine.add(Request(prompt, Sampling(temperature=0.0, max_tokens=most)))

    def _run(self, ids: set[int], most: int, until: int | None = None) -> list[float]:
        """Milliseconds between two tokens of a sequence, of all of them, over so many steps that
        told some or until a request has ended.
        """
        last: dict[int, float] = {}
        gaps: list[float] = []
        steps = 0
        while steps < most:
            events, now = self.engine.step(), time.perf_counter()
            steps += bool(events)
            for event in events:
                if event.error or (event.id in ids and event.finish):
                    raise RuntimeError(event.error or "a sequence ended before the prompts did")
                if event.id in ids:
                    gaps += [1e3 * (now - last[event.id])] if event.id in last else []
                    last[event.id] = now
            if any(event.id == until and event.finish for event in events):
                break
        return gaps
