"""A plain runner: prompts are read one after another, then all slots step together.

Lengths and tables live on the device and every slot has its pages in one run, so that a step can
be recorded as a graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .cache import PAGE, Cache


class Rows:
    """Slots whose lengths are counted on the device: slot s holds lengths[s] tokens in the pages
    table[s], the last tails[s] of them in its open chunk.
    """

    def __init__(self, model: Ling, slots: int, positions: int) -> None:
        device, each = model.head.device, -(-positions // PAGE)
        self.cache = Cache(model.config, slots, slots * each, model.dtype, device)
        self.table = torch.arange(slots * each, dtype=torch.int32, device=device).view(slots, each)
        self.lengths = torch.zeros(slots, dtype=torch.int32, device=device)
        self.tails = torch.zeros_like(self.lengths)


class Filling:
    """The past of a step that reads whole prompts, each from its start, into empty slots."""

    def __init__(self, rows: Rows, batch: Batch, slots: Sequence[int]) -> None:
        device = batch.tokens.device
        self.rows, self.cache = rows, rows.cache
        self.slots = torch.tensor(slots, device=device)
        self.lengths = torch.tensor(batch.lengths, dtype=torch.int32, device=device)
        self.documents = ops.Documents(batch.starts, device)
        self.grid = ops.Grid(batch.starts, (0,) * len(slots), device)
        self.cache.state[self.slots] = 0
        owner = self.slots.repeat_interleave(self.lengths, output_size=len(batch.tokens))
        self.page = rows.table[owner, batch.positions // PAGE].long()
        self.place = batch.positions % PAGE

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, and the latents are laid into pages."""
        self.cache.latents(layer)[self.page, self.place] = latent
        return ops.mla_expanded(q, latent, kv_b, value_dim, self.documents)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, and state and tail are left in the slots."""
        return ops.lightning(q, k, v, decay, self.grid, self.cache.carry(layer, self.slots))

    def commit(self) -> None:
        """Count the prompts' tokens, after the model has run over them."""
        self.rows.lengths[self.slots] = self.lengths
        # a full chunk stays open until its next row
        self.rows.tails[self.slots] = (self.lengths - 1) % ops.CHUNK + 1


class Stepping:
    """The past of a step that brings one row to each of some slots; all of it on the device, so
    that the step can be recorded once and replayed.
    """

    def __init__(self, rows: Rows, slots: Tensor) -> None:
        self.rows, self.cache, self.slots = rows, rows.cache, slots
        lengths = rows.lengths[slots]
        self.table, self.tails = rows.table[slots], rows.tails[slots]
        self.positions = lengths.long()
        self.lengths = lengths + 1
        self.page = self.table.gather(1, self.positions[:, None] // PAGE)[:, 0].long()
        self.place = self.positions % PAGE

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the slots' pages."""
        pages = self.cache.latents(layer)
        pages[self.page, self.place] = latent
        return ops.mla_paged(q, pages, self.table, self.lengths, kv_b, value_dim)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, one more row of each open chunk."""
        return ops.lightning_decode(q, k, v, decay, self.cache.carry(layer, self.slots), self.tails)

    def commit(self) -> None:
        """Count the step's rows."""
        self.rows.lengths[self.slots] = self.lengths
        self.rows.tails[self.slots] = self.tails % ops.CHUNK + 1


@dataclass(frozen=True)
class Recorded:
    """A recorded step, and what it reads besides the runner: the slots."""

    graph: torch.cuda.CUDAGraph
    slots: Tensor

    def replay(self) -> None:
        """Run the step once more."""
        self.graph.replay()


class Runner:
    """Greedy continuation of up to `slots` sequences of up to `positions` tokens."""

    def __init__(self, model: Ling, slots: int, positions: int) -> None:
        self.model, self.device = model, model.head.device
        self.rows = Rows(model, slots, positions)
        # the newest token of every slot, not yet read
        self.tokens = torch.zeros(slots, dtype=torch.int64, device=self.device)

    @torch.no_grad()
    def fill(self, prompts: Sequence[Sequence[int] | Tensor], slots: Sequence[int]) -> Tensor:
        """Read prompts into slots; the tokens [N] that follow them."""
        batch = Batch.pack(prompts, device=self.device)
        past = Filling(self.rows, batch, slots)
        hidden = self.model(batch, past)
        past.commit()
        last = hidden[torch.tensor(batch.last_rows, device=self.device)]
        found = self.model.logits(last).argmax(-1)
        self.tokens[past.slots] = found
        return found

    @torch.no_grad()
    def step(self, slots: Tensor) -> None:
        """One more token for each of the slots [N] int64, left in `tokens`."""
        past = Stepping(self.rows, slots)
        starts = tuple(range(len(slots) + 1))
        hidden = self.model(Batch(self.tokens[slots], past.positions, starts), past)
        past.commit()
        self.tokens[slots] = self.model.logits(hidden).argmax(-1)

    def record(self, slots: Sequence[int]) -> Recorded:
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
        return Recorded(graph, at)
