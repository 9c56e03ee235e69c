"""How much of agents' prompts is read again: a trace of sessions on the engine's own cache code.

`python3 -m benchmarks.agent_trace`. Everything is real but tensors and time: the radix tree, pages,
checkpoints and the keeper that decides what stays. Sizes are those of Ling-2.6-flash.
"""

from __future__ import annotations

import heapq
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from flashling.config import LING_FLASH
from flashling.engine.cache import Snapshot
from flashling.engine.costs import Costs
from flashling.engine.keep import Keeper, Kept, Policy, path, whole_pages
from flashling.engine.pages import Pages
from flashling.engine.request import pages_for
from flashling.ops import CHUNK

from .figures import BLUE, FIGURES, GREY, RESULTS, STYLE

GIB = 2**30
# without MTP: 4,608 bytes for a token, 56 MiB for a state
CONFIG = LING_FLASH.with_(num_nextn_predict_layers=0)
COSTS = Costs.of(CONFIG)
STATE_BYTES, PAGE_BYTES = 8 * GIB, 12 * GIB
TURNS = 6000
# tokens per second of a prompt, seconds per token of an answer
PREFILL, DECODE = 25_000.0, 0.02
APPS, FORKS, COMPACTIONS = 4, 0.06, 0.06


class Grid(Policy):
    """vLLM's "align", as published: states lie on multiples of 1,024 only, at the ends of prompts
    and turns and where texts part; what was used longest ago goes first. States in bf16.
    """

    step = 1024

    def stops(self, done: int, end: int, known: int, boundaries: Iterable[int] = ()) -> list[int]:
        """The last multiples before the prompt's end and before the fork."""
        return sorted(p for p in {_floor(end, self.step), _floor(known, self.step)} if p > done)

    def last(self, done: int) -> int:
        """The last multiple that the turn has passed."""
        return _floor(done, self.step)

    def worth(self, kept: Kept, now: float, freed: int) -> float:
        """When it was last asked for."""
        return kept.at


class Radix(Grid):
    """SGLang's radix tree, as published: states on multiples of 64 in prompts, of 256 in answers;
    what was used longest ago goes first. States in float32.
    """

    step = 64

    def last(self, done: int) -> int:
        """Where decoding has tracked its state last."""
        return _floor(done, 256)


def _floor(n: int, step: int) -> int:
    return n // step * step


@dataclass(frozen=True)
class Turn:
    """One request's outcome, in tokens."""

    kind: str
    prompt: int
    known: int
    cached: int

    @property
    def waste(self) -> int:
        """Tokens read before that were read again."""
        return self.known - self.cached


class Session:
    """An agent: its text so far, and the ends of its earlier turns (what was read of each). It
    draws for itself, so that it does the same whatever the cache does.
    """

    def __init__(self, seed: int, number: int, apps: list[tuple[int, ...]]) -> None:
        self._draw = random.Random(f"{seed} {number}")
        self._names = itertools.count((number + 1) << 20)
        self.app = self.text = self._draw.choice(apps)
        self.left, self.turns = self._draw.randint(8, 40), list[int]()

    def some(self, median: float) -> int:
        """A length with a heavy tail: log-normal, a sigma of one."""
        return max(1, round(self._draw.lognormvariate(0, 1) * median))

    def _say(self, length: int) -> None:
        self.text += _text(next(self._names), length)

    def ask(self) -> tuple[str, int]:
        """The next prompt, in `text`: what kind of turn it is, and how much of the prompt this
        session or its app had read.
        """
        kind, known, chance = "next", self.turns[-1] if self.turns else len(self.app), 1.0
        if not self.turns:
            kind = "first"
        else:
            chance = self._draw.random()
        if chance < COMPACTIONS:
            kind, known = "compaction", len(self.app)
            self.text, self.turns = self.app, []
            self._say(self.some(1500))
        elif chance < COMPACTIONS + FORKS and len(self.turns) > 1:
            # back by one turn, two, three ... each half as likely as the one before
            while len(self.turns) > 1 and (kind == "next" or self._draw.random() < 0.5):
                kind = "fork"
                self.turns.pop()
            known = self.turns[-1]
            self.text = self.text[: known + 1]
        self._say(self.some(420))
        return kind, known

    def answer(self) -> int:
        """The answer, appended to `text`; its length. Its last token is not read yet."""
        length = self.some(120)
        self._say(length)
        self.turns.append(len(self.text) - 1)
        self.left -= 1
        return length

    def gap(self) -> float:
        """Seconds until the next prompt."""
        low, high = self._draw.choices(((0.05, 1), (1, 10), (30, 900)), (86, 9, 5))[0]
        return low * (high / low) ** self._draw.random()


def _text(name: int, length: int) -> tuple[int, ...]:
    """A text that differs from all others in its first token: enough for a radix tree."""
    return (name, *(0,) * (length - 1))


