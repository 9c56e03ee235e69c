"""What the live sequences remember on one device: slots of Lightning state, pages of latents."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..config import ModelConfig

PAGE = 64


class Cache:
    """Slots and pages, allocated once.

    state [S, L, H, K, V] float32 before each slot's open chunk; tail [S, L, 2, C, H, K] its keys
    and values; pages [S * pages, M, 64, R + P] latents, a slot's pages in one run; table
    [S, pages] int32. Slot s holds lengths[s] tokens, the last tails[s] of them in the open chunk.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        positions: int,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cuda",
    ) -> None:
        heads, width = config.num_attention_heads, config.head_dim
        self.scan_at = {layer: i for i, layer in enumerate(config.lightning_layers)}
        self.attend_at = {layer: i for i, layer in enumerate(config.mla_layers)}
        scans, attends = len(self.scan_at), len(self.attend_at)
        each = -(-positions // PAGE)
        kind = {"dtype": dtype, "device": device}
        self.state = torch.zeros(slots, scans, heads, width, width, device=device)
        self.tail = torch.zeros(slots, scans, 2, ops.CHUNK, heads, width, **kind)
        self.pages = torch.zeros(slots * each, attends, PAGE, config.latent_dim, **kind)
        self.table = torch.arange(slots * each, dtype=torch.int32, device=device).view(slots, each)
        self.lengths = torch.zeros(slots, dtype=torch.int32, device=device)
        self.tails = torch.zeros_like(self.lengths)

    def carry(self, layer: int, slots: Tensor) -> ops.Carry:
        """One Lightning layer of some slots."""
        i = self.scan_at[layer]
        return ops.Carry(self.state[:, i], self.tail[:, i], slots)

    def latents(self, layer: int) -> Tensor:
        """Pages [P, 64, R + P] of one MLA layer."""
        return self.pages[:, self.attend_at[layer]]


class Filling:
    """The past of a step that reads whole prompts, each from its start, into empty slots."""

    def __init__(self, cache: Cache, batch: Batch, slots: Sequence[int]) -> None:
        device = batch.tokens.device
        self.cache = cache
        self.slots = torch.tensor(slots, device=device)
        self.lengths = torch.tensor(batch.lengths, dtype=torch.int32, device=device)
        self.documents = ops.Documents(batch.starts, device)
        self.grid = ops.Grid(batch.starts, (0,) * len(slots), device)
        cache.state[self.slots] = 0
        rows = self.slots.repeat_interleave(self.lengths, output_size=len(batch.tokens))
        self.page = cache.table[rows, batch.positions // PAGE].long()
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
        self.cache.lengths[self.slots] = self.lengths
        # a full chunk stays open until its next row
        self.cache.tails[self.slots] = (self.lengths - 1) % ops.CHUNK + 1


class Stepping:
    """The past of a step that brings one row to each of some slots; all of it on the device, so
    that the step can be recorded once and replayed.
    """

    def __init__(self, cache: Cache, slots: Tensor) -> None:
        self.cache, self.slots = cache, slots
        lengths = cache.lengths[slots]
        self.table, self.tails = cache.table[slots], cache.tails[slots]
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
        self.cache.lengths[self.slots] = self.lengths
        self.cache.tails[self.slots] = self.tails % ops.CHUNK + 1
