"""A plain runner: prompts are read one after another, then all slots step together."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..batch import Batch
from ..model.ling import Ling
from .cache import Cache, Filling, Stepping


class Runner:
    """Greedy continuation of up to `slots` sequences of up to `positions` tokens."""

    def __init__(self, model: Ling, slots: int, positions: int) -> None:
        self.model, self.device = model, model.head.device
        self.cache = Cache(model.config, slots, positions, model.dtype, self.device)
        # the newest token of every slot, not yet read
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def fill(self, prompts: Sequence[Sequence[int] | Tensor], slots: Sequence[int]) -> Tensor:
        """Read prompts into slots; the tokens [N] that follow them."""
        batch = Batch.pack(prompts, device=self.device)
        past = Filling(self.cache, batch, slots)
        hidden = self.model(batch, past)
        past.commit()
        last = hidden[torch.tensor(batch.last_rows, device=self.device)]
        found = self.model.logits(last).argmax(-1)
        self.tokens[past.slots] = found
        return found

    @torch.no_grad()
    def step(self, slots: Tensor) -> None:
        """One more token for each of the slots [N] int64, left in `tokens`."""
        past = Stepping(self.cache, slots)
        starts = tuple(range(len(slots) + 1))
        hidden = self.model(Batch(self.tokens[slots], past.positions, starts), past)
        past.commit()
        self.tokens[slots] = self.model.logits(hidden).argmax(-1)

    def record(self, slots: Sequence[int]) -> torch.cuda.CUDAGraph:
        """The step of these slots as a graph; each replay is one step. Two steps are run first,
        so that every kernel is compiled: fill the slots afterwards.
        """
        at = torch.tensor(slots, device=self.device)
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(2):
                self.step(at)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self.step(at)
        return graph
