"""Reading one prompt in chunks, up to its first token."""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...batch import Batch
from ...config import ModelConfig
from ...engine.cache import Cache
from ...engine.costs import Costs
from ...engine.memory import Wanted, workspace_bytes
from ...engine.past import Paged
from ...engine.request import Request, Sequence, Usage, pages_for
from ...model.ling import Ling
from . import timing

CHUNK = 8192
# a prompt is read again until so many runs or milliseconds are over
RUNS, ENOUGH = 3, 2000.0
Read = Callable[[Tensor, int], Tensor]


def missing(config: ModelConfig, tokens: int, free: int) -> int:
    """Bytes beyond `free` that reading a prompt takes beside the weights; 0 if it fits."""
    c = config.with_(num_nextn_predict_layers=0)
    costs = Costs.of(c)
    need = costs.slot + pages_for(tokens) * costs.page + work_bytes(c, tokens)
    return max(0, need - free)


def work_bytes(config: ModelConfig, tokens: int) -> int:
    """What a chunk needs beside weights and past: as the engine counts it, the spare slot and page
    among it, with as much again for results on the way, and the experts of a layer unpacked.
    """
    c = config
    experts = c.num_experts * 3 * c.hidden_size * c.moe_intermediate_size * 2
    return experts + 2 * workspace_bytes(
        c, Wanted(slots=1, context=tokens, budget=min(tokens, CHUNK))
    )


class Reader:
    """Reads chunks of one prompt of up to `tokens` tokens into pages, as the engine does."""

    def __init__(self, model: Ling, tokens: int) -> None:
        self.model, pages = model, pages_for(tokens)
        self.cache = Cache(model.config, 1, pages, model.dtype, model.head.device)
        usage, request = Usage(tokens), Request((0,))
        self.sequence = Sequence(0, request, 0, 0, usage, [0], slot=0, pages=list(range(pages)))

    def __call__(self, tokens: Tensor, first: int) -> Tensor:
        """The final hidden row [1, D] of a chunk whose first token is the prompt's `first`."""
        s = self.sequence
        if first == 0:
            self.cache.clear(0)
        # a full chunk stays open until its next row
        s.base = max(first - 1, 0) // ops.CHUNK * ops.CHUNK
        batch = Batch.pack([tokens], first=[first], device=self.model.head.device)
        return self.model(batch, Paged(self.cache, batch, [s], [first]))[-1:]


class Prompt:
    """A prompt of random tokens, and the runs that draw its first token."""

    def __init__(self, model: Ling, read: Read, tokens: int, chunk: int = CHUNK) -> None:
        self.model, self.read, self.device = model, read, model.head.device
        draw = torch.Generator().manual_seed(tokens)
        prompt = torch.randint(0, model.config.vocab_size, (tokens,), generator=draw)
        self.chunks = prompt.to(self.device).split(chunk)

    @torch.no_grad()
    def run(self, chunks: int | None = None) -> None:
        """Read the prompt, or its first chunks, and draw a token."""
        first, hidden = 0, None
        for chunk in self.chunks[:chunks]:
            hidden = self.read(chunk, first)
            first += len(chunk)
        assert hidden is not None
        self.model.logits(hidden).argmax(-1)

    def measure(self) -> dict[str, Any]:
        """Figures of the whole prompt."""
        # every kernel that the rest needs, compiled
        self.run(2)
        found: list[float] = []
        while len(found) < RUNS and sum(found) < ENOUGH:
            found += timing.times(self.run, 1, self.device)
        ms, tokens = median(found), sum(map(len, self.chunks))
        return {
            "chunk": len(self.chunks[0]),
            "ttft_ms": ms,
            "tokens_per_s": 1e3 * tokens / ms,
            "all_ms": found,
        }

    def trace(self) -> dict[str, Any]:
        """Milliseconds of a run by op."""
        self.run(2)
        return {"ms_by_op": timing.shares(self.run, 1, self.device)}
