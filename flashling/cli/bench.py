"""`flashling bench`: load on a server, and a model's speed on a device."""

from __future__ import annotations

import asyncio
import contextlib
import json as text
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cyclopts import App

from .setup import load as load_model
from .terminal import note, paint, progress, table

if TYPE_CHECKING:
    from ..bench.load import Sample
    from ..bench.work import Trace

# of the comparison; the medians count
ROUNDS = 3


@dataclass(frozen=True)
class Plan:
    """What is asked of the server; fields as the flags of `serve`."""

    streams: int
    rate: float | None
    requests: int
    prompt: int
    tokens: int
    turns: int

    def __post_init__(self) -> None:
        for name in ("streams", "requests", "prompt", "tokens"):
            if getattr(self, name) < 1:
                raise ValueError(f"--{name} {getattr(self, name)} must be 1 or more")
        if self.turns < 0 or (self.rate is not None and not self.rate > 0):
            raise ValueError(f"--turns {self.turns} must be 0 or more, --rate {self.rate} above 0")

    def traces(self, words: int) -> list[Trace]:
        """The conversations, of prompts of so many words."""
        from ..bench.work import agents, questions

        if self.turns:
            return agents(self.requests, words, self.tokens, self.turns)
        return questions(self.requests, words, self.tokens)

    def __str__(self) -> str:
        how = f"{self.rate:g} a second" if self.rate else f"{self.streams} streams"
        kind = f"{self.turns} turns each" if self.turns else f"{self.tokens} tokens out"
        return f"{how}, {self.requests} x {self.prompt} tokens in, {kind}"


bench = App(name="bench", help="Measure: a server under load, or a whole model on this device.")


@bench.command
def serve(
    target: str = "embedded",
    /,
    *,
    streams: int = 16,
    rate: float | None = None,
    requests: int = 64,
    prompt: int = 256,
    tokens: int = 64,
    turns: int = 0,
    overhead: bool = False,
    json: Path | None = None,
    plot: Path | None = None,
) -> int:
    """Put a server under load and say what it took. Exit status 1: a request failed.

    Parameters
    ----------
    target
        A server's address (its key comes from FLASHLING_KEY); or a model's folder to be served.
    streams
        Requests at any time: one that ends makes room for the next.
    rate
        Begin so many a second instead, at chance times, however many still run.
    requests
        How many; with --turns, how many agents.
    prompt
        Tokens of a prompt; of the system message of agents.
    tokens
        Tokens of an answer; at most, with --turns.
    turns
        Agents of so many turns: tool calls, results, and prompts that grow.
    overhead
        The same requests to the engine alone, and what the server adds.
    json
        Write all figures and samples here.
    plot
        Draw the times as PNG; needs matplotlib.
    """
    from ..bench.local import served

    plan = Plan(streams, rate, requests, prompt, tokens, turns)
    is_remote = target.startswith(("http://", "https://"))
    if overhead and (is_remote or turns or rate):
        raise ValueError("--overhead has its own server and questions: no address, rate or turns")
    with contextlib.nullcontext(target) if is_remote else served(target) as url:
        if overhead:
            return _overhead(url, target, plan)
        return _tell(asyncio.run(_run(url, plan)), plan, json, plot)


@bench.command
def engine(*words: str) -> int:
    """Measure a model of random weights on this device: speed and memory, never quality. Rows go
    into engine-DEVICE.json, beside those of earlier runs. Exit status 1: a cell failed.

    Parameters
    ----------
    words
        Parts in the order wanted, all by default: recipes (memory and errors of each), decode,
        prefill, drafts, exact (what exact mode costs), trace (time by op; last, as it may slow
        down what comes after it). And NAME=VALUE: model=ling-2.6-flash recipe=fp8-channel
        batches=1,64 contexts=4096 prompts=8192 layers=8 seconds=60 (then no cell begins)
        commit=NAME (of the code, where git cannot tell) out=FOLDER. What a list has first is
        measured first.
    """
    from ..bench.engine.plan import read
    from ..bench.engine.run import run

    return run(read(words))


@bench.command
def full(*words: str) -> int:
    """Measure a model of random weights as it is used: read from files, served to agents, its
    sessions brought back. Rows go into serve-DEVICE.json. Exit status 1: a part failed.

    Parameters
    ----------
    words
        Parts in the order wanted, all by default: load (a checkpoint written, read, and served),
        sessions (of many tokens, from device, host and disk), mixed (tokens of some beside the
        prompts of others), many (so many at once, from a shared beginning), serve (agents over
        HTTP). And NAME=VALUE: model=ling-2.6-flash
        recipe=fp8-channel layers=8 folders=/dev/shm,/tmp gigabytes=20 tokens=65536 rounds=5
        budgets=512,2048,8192 running=16 prompt=32768 together=128,200,256 held=4096 rows=16384
        agents=8 turns=8 start=10000 end=60000 answer=96 seconds=200 (then no part begins)
        commit=NAME out=FOLDER.
    """
    from ..bench.full.plan import read
    from ..bench.full.run import run

    return run(read(words))


async def _run(url: str, plan: Plan) -> list[Sample]:
    from ..bench.load import Load
    from ..bench.local import words_for

    async with Load(url, os.environ.get("FLASHLING_KEY", "")) as load:
        traces = plan.traces(await words_for(load, plan.prompt))
        watch = progress("requests")
        if plan.rate:
            return await load.open(traces, plan.rate, watch=watch)
        return await load.closed(traces, plan.streams, watch)


def _tell(samples: list[Sample], plan: Plan, file: Path | None, picture: Path | None) -> int:
    from ..bench import report

    found = report.summary(samples)
    print(paint(str(plan), "bold"))
    print(table(report.rows(found)))
    print("\n".join(report.sentences(found)))
    if file:
        facts = {"plan": asdict(plan), **found, "samples": [asdict(s) for s in samples]}
        file.write_text(text.dumps(facts, indent=1) + "\n", "utf-8")
        note(f"written: {file}")
    if picture:
        report.plot(samples, picture, str(plan))
        note(f"written: {picture}")
    return int(bool(found["errors"]))


def _overhead(url: str, model: str, plan: Plan) -> int:
    from ..bench.load import Load
    from ..bench.local import overhead, words_for

    llm = load_model(model)

    async def measure() -> list[str]:
        async with Load(url) as load:
            words = await words_for(load, plan.prompt)
            shape = plan.streams, plan.requests, words, plan.tokens
            return (await overhead(load, llm, shape, ROUNDS)).sentences()

    print(paint(f"{plan}; medians of {ROUNDS} rounds", "bold"))
    print("\n".join(asyncio.run(measure())))
    return 0
