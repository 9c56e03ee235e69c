"""Sessions of many tokens brought back: from the device, from host memory, from the disk."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from ...engine.costs import Costs
from ...engine.engine import Engine
from ...engine.records import PARKED
from ...engine.request import Request, pages_for
from ...engine.store import Store
from ...engine.tiers import Host, Tiers
from ...model.ling import Ling
from ...sampling import Sampling
from .plan import Plan, Row

# tokens of a turn that is new, and of the one before it
NEW, SAID = 8, 2
MONTH = 30 * 24 * 3600.0


def measure(model: Ling, plan: Plan) -> Iterator[Row]:
    """For each place the median of some rounds, in milliseconds from `Engine.add` of the next turn
    to its first token, and what that is beyond a hit on the device.
    """
    folder = Path(tempfile.mkdtemp(dir=plan.folders[0]))
    try:
        yield from Sessions(model, plan.tokens, plan.rounds, folder).rows()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Sessions:
    """An engine with all tiers, and one session of so many tokens that each of them holds."""

    def __init__(self, model: Ling, tokens: int, rounds: int, folder: Path) -> None:
        c = model.config
        self.vocab, self.folder = c.vocab_size, folder
        costs, self.draw = Costs.of(c, model.dtype), random.Random(1)
        held = 2 * costs.session(tokens + 4 * NEW)
        self.host, self.store = Host(held), Store(folder, b"bench", 2 * held, MONTH)
        pages = 4 * pages_for(tokens + 4 * NEW)
        tiers, kept = Tiers(self.host, self.store), 32 * costs.checkpoint
        self.engine = Engine(model, 2, pages, 8192, kept, tiers=tiers)
        self.tokens = self._some(tokens - SAID)
        # a first one that nobody counts: kernels, and memory that is taken once
        self.turns = [self._some(NEW) for _ in range(rounds + 1)]

    def rows(self) -> Iterator[Row]:
        """Read and park the session, then bring it back from everywhere."""
        said = Sampling(temperature=0.0, max_tokens=SAID)
        began = time.perf_counter()
        self.engine.add(Request(tuple(self.tokens), said, session="bench"))
        drawn = [e.token for e in self.engine.run() if e.token is not None]
        ended = time.perf_counter()
        self.engine.room.tiers.flush()
        self.tokens += drawn
        parked = {"read_s": ended - began, "parked_s": time.perf_counter() - ended}
        nbytes, on_device, want = self.host.nbytes, 0.0, list[int]()
        for place, prepare in self._places().items():
            found = [self._resume(place, prepare, turn) for turn in self.turns]
            times, drawn = [ms for ms, _ in found[1:]], [token for _, token in found]
            ms, want = median(times), want or drawn
            on_device = on_device or ms
            row = {"from": place, "tokens": len(self.tokens), "bytes": nbytes, "first_token_ms": ms}
            row |= {"resume_ms": ms - on_device, "same_tokens": drawn == want}
            yield {**row, "all_ms": times, **parked}

    def _places(self) -> dict[str, Callable[[], None]]:
        def device() -> None:
            pass

        def host() -> None:
            self.engine.room.keeper.clear()

        def cached() -> None:
            host()
            self.host.clear()

        def disk() -> None:
            cached()
            for file in self.folder.rglob(f"*{PARKED}"):
                with open(file, "rb") as opened:
                    os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)

        return {"device": device, "host": host, "disk, page cache": cached, "disk": disk}

    def _resume(
        self, place: str, prepare: Callable[[], None], turn: list[int]
    ) -> tuple[float, int]:
        """Milliseconds to the first token of a next turn, and that token."""
        prepare()
        prompt = tuple(self.tokens + turn)
        began = time.perf_counter()
        self.engine.add(Request(prompt, Sampling(temperature=0.0, max_tokens=1)))
        # one token is all that is told
        [event] = self.engine.run()
        ms = 1e3 * (time.perf_counter() - began)
        source = event.usage.restored_from if event.usage else ""
        if event.token is None or source != place.partition(",")[0]:
            raise RuntimeError(f"a session came from {source!r}, not from {place}: {event.error}")
        return ms, event.token

    def _some(self, count: int) -> list[int]:
        return [self.draw.randrange(self.vocab) for _ in range(count)]
