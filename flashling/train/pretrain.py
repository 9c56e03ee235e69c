"""Pretraining: every token of every document is a target.

What is left out: a learning-rate decay (the last checkpoints are merged instead), dropout, and an
auxiliary balancing loss (expert biases move instead).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

from ..config import TOY, ModelConfig
from .optim import Optim
from .recipe import Recipe
from .schedule import Schedule
from .shards import Document, Shards
from .source import Held, Shuffled

PEOPLE = "Ada Bo Chen Dana Emil Fang".split()
THINGS = "bread tea books maps rice salt".split()
PLACES = "market river school harbour".split()


def pretrain(
    name: str, model: ModelConfig, *folders: str, steps: int | None = None, **changes: Any
) -> Recipe:
    """A run over the token shards in `folders`; `changes` are fields of `Recipe`.

    Constant rate after the warm-up; a snapshot every 1/20 of the run, the last four merged.
    """
    every = max(1, (steps or 2_000) // 20)
    usual: dict[str, Any] = {
        "steps": steps,
        "schedule": Schedule("constant", warmup=every),
        "snapshot_every": every,
        "save_every": 5 * every,
        "merge": 4,
    }
    seed = changes.get("seed", 0)
    return Recipe(name, model, lambda: Shuffled(Shards(*folders), seed), **(usual | changes))


def sentences(seed: int) -> Iterator[Document]:
    """Endless small bytes of text, all of it trained on: enough to see a loss fall."""
    draw = random.Random(seed)
    while True:
        who, what, where = draw.choice(PEOPLE), draw.choice(THINGS), draw.choice(PLACES)
        text = f"{who} buys {what} at the {where}. At the {where} {who} has {what}.\x01"
        yield list(text.encode()), [True] * len(text)


def toy() -> Recipe:
    """Seconds on a CPU: the toy model learns sentences of a tiny grammar, byte by byte."""
    made = sentences(0)
    documents = [next(made) for _ in range(2_000)]
    return Recipe(
        "toy",
        TOY,
        lambda: Shuffled(Held(documents)),
        steps=60,
        tokens=512,
        optim=Optim(lr=4e-3),
        schedule=Schedule("wsd", warmup=5, floor=0.1),
        dtype="float32",
        device="cpu",
        log_every=5,
        save_every=30,
        tensorboard=False,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"toy": toy}
