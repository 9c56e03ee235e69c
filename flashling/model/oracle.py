"""The oracle: generation by recomputing everything. It defines what generation means."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..sampling import Sampling
from .ling import Ling
from .past import Form, Fresh


class Guide(Protocol):
    """What holds one sequence to a grammar."""

    @property
    def is_done(self) -> bool:
        """Whether its end has been accepted."""
        ...

    def mask(self) -> Tensor:
        """[V] bool: which tokens may come next."""
        ...

    def accept(self, token: int) -> None:
        """Go on by a drawn token."""
        ...

    def draft_masks(self, drafts: Sequence[int]) -> list[Tensor]:
        """The mask before each draft and after the last, as far as they may come; it stays where
        it is. Asked only by who has drafts.
        """
        ...


@dataclass
class Generation:
    """tokens produced (a stopping token included), the model's log-probability of each, the
    likeliest alternatives when asked for, and why it ended: "stop" or "length".
    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    top: list[list[tuple[int, float]]] = field(default_factory=list)
    finish: str = "length"


@torch.no_grad()
def generate(
    model: Ling,
    prompts: Sequence[Sequence[int]],
    sampling: Sampling,
    *,
    sample: int = 0,
    form: Form = "expanded",
    guide: Callable[[], Guide] | None = None,
) -> list[Generation]:
    """Continue each prompt (token ids, not empty) under `sampling`; `sample` numbers the draws
    of one prompt. Every token is computed from the whole text before it, alone. `guide` makes what
    holds a prompt's continuation to a grammar, one for each.
    """
    guides = [guide() if guide else None for _ in prompts]
    pairs = zip(prompts, guides, strict=True)
    return [_one(model, list(p), sampling, sample, form, g) for p, g in pairs]


def _one(
    model: Ling,
    prompt: list[int],
    sampling: Sampling,
    sample: int,
    form: Form,
    guide: Guide | None,
) -> Generation:
    if not prompt:
        raise ValueError("a prompt is empty; give at least one token")
    out = Generation()
    stops = {*model.config.eos_token_ids, *sampling.stop_ids}
    while len(out.tokens) < sampling.max_tokens:
        batch = Batch.pack([prompt + out.tokens], device=model.head.device)
        hidden = model(batch, Fresh(batch, form))
        logits = model.logits(hidden[-1])
        allowed = guide.mask() if guide else None
        token = ops.choose(logits, sampling, prompt, out.tokens, sample, allowed)
        if guide:
            guide.accept(token)
        logprobs = ops.logprobs_of(logits)
        out.logprobs.append(float(logprobs[token]))
        if sampling.logprobs:
            best = logprobs.topk(min(sampling.logprobs, len(logprobs)))
            ids, values = best.indices.tolist(), best.values.tolist()
            out.top.append(list(zip(ids, values, strict=True)))
        out.tokens.append(token)
        if token in stops or guide and guide.is_done:
            out.finish = "stop"
            break
    return out
