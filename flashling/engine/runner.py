"""A plain runner: prompts are read one after another, then all slots step together.

Every slot has its pages in one run, and all that a step asks for lies on the device.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .cache import PAGE, Cache
from .request import pages_for
from .steps import Recorded, Steps, laid


class Rows:
    """Slots of which a step's counts (`laid`) tell: slot s holds lengths[s] tokens, the last
    tails[s] of them in its open chunk, in a run of `pages` pages, and reads tokens[s] next.
    """

    def __init__(self, model: Ling, slots: int, positions: int) -> None:
        device, self.pages = model.head.device, pages_for(positions)
        self.cache = Cache(model.config, slots, slots * self.pages, model.dtype, device)
        for slot in range(slots):
            self.cache.lay(slot, range(slot * self.pages, (slot + 1) * self.pages))
        self.given = laid([], slots, self.cache.spare_slot).to(device)
        self.given[0] = torch.arange(slots, device=device)
        _, self.lengths, self.tails, *_, self.tokens = self.given


class Filling:
    """The past of a step that reads whole prompts, each from its start, into empty slots."""

    def __init__(self, rows: Rows, batch: Batch, slots: Sequence[int]) -> None:
        device = batch.tokens.device
        self.rows, self.cache = rows, rows.cache
        self.slots = torch.tensor(slots, device=device)
        self.lengths = torch.tensor(batch.lengths, device=device)
        self.documents = ops.Documents(batch.starts, device)
        self.grid = ops.Grid(batch.starts, (0,) * len(slots), device)
        self.cache.state[self.slots] = 0
        owner = self.slots.repeat_interleave(self.lengths, output_size=len(batch.tokens))
        self.page = self.cache.table[owner, batch.positions // PAGE].long()
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


class Runner:
    """Greedy continuation of up to `slots` sequences of up to `positions` tokens: the engine's own
    steps.
    """

    def __init__(self, model: Ling, slots: int, positions: int) -> None:
        self.model, self.device = model, model.head.device
        self.rows = Rows(model, slots, positions)
        self.steps = Steps(model, self.rows.cache)
        # the newest token of every slot, not yet read
        self.tokens = self.rows.tokens

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
    def step(self, slots: Tensor | None = None) -> None:
        """One more token for each of the slots [N] int64, by default all, left in `tokens`."""
        given = self.rows.given
        some = given if slots is None else given[:, slots]
        self.steps.step(some, is_cut=False)
        if slots is not None:
            given[:, slots] = some

    def record(self) -> Recorded:
        """The step of all slots as a graph; each replay is one step. Some steps are run first, so
        that every kernel is compiled: fill the slots afterwards.
        """

        def step(given: Tensor) -> tuple[Tensor, Tensor]:
            return self.steps.step(given, is_cut=False)

        with torch.no_grad():
            return Recorded(step, self.rows.given)
