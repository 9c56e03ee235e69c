"""The past of a ragged step over slots and pages: chunks of prompts, drafts and single rows."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch, sent
from .cache import PAGE, Cache
from .request import Sequence, pages_for


class Paged:
    """What the sequences of a step remember: row i of sequence n is its token done + i."""

    def __init__(self, cache: Cache, batch: Batch, sequences: Items[Sequence]) -> None:
        device = batch.tokens.device
        self.cache, self.starts = cache, batch.starts
        self.ends = [s.done + n for s, n in zip(sequences, batch.lengths, strict=True)]
        self.grid = ops.Grid(batch.starts, tuple(s.done - s.base for s in sequences), device)
        self.slots = sent([s.slot for s in sequences], device)
        seen = [s.pages[: pages_for(end)] for s, end in zip(sequences, self.ends, strict=True)]
        width = max(map(len, seen))
        # pages past a sequence's own are never read: its length ends before them
        self.table = sent([p + [0] * (width - len(p)) for p in seen], device).int()
        self.lengths = sent(self.ends, device).int()
        counts = sent(batch.lengths, device)
        owner = torch.arange(len(sequences), device=device)
        owner = owner.repeat_interleave(counts, output_size=len(batch.tokens))
        self.page = self.table[owner, batch.positions // PAGE].long()
        self.place = batch.positions % PAGE

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the sequences' pages: absorbed for single rows, else expanded."""
        pages = self.cache.latents(layer)
        pages[self.page, self.place] = latent
        if len(q) == len(self.ends):
            return ops.mla_paged(q, pages, self.table, self.lengths, kv_b, value_dim)
        outs = []
        for n, end in enumerate(self.ends):
            a, b = self.starts[n], self.starts[n + 1]
            if b - a == 1:
                row = slice(n, n + 1)
                table, lengths = self.table[row], self.lengths[row]
                outs.append(ops.mla_paged(q[a:b], pages, table, lengths, kv_b, value_dim))
            else:
                context = pages[self.table[n].long()].flatten(0, 1)[:end]
                outs.append(ops.mla_over(q[a:b], context, kv_b, value_dim))
        return torch.cat(outs)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, from the slots' states and open chunks."""
        return ops.lightning(q, k, v, decay, self.grid, self.cache.carry(layer, self.slots))


class Stepping:
    """The past of a step that brings one row to each of some slots; all of it on the device, so
    that the step can be recorded once and replayed. slots [N] int64; lengths [N] int32: the tokens
    that they hold, the last tails [N] int32 of them in their open chunks.
    """

    def __init__(self, cache: Cache, slots: Tensor, lengths: Tensor, tails: Tensor) -> None:
        self.cache, self.slots, self.tails = cache, slots, tails
        self.positions = lengths.long()
        self.lengths = lengths + 1
        self.page = cache.table[slots, self.positions // PAGE].long()
        self.place = self.positions % PAGE

    def batch(self, tokens: Tensor) -> Batch:
        """The rows of the step: one token [N] of each sequence."""
        return Batch(tokens, self.positions, tuple(range(len(tokens) + 1)))

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the slots' pages."""
        pages = self.cache.latents(layer)
        pages[self.page, self.place] = latent
        table, slots = self.cache.table, self.slots
        return ops.mla_paged(q, pages, table, self.lengths, kv_b, value_dim, slots)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, one more row of each open chunk."""
        return ops.lightning_decode(q, k, v, decay, self.cache.carry(layer, self.slots), self.tails)


class Ahead:
    """The past of an MTP layer. Its entry of (hidden row j - 1, token j) stands in place j, so that
    it depends on no later token than the other latents there; place 0 has none.
    """

    def __init__(self, cache: Cache, batch: Batch, sequences: Items[Sequence]) -> None:
        self.cache, self.starts = cache, batch.starts
        device = batch.tokens.device
        places = (batch.positions + 1).tolist()
        owner = [n for n, count in enumerate(batch.lengths) for _ in range(count)]
        pages = [sequences[n].pages[j // PAGE] for n, j in zip(owner, places, strict=True)]
        self.page = torch.tensor(pages, device=device)
        self.place = torch.tensor([j % PAGE for j in places], device=device)
        self.ends = [places[b - 1] + 1 for b in batch.starts[1:]]
        self.tables = [
            torch.tensor(s.pages[: pages_for(end)], device=device)
            for s, end in zip(sequences, self.ends, strict=True)
        ]

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the entries from place 1 on."""
        pages = self.cache.latents(layer)
        pages[self.page, self.place] = latent
        contexts = [
            pages[table].flatten(0, 1)[1:end]
            for table, end in zip(self.tables, self.ends, strict=True)
        ]
        return ops.mla_absorbed(q, contexts, kv_b, value_dim, self.starts)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """An MTP layer has no Lightning attention."""
        raise AssertionError(f"layer {layer} of an MTP head scans nothing")
