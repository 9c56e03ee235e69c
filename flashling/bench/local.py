"""A server of our own under load, and beside it the engine alone with the same requests."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from statistics import median
from typing import TYPE_CHECKING

import httpx

from ..engine.request import Request
from ..llm.sizes import engine_for
from ..sampling import Sampling
from .load import Load
from .work import Trace, questions

if TYPE_CHECKING:
    from ..engine.engine import Engine
    from ..llm import LLM

READY_SECONDS, STOP_SECONDS = 600.0, 60.0
# words of a request that tells how many tokens a word is
PROBE = 200


@contextmanager
def served(model: str = "embedded", queue: int = 4096, module: str = "flashling") -> Iterator[str]:
    """A server of the model in a process of its own: its address. RuntimeError if it does not come
    up. module: serves in place of the command.
    """
    verb = ["serve"] if module == "flashling" else []
    given = ["--port", "0", "--queue", str(queue), "--drain", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", module, *verb, model, *given],
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://[^\s/]+", process.stdout.readline())
        if not found:
            raise RuntimeError("the server did not start; what it said stands above")
        _wait(process, found[0])
        yield found[0]
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)
        process.stdout.close()


def _wait(process: subprocess.Popen[str], url: str) -> None:
    until = time.monotonic() + READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        if httpx.get(f"{url}/ready", trust_env=False).status_code == 200:
            return
        time.sleep(0.05)
    raise RuntimeError("the server did not become ready; what it said stands above")


async def words_for(load: Load, tokens: int) -> int:
    """Words of a prompt that comes to about so many tokens, by what the server counts of one.
    ValueError if the server does not answer.
    """
    found = []
    for words in (PROBE, 2 * PROBE):
        probe = questions(1, words, 1, seed=-words)[0]
        sample, _ = await load.ask(list(probe.messages), 1)
        if sample.error:
            raise ValueError(f"the server does not answer: {sample.error}")
        found.append(sample.input_tokens)
    # what the chat format adds is in both
    each = (found[1] - found[0]) / PROBE
    return max(1, round((tokens - found[0] + PROBE * each) / each))


@dataclass(frozen=True)
class Overhead:
    """Milliseconds of a request with one token of answer, and of each token of long answers
    (prompts included), as medians over rounds: the engine in this process, and the server.
    """

    request: tuple[float, float]
    token: tuple[float, float]

    @property
    def percents(self) -> tuple[float, float]:
        """What the server adds, in percent of the engine's time: per request, per token."""
        (a, b), (c, d) = self.request, self.token
        return 100 * (b / a - 1), 100 * (d / c - 1)

    def sentences(self) -> list[str]:
        """Both in words."""
        named = ("request", "token")
        pairs = zip(named, (self.request, self.token), self.percents, strict=True)
        return [
            f"per {name}: engine alone {alone:.2f} ms, server {both:.2f} ms, overhead {p:+.1f} %"
            for name, (alone, both), p in pairs
        ]


async def overhead(load: Load, llm: LLM, shape: tuple[int, int, int, int], rounds: int) -> Overhead:
    """The same requests to the engine alone and to the server, turn about.

    shape: streams at once, requests of a round, words of a prompt, tokens of an answer. Each round
    has prompts of its own, so that nothing is held.
    """
    streams, count, words, tokens = shape
    found: dict[int, list[tuple[float, float]]] = {1: [], tokens: []}
    engine = engine_for(llm.model)
    # the first round warms both up
    for turn in range(rounds + 1):
        for length, pairs in found.items():
            traces = questions(count, words, length, seed=turn * 100_000 + length)
            alone = _alone(llm, engine, traces, streams)
            began = time.perf_counter()
            samples = await load.closed(traces, streams)
            both = time.perf_counter() - began
            failed = [s.error for s in samples if s.error]
            if failed:
                raise RuntimeError(f"a request failed: {failed[0]}")
            pairs.extend([(alone, both)] if turn else [])
    ms = {
        length: (
            median(a for a, _ in pairs) * 1e3 / count,
            median(b for _, b in pairs) * 1e3 / count,
        )
        for length, pairs in found.items()
    }
    per_token = ms[tokens][0] / tokens, ms[tokens][1] / tokens
    return Overhead(ms[1], per_token)


def _alone(llm: LLM, engine: Engine, traces: Sequence[Trace], streams: int) -> float:
    """Seconds of the engine for the same tokens, `streams` at any time."""
    tokens, ends = traces[0].tokens, tuple(llm.tokenizer.eos_ids)
    sampling = Sampling(temperature=0.0, max_tokens=tokens, min_tokens=tokens, stop_ids=ends)
    prompts = [llm.prompts.of(list(t.messages), None, None).prompt for t in traces]
    waiting = (Request(tuple(p.tokens), sampling, boundaries=tuple(p.borders[:1])) for p in prompts)
    began = time.perf_counter()
    for request in islice(waiting, streams):
        engine.add(request)
    while not engine.is_idle:
        for event in engine.step():
            if event.finish and (request := next(waiting, None)):
                engine.add(request)
    return time.perf_counter() - began
