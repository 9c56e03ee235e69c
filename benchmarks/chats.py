"""The engine on this CPU with the embedded model: many chats against one, and a second turn against
a cold one. `python3 -m benchmarks.chats`; greedy, float32.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch

from flashling import nano
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.model import weights
from flashling.model.ling import Ling
from flashling.sampling import Sampling
from flashling.text.tokenizer import Tokenizer

from .ops import about

RESULT = Path(__file__).parent / "results" / "chats-cpu.json"
CHATS, TOKENS, CONTEXT = 16, 64, 1000


def together(model: Ling, tokenizer: Tokenizer, chats: int) -> float:
    """Tokens a second of so many chats, their prompts read included."""
    engine = Engine(model, slots=chats, pages=256)
    ends = tuple(tokenizer.eos_ids)
    # no chat ends before the others
    sampling = Sampling(temperature=0.0, max_tokens=TOKENS, min_tokens=TOKENS, stop_ids=ends)
    for n in range(chats):
        text = f"list the {n + 3} newest files in folder number {n * 7} please and then "
        engine.add(Request(tuple(tokenizer.encode(text)), sampling))
    began = time.perf_counter()
    count = sum(e.token is not None for e in engine.run())
    return count / (time.perf_counter() - began)


def turns(model: Ling, tokenizer: Tokenizer, first: int) -> tuple[float, float]:
    """Seconds to the first token of a prompt of CONTEXT tokens, and of the turn after it."""
    engine = Engine(model, slots=2, pages=64, budget=1024)
    text = " ".join(f"file number {i} lies in folder {i * 7 % 13}" for i in range(150))
    # another first token each time: nothing is known
    prompt = [first, *tokenizer.encode(text)[: CONTEXT - 1]]
    cold, said = _first(engine, prompt)
    warm, _ = _first(engine, [*prompt, *said, *tokenizer.encode("and the next one?")])
    return cold, warm


def _first(engine: Engine, prompt: list[int]) -> tuple[float, list[int]]:
    began, found, said = time.perf_counter(), None, []
    engine.add(Request(tuple(prompt), Sampling(temperature=0.0, max_tokens=8)))
    while not engine.is_idle:
        said += [e.token for e in engine.step() if e.token is not None]
        found = found or (time.perf_counter() - began if said else None)
    assert found is not None
    return found, said


def main() -> int:
    """Measure, print and write the figures."""
    model, tokenizer = weights.read(nano.path(), torch.float32), Tokenizer.read(nano.path())
    report: dict[str, Any] = {"about": about(torch.device("cpu"))}
    report["about"]["command"] = "python3 -m benchmarks.chats"
    together(model, tokenizer, 1)
    for chats in (1, CHATS):
        rate = median(together(model, tokenizer, chats) for _ in range(3))
        report[f"tokens_per_s_{chats}"] = round(rate, 1)
    pairs = [turns(model, tokenizer, 20 + n) for n in range(5)]
    for name, values in zip(("cold", "second_turn"), zip(*pairs, strict=True), strict=True):
        report[f"first_token_s_{name}"] = round(median(values), 4)
    print(json.dumps(report, indent=1))
    RESULT.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