@dataclass(frozen=True)
class Setup:
    """A cache to be tried: its policy, the numbers that its states are kept in, whether a state
    comes with the rows of its open chunk (so that it is exact), bytes of host memory below.
    """

    name: str
    policy: Policy
    number: torch.dtype = torch.float32
    has_tail: bool = True
    host_bytes: int = 0


class Server:
    """The cache of an engine: a device, perhaps a host, and no tensors."""

    def __init__(self, setup: Setup) -> None:
        self.setup, self.policy = setup, setup.policy
        self.clock, self.bytes_moved = 0.0, 0
        self.host: Keeper | None = None
        if setup.host_bytes:
            # in the same parts as the device
            states = setup.host_bytes * STATE_BYTES // (STATE_BYTES + PAGE_BYTES)
            pages = Pages((setup.host_bytes - states) // COSTS.page)
            self.host = Keeper(pages, states, setup.policy, self.now)
        spill = self._spill if self.host else None
        pages = Pages(PAGE_BYTES // COSTS.page)
        self.device = Keeper(pages, STATE_BYTES, setup.policy, self.now, spill)

    def now(self) -> float:
        """The fake clock, in seconds."""
        return self.clock

    def begin(self, tokens: tuple[int, ...], base: int, answer: int) -> tuple[int, list[int]]:
        """Read a prompt whose system part ends at `base`: how many of its tokens were there, and
        its pages, with room for the answer.
        """
        keeper, end = self.device, len(tokens) - 1
        match = keeper.find("", tokens)
        found, known = match.checkpoint, match.known
        done, shared = found.snapshot.length if found else 0, whole_pages(found)
        need = pages_for(len(tokens) + answer) - shared
        if not keeper.make_room(need, found):
            raise ValueError(f"running sequences leave no {need} pages; take fewer sessions")
        held = list(found.pages[:shared]) if found else []
        keeper.pages.share(held)
        pages = held + keeper.pages.take(need)
        if self.host is not None:
            below = self.host.find("", tokens)
            known = max(known, below.known)
            if below.checkpoint is not None and below.checkpoint.snapshot.length > done:
                done = below.checkpoint.snapshot.length
                self._count(done, shared)
                self._keep(tokens[:done], pages)
        for stop in self.policy.stops(done, end, min(known, end), (base,)):
            self._keep(tokens[:stop], pages)
        return done, pages

    def end(self, tokens: tuple[int, ...], prompt: int, pages: list[int]) -> None:
        """Keep the end of a turn and let go of its pages."""
        last = self.policy.last(len(tokens) - 1)
        if last >= prompt:
            self._keep(tokens[:last], pages, over=prompt - 1)
        self.device.pages.drop(pages)

    def _keep(self, tokens: tuple[int, ...], pages: list[int], over: int | None = None) -> None:
        self.device.keep("", tokens, self._snapshot(len(tokens)), pages, over)

    def _snapshot(self, length: int) -> Snapshot:
        """A state without its numbers."""
        c, number = CONFIG, self.setup.number
        heads, width, scans = c.num_attention_heads, c.head_dim, len(c.lightning_layers)
        base = (length - 1) // CHUNK * CHUNK if self.setup.has_tail else length
        # 8-bit numbers have a scale of 16 bits for each row
        shape = scans, heads, width, width + 2 * (number == torch.int8)
        state = torch.empty(shape, dtype=number, device="meta")
        shape = scans, 2, length - base, heads, width
        return Snapshot(base, state, torch.empty(shape, dtype=torch.bfloat16, device="meta"))

    def _spill(self, kept: Kept) -> None:
        """Let the host take what the device drops; pages that it has already are shared."""
        assert self.host is not None
        tokens, host = path(kept), self.host
        found = host.tree.match("", tokens, len(tokens)).checkpoint
        if found is not None and found.snapshot.length == len(tokens):
            return
        shared = whole_pages(found)
        need = pages_for(len(tokens)) - shared
        if host.make_room(need, found):
            held = list(found.pages[:shared]) if found else []
            host.pages.share(held)
            pages = held + host.pages.take(need)
            host.keep("", tokens, kept.snapshot, pages)
            host.pages.drop(pages)
            self._count(len(tokens), shared)

    def _count(self, length: int, shared: int) -> None:
        self.bytes_moved += COSTS.checkpoint + (pages_for(length) - shared) * COSTS.page


def simulate(server: Server, live: int, turns: int = TURNS, seed: int = 1) -> list[Turn]:
    """So many turns of `live` sessions at once; one that ends makes way for another."""
    draw, order, found = random.Random(seed), itertools.count(), list[Turn]()
    apps = [_text(i + 1, draw.randint(3_000, 24_000)) for i in range(APPS)]
    read: set[int] = set()
    events: list[Any] = []
    for number in range(live):
        event = draw.uniform(0, 60), next(order), Session(seed, number, apps), None
        heapq.heappush(events, event)
    number = live
    while len(found) < turns:
        server.clock, _, s, running = heapq.heappop(events)
        if running is None:
            kind, known = s.ask()
            known *= s.app[0] in read
            read.add(s.app[0])
            prompt = s.text
            length = s.answer()
            done, pages = server.begin(prompt, len(s.app), length)
            found.append(Turn(kind, len(prompt), known, min(done, known)))
            wait = (len(prompt) - done) / PREFILL + length * DECODE
            heapq.heappush(events, (server.clock + wait, next(order), s, (len(prompt), pages)))
        else:
            server.end(s.text, *running)
            wait = s.gap()
            if not s.left:
                s, number = Session(seed, number, apps), number + 1
            heapq.heappush(events, (server.clock + wait, next(order), s, None))
    return found


SETUPS = (
    Setup("fixed grid of 1,024, bf16 (vLLM align)", Grid(), torch.bfloat16, has_tail=False),
    Setup("LRU radix of 64 / 256, fp32 (SGLang)", Radix(), has_tail=False),
    Setup("flashling, fp32", Policy()),
    Setup("flashling, fp32 + 64 GiB host", Policy(), host_bytes=64 * GIB),
    Setup("flashling, int8", Policy(), torch.int8, has_tail=False),
)


def judge(setup: Setup, live: int, turns: int = TURNS, seed: int = 1) -> dict[str, Any]:
    """What became of a trace, in tokens; waste is per turn."""
    start, server = time.perf_counter(), Server(setup)
    found = simulate(server, live, turns, seed)
    prompts = sum(t.prompt for t in found)
    waste = sorted(t.waste for t in found)
    kinds = {k: [t.waste for t in found if t.kind == k] for k in sorted({t.kind for t in found})}
    return {
        "policy": setup.name,
        "sessions": live,
        "turns": turns,
        "prompt_mean": round(prompts / turns),
        "could_be_reused": round(sum(t.known for t in found) / prompts, 4),
        "reused": round(sum(t.cached for t in found) / prompts, 4),
        "waste_mean": round(statistics.mean(waste)),
        "waste_p50": waste[turns // 2],
        "waste_p95": waste[turns * 95 // 100],
        "waste_by_kind": {k: round(statistics.mean(w)) for k, w in kinds.items()},
        "moved_gib_per_s": round(server.bytes_moved / GIB / server.clock, 2),
        "simulated_s": round(server.clock),
        "took_s": round(time.perf_counter() - start, 1),
    }


def draw(source: Path, target: Path) -> None:
    """Waste of each policy, for both numbers of sessions."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    rows = json.loads(source.read_text("utf-8"))["rows"]
    names = list(dict.fromkeys(r["policy"] for r in rows))[::-1]
    with pyplot.rc_context(STYLE):
        figure, pair = pyplot.subplots(1, 2, figsize=(9, 3.2), sharey=True)
        for axes, live in zip(pair, sorted({r["sessions"] for r in rows}), strict=True):
            here = {r["policy"]: r for r in rows if r["sessions"] == live}
            means = [here[n]["waste_mean"] for n in names]
            colors = [BLUE if n.startswith("flashling") else GREY for n in names]
            bars = axes.barh(names, means, color=colors)
            labels = [f"{here[n]['waste_mean']:,} ({here[n]['reused']:.1%})" for n in names]
            axes.bar_label(bars, labels, padding=3, fontsize=8)
            axes.set_xlim(0, 1.45 * max(r["waste_mean"] for r in rows))
            axes.set_title(f"{live} sessions")
            axes.set_axisbelow(True)
            axes.set_xlabel("known tokens read again per turn")
        title = "Agents' prompts: tokens read again (in brackets: prompt tokens reused), simulated"
        figure.suptitle(title, color=GREY, fontsize=9)
        figure.savefig(target, metadata={"Software": None})
        pyplot.close(figure)


def main() -> int:
    """Try every setup, print the table, write the results and, with matplotlib, the figure."""
    head = f"{'sessions':>8}  {'policy':<40} reused (could)   mean    p50     p95  fork"
    print(head, flush=True)
    rows = []
    for live, setup in itertools.product((128, 256), SETUPS):
        r = judge(setup, live)
        rows.append(r)
        line = f"{live:>8}  {setup.name:<40} {r['reused']:>6.1%} ({r['could_be_reused']:.1%}) "
        line += f"{r['waste_mean']:>6,} {r['waste_p50']:>6,} {r['waste_p95']:>7,} "
        print(f"{line}{r['waste_by_kind']['fork']:>6,}", flush=True)
    facts = {
        "what": "event model on the engine's tree, pages and keeper; no hardware",
        "state_bytes": STATE_BYTES,
        "page_bytes": PAGE_BYTES,
        "rows": rows,
    }
    target = RESULTS / "agent-trace.json"
    target.write_text(json.dumps(facts, indent=1) + "\n", "utf-8")
    try:
        draw(target, FIGURES / "agent-trace.png")
    except ImportError:
        print("no figure: matplotlib is missing (pip install -e '.[bench]')", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
