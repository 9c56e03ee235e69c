"""The past of a ragged step over slots and pages: chunks of prompts, drafts and single rows."""

from __future__ import annotations

from collections.abc import Sequence as Items
from functools import cached_property

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch, sent
from .cache import PAGE, Cache
from .request import Sequence, pages_for


class Paged:
    """What the sequences of a step remember: the rows of sequence n are its tokens from begins[n]
    on. With first=1 the past of an MTP layer: its entry of (hidden row j - 1, token j) stands in
    place j, so that it depends on no later token than the other latents there; place 0 has none.
    """

    def __init__(
        self,
        cache: Cache,
        batch: Batch,
        sequences: Items[Sequence],
        begins: Items[int],
        first: int = 0,
    ) -> None:
        device = batch.tokens.device
        self.cache, self.starts, self.first = cache, batch.starts, first
        self.ends = [b + n + first for b, n in zip(begins, batch.lengths, strict=True)]
        self.tails = tuple(b - s.base for b, s in zip(begins, sequences, strict=True))
        self.slots = sent([s.slot for s in sequences], device)
        seen = [s.pages[: pages_for(end)] for s, end in zip(sequences, self.ends, strict=True)]
        width = max(map(len, seen))
        # pages past a sequence's own are never read: its length ends before them
        self.table = sent([p + [0] * (width - len(p)) for p in seen], device).int()
        self.lengths = sent(self.ends, device).int()
        counts = sent(batch.lengths, device)
        owner = torch.arange(len(sequences), device=device)
        owner = owner.repeat_interleave(counts, output_size=len(batch.tokens))
        places = batch.positions + first
        self.page, self.place = self.table[owner, places // PAGE].long(), places % PAGE

    @cached_property
    def alone(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """Of the sequences with a single row, which run together: where these lie in the batch, and
        their table and lengths.
        """
        ends = zip(self.starts, self.starts[1:], strict=False)
        found = [n for n, (a, b) in enumerate(ends) if b - a == 1]
        if not found:
            return None
        at = sent(found, self.slots.device)
        rows = sent([self.starts[n] for n in found], self.slots.device)
        return rows, self.table[at], self.lengths[at]

    @cached_property
    def grid(self) -> ops.Grid:
        """Where the rows lie on the chunk grid; an MTP layer asks for none."""
        return ops.Grid(self.starts, self.tails, self.slots.device)

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the sequences' pages: absorbed for single rows, else expanded."""
        first = self.first
        pages = ops.lay(self.cache.latents(layer), self.page, self.place, latent)
        if len(q) == len(self.ends):
            return ops.mla_paged(q, pages, self.table, self.lengths, kv_b, value_dim, first=first)
        out = q.new_empty(*q.shape[:2], value_dim)
        if self.alone is not None:
            rows, table, lengths = self.alone
            out[rows] = ops.mla_paged(q[rows], pages, table, lengths, kv_b, value_dim, first=first)
        for n, end in enumerate(self.ends):
            a, b = self.starts[n], self.starts[n + 1]
            if b - a > 1:
                context = pages[self.table[n].long()].flatten(0, 1)[first:end]
                out[a:b] = ops.mla_over(q[a:b], context, kv_b, value_dim)
        return out

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, from the slots' states and open chunks."""
        return ops.lightning(q, k, v, decay, self.grid, self.cache.carry(layer, self.slots))


class Stepping:
    """The past of a step that brings as many rows to each of some slots; all of it on the device,
    so that the step can be recorded once and replayed. slots, lengths and tails [N]: the tokens
    that they hold, and how many of the last lie in their open chunks; first: as `Paged`. Rows that
    do not fit into an open chunk leave nothing but latents that the next step overwrites.
    """

    def __init__(
        self,
        cache: Cache,
        slots: Tensor,
        lengths: Tensor,
        tails: Tensor,
        rows: int = 1,
        first: int = 0,
    ) -> None:
        self.cache, self.slots, self.tails, self.first = cache, slots, tails, first
        found = ops.places(cache.table, slots, lengths, rows, PAGE, first)
        self.positions, self.lengths, self.page, self.place = found

    def batch(self, tokens: Tensor) -> Batch:
        """The rows of the step: tokens [N * R], those of a slot end to end."""
        rows = len(tokens) // len(self.slots)
        return Batch(tokens, self.positions, tuple(range(0, len(tokens) + 1, rows)))

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the slots' pages."""
        pages = ops.lay(self.cache.latents(layer), self.page, self.place, latent)
        of = self.cache.table, self.lengths
        return ops.mla_paged(q, pages, *of, kv_b, value_dim, self.slots, self.first)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, more rows of each open chunk."""
        return ops.lightning_decode(q, k, v, decay, self.cache.carry(layer, self.slots), self.tails)
