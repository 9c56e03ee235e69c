"""The embedded model: what it learns from, its tokenizer and its run.

Everything but the public sets is generated, so a run sees no conversation twice. Targets are what
the assistant says; in a share of the documents every token is one, which teaches the languages.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from ..agent.tools import builtin
from ..config import NANO
from ..tasks import desk, shell, talk, tools
from ..tasks.shell import direct, lookup
from ..tasks.shell.tldr import Index
from ..text.tokenizer import Tokenizer, train_tokenizer
from .optim import Optim
from .recipe import Recipe
from .schedule import Schedule
from .sft import rendered
from .shards import Document
from .source import Stream

# shares of conversations
MIX = {
    "shell": 0.48,
    "direct": 0.02,
    "lookup": 0.07,
    "tools": 0.27,
    "copy": 0.1,
    "desk": 0.02,
    "talk": 0.04,
}
# share of documents in which every token is a target
WHOLE = 0.1
MAX_TOKENS = 8_192
# share of tool conversations with many more tools declared, as agent clients send them
CROWDED, MOST_TOOLS = 0.04, 60
# where the public sets lie (see docs/data.md); without them their share is generated
DATA = Path("data")
TOKENIZER = Path(__file__).parents[1] / "nano"
# processes that make documents, for each that trains: about 100,000 tokens a second each
WORKERS = max(1, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1")) - 2)


def conversations(seed: int, data: Path = DATA) -> Iterator[dict]:
    """Endless conversations of all kinds, by the shares of `MIX`, the same for the same seed."""
    rng = random.Random(f"nano {seed}")
    index = Index.load()
    public = str(data) if data.is_dir() else None
    # the tools of a chat; only those that compute are run
    own = builtin(Path("."), lambda command: False)
    declared = [t.schema() for t in own.values()]
    made = {
        "shell": shell.samples(seed),
        "direct": direct.samples(seed, index),
        "lookup": lookup.samples(seed, index),
        "tools": tools.samples(seed, public),
        "copy": tools.copy_samples(seed),
        "desk": desk.samples(
            seed, declared, lambda name, given: own[name].call(given), shell.samples(seed + 2)
        ),
        "talk": talk.samples(seed, shell.samples(seed + 1)),
    }
    kinds, shares = tuple(MIX), tuple(MIX.values())
    while True:
        kind = rng.choices(kinds, shares)[0]
        sample = next(made[kind])
        if kind == "tools" and sample["kind"] == "tools" and rng.random() < CROWDED:
            others = islice(made["tools"], rng.randint(4, MOST_TOOLS) // 3)
            sample = crowded(sample, [t for o in others for t in o["tools"]], rng)
        yield sample


def crowded(sample: dict, others: list[dict], rng: random.Random) -> dict:
    """A conversation with other tools, of other names, declared among its own."""
    declared = {t["function"]["name"]: t for t in [*others, *sample["tools"]]}
    tools = list(declared.values())
    rng.shuffle(tools)
    return sample | {"tools": tools}


def documents(seed: int) -> Iterator[Document]:
    """Endless conversations as tokens and masks."""
    rng = random.Random(f"nano whole {seed}")
    for tokens, mask in rendered(conversations(seed), _tokenizer(), max_tokens=MAX_TOKENS):
        yield tokens, [True] * len(mask) if rng.random() < WHOLE else mask


@cache
def _tokenizer() -> Tokenizer:
    return Tokenizer.read(TOKENIZER)


def learn_tokenizer(count: int = 60_000, seed: int = 999) -> Tokenizer:
    """The embedded model's tokenizer, from `count` conversations."""
    from ..text.template import render_text

    texts = (
        render_text(s["messages"], s["tools"], add_generation_prompt=False)
        for s in islice(conversations(seed), count)
    )
    return train_tokenizer(texts, NANO.vocab_size)


def nano() -> Recipe:
    """The shipped size: rate constant, then a linear fall; a GPU or several (torchrun)."""
    return Recipe(
        "nano",
        NANO,
        lambda: Stream(documents, workers=WORKERS),
        seconds=1_200,
        tokens=163_840,
        shard=False,
        optim=Optim(lr=3e-3, weight_decay=0.05),
        schedule=Schedule("wsd", warmup=100, floor=0.02, decay=0.4),
        log_every=25,
        save_every=5_000,
    )


RECIPES: dict[str, Callable[[], Recipe]] = {"nano": nano}
