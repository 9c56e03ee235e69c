"""What exact mode costs: the same steps and prompts in both modes, on one model."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ... import ops
from ...engine.runner import Runner
from ...model.ling import Ling
from . import decode, prefill, timing

MODES: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "fast": nullcontext,
    "exact": ops.exactly,
}


def steps(model: Ling, cell: decode.Cell) -> Iterator[dict[str, Any]]:
    """A row of decode steps in both modes."""
    runner = Runner(model, cell.batch, cell.context + decode.SPARE)
    found = dict[str, float]()
    for name, mode in MODES.items():
        with mode():
            step = decode.recorded(runner)
            decode.noise(runner)
            decode.spread(runner, cell.context)
            for _ in range(decode.WARM):
                step()
            times = timing.times(step, decode.steps_of(cell.batch), runner.device)
        found[name] = timing.summary(times)["ms_mean"]
    yield beside(found)


def prompt(model: Ling, tokens: int) -> Iterator[dict[str, Any]]:
    """A row of one prompt read in both modes."""
    read = prefill.Prompt(model, prefill.Reader(model, tokens), tokens)
    found = dict[str, float]()
    for name, mode in MODES.items():
        with mode():
            found[name] = read.measure()["ttft_ms"]
    yield beside(found)


def beside(found: dict[str, float]) -> dict[str, float]:
    """The milliseconds of both, and how many times as long exact mode takes."""
    return {f"{k}_ms": ms for k, ms in found.items()} | {"times": found["exact"] / found["fast"]}
