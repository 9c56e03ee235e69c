"""Fine-tuning on conversations: only what the assistant says is a target.

What is left out: a loss on the user's words and on tool results, weights per conversation (every
target token counts alike), and padding (documents are packed, each with a past of its own).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from ..config import ModelConfig
from .optim import Optim
from .recipe import Recipe
from .schedule import Schedule
from .shards import Document, Shards
from .source import Shuffled

if TYPE_CHECKING:
    from ..text.tokenizer import Tokenizer


def rendered(
    samples: Iterable[dict[str, Any]], tokenizer: Tokenizer, *, max_tokens: int | None = None
) -> Iterator[Document]:
    """Conversations {"messages": [...], "tools": [...] or None} as tokens and training masks.

    Those longer than `max_tokens`, or without a trained token, are left out.
    """
    from ..text.template import render

    for sample in samples:
        found = render(
            sample["messages"],
            sample.get("tools"),
            tokenizer=tokenizer,
            add_generation_prompt=False,
        )
        is_short = max_tokens is None or len(found.tokens) <= max_tokens
        if is_short and any(found.mask):
            yield found.tokens, found.mask


def sft(
    name: str,
    model: ModelConfig,
    *folders: str,
    start: str | None = None,
    steps: int | None = None,
    **changes: Any,
) -> Recipe:
    """A run over shards of rendered conversations, from the checkpoint `start`.

    A smaller peak rate than pretraining's, and a cosine fall; `changes` are fields of `Recipe`.
    """
    usual: dict[str, Any] = {
        "start": start,
        "steps": steps,
        "optim": Optim(lr=1e-4),
        "schedule": Schedule("cosine", warmup=50, floor=0.1),
    }
    seed = changes.get("seed", 0)
    return Recipe(name, model, lambda: Shuffled(Shards(*folders), seed), **(usual | changes))


RECIPES: dict[str, Callable[[], Recipe]] = {}
