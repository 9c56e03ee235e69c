"""Agents at a server of the whole model: prompts that grow over a loop of tools."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from .. import report
from ..load import Load, Sample
from ..local import served, words_for
from ..work import loops
from . import worker
from .plan import Plan, Row

# seconds that a user waits: to the first token, and for each after it
TTFT, TPOT = 2.0, 0.050
LOOK, MODULE = 0.05, "flashling.bench.full.worker"


def measure(plan: Plan) -> Iterator[Row]:
    """One row: what the agents of the plan waited for, and what the server used again."""
    with tempfile.TemporaryDirectory() as folder:
        worker.describe_random(plan.config, plan.recipe, Path(folder))
        with served(folder, module=MODULE) as url, watched() as memory:
            samples = asyncio.run(_run(url, plan))
    found = report.summary(samples)
    share, rate = report.goodput(samples, TTFT, TPOT)
    longest = max((s.input_tokens for s in samples), default=0)
    yield {
        "agents": plan.agents,
        "turns": plan.turns,
        **{k: found[k] for k in ("requests", "seconds", "errors", "tokens", "times")},
        "output_tokens_per_second": found["output_tokens_per_second"],
        "longest": longest,
        "reused": found["tokens"]["cached"] / max(found["tokens"]["input"], 1),
        "limits": {"ttft": TTFT, "tpot": TPOT},
        "within": share,
        "goodput_per_s": rate,
        **memory,
    }


async def _run(url: str, plan: Plan) -> list[Sample]:
    async with Load(url) as load:
        words = await words_for(load, plan.start)
        grown = (plan.end - plan.start) * words // plan.start // max(1, plan.turns - 1)
        # two rounds: the first meets what no step had before
        await load.closed(loops(1, words // 4, grown // 4, plan.answer, 2, seed=-1), 1)
        traces = loops(plan.agents, words, grown, plan.answer, plan.turns)
        return await load.closed(traces, plan.agents)


@contextmanager
def watched() -> Iterator[dict[str, Any]]:
    """The most memory of the GPU that was in use meanwhile, by all processes."""
    found: dict[str, Any] = {}
    if not torch.cuda.is_available():
        yield found
        return
    over = threading.Event()

    def look() -> None:
        while not over.wait(LOOK):
            free, total = torch.cuda.mem_get_info()
            found["device_peak_gb"] = max(found.get("device_peak_gb", 0.0), (total - free) / 1e9)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()
