"""What live sequences remember on one device: slots of Lightning state, pages of latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..batch import sent
from ..config import ModelConfig
from .request import PAGE


@dataclass(frozen=True)
class Snapshot:
    """A slot at an exact token: state [L, H, K, V] before the open chunk, which begins at token
    `base`, and the keys and values of its rows, tail [L, 2, rows, H, K]. hidden [D]: the final row
    of its last token, from which an MTP layer goes on. scale [L, H, K]: of a state in int8, which
    has no open rows (`ops.quantise_state`).
    """

    base: int
    state: Tensor
    tail: Tensor
    hidden: Tensor | None = None
    scale: Tensor | None = None

    @property
    def length(self) -> int:
        """How many tokens it has read."""
        return self.base + self.tail.shape[2]

    @property
    def nbytes(self) -> int:
        """Bytes of its tensors."""
        more = [x.nbytes for x in (self.hidden, self.scale) if x is not None]
        return self.state.nbytes + self.tail.nbytes + sum(more)

    def to(self, device: torch.device) -> Snapshot:
        """The same on a device; a copy from pinned memory is not waited for."""
        moved = (
            None if x is None else x.to(device, non_blocking=True)
            for x in (self.hidden, self.scale)
        )
        state, tail = (x.to(device, non_blocking=True) for x in (self.state, self.tail))
        return Snapshot(self.base, state, tail, *moved)


class Cache:
    """Slots and pages, allocated once, with a spare one of each that belongs to nobody.

    state [S, L, H, K, V] float32 (float64 in float64) before each slot's open chunk; tail
    [S, L, 2, C, H, K] its keys and values; pages [P, M, 64, R + P] latents; table [S, P + 1] int32
    the pages of each slot in order, then the spare one: a step's drafts may lie behind a sequence.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        pages: int,
        dtype: torch.dtype = torch.bfloat16,
        device: torch.device | str = "cpu",
    ) -> None:
        heads, width = config.num_attention_heads, config.head_dim
        self.scan_at = {layer: i for i, layer in enumerate(config.lightning_layers)}
        # those of MTP layers are among them
        self.attend_at = {layer: i for i, layer in enumerate(config.mla_layers)}
        scans, attends = len(self.scan_at), len(self.attend_at)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.spare_slot = slots
        shape = slots + 1, scans, heads, width, width
        self.state = torch.zeros(shape, dtype=wide, device=device)
        # [L, H]
        self.decay = torch.stack(
            [
                ops.slopes(heads, layer, config.num_hidden_layers, config.decay_offset)
                for layer in config.lightning_layers
            ]
        ).to(device)
        shape = slots + 1, scans, 2, ops.CHUNK, heads, width
        self.tail = torch.zeros(shape, dtype=dtype, device=device)
        shape = pages + 1, attends, PAGE, config.latent_dim
        self.pages = torch.zeros(shape, dtype=dtype, device=device)
        most = min(pages, -(-config.max_position_embeddings // PAGE))
        shape = slots + 1, max(most, 1) + 1
        self.table = torch.full(shape, pages, dtype=torch.int32, device=device)

    def carry(self, layer: int, slots: Tensor) -> ops.Carry:
        """One Lightning layer of some slots."""
        i = self.scan_at[layer]
        return ops.Carry(self.state[:, i], self.tail[:, i], slots)

    def latents(self, layer: int) -> Tensor:
        """Pages [P, 64, R + P] of one MLA layer."""
        return self.pages[:, self.attend_at[layer]]

    def lay(self, slot: int, pages: Sequence[int]) -> None:
        """Say which pages a slot has."""
        own = [*pages, len(self.pages) - 1]
        self.table[slot, : len(own)] = sent(own, self.table.device)

    def clear(self, slot: int) -> None:
        """Empty a slot: the next sequence must not begin with another's state. Its rows go too:
        a step reads as many of every slot as the longest needs, and zero times NaN is NaN.
        """
        self.state[slot].zero_()
        self.tail[slot].zero_()

    def snapshot(self, slot: int, base: int, rows: int, hidden: Tensor | None = None) -> Snapshot:
        """A copy of what the slot holds."""
        # a copy of the hidden row too: it is part of a whole step's rows
        hidden = None if hidden is None else hidden.clone()
        state, tail = self.state[slot].clone(), self.tail[slot, :, :, :rows].clone()
        return Snapshot(base, state, tail, hidden)

    def quantise(self, snapshot: Snapshot) -> Snapshot:
        """The same in int8, a quarter of the state's bytes and none of the open chunk; itself if it
        is already.
        """
        if snapshot.scale is not None:
            return snapshot
        numbers, scale = ops.quantise_state(snapshot.state, snapshot.tail, self.decay)
        tail = snapshot.tail[:, :, :0].clone()
        return Snapshot(snapshot.length, numbers, tail, snapshot.hidden, scale)

    def restore(self, slot: int, snapshot: Snapshot) -> int:
        """Make the slot hold what was copied, and no other rows; the token at which its open chunk
        begins. Rows that were folded are zero there, so that every slot is on the chunk grid.
        """
        if snapshot.scale is None:
            rows = snapshot.tail.shape[2]
            self.state[slot].copy_(snapshot.state)
            self.tail[slot, :, :, :rows].copy_(snapshot.tail)
            self.tail[slot, :, :, rows:] = 0
            return snapshot.base
        rows = snapshot.length % ops.CHUNK
        kept = snapshot.state, snapshot.scale, self.decay
        ops.restore_state(*kept, rows, self.state[slot])
        self.tail[slot].zero_()
        return snapshot.length - rows

    def read(self, pages: Sequence[int]) -> Tensor:
        """A copy of some pages [N, M, 64, R + P], on the device."""
        return self.pages[sent(pages, self.pages.device)]

    def fill(self, pages: Sequence[int], contents: Tensor) -> None:
        """Lay what was read, wherever it is now, into pages."""
        device = self.pages.device
        self.pages[sent(pages, device)] = contents.to(device, non_blocking=True)

    def copy_page(self, source: int, target: int) -> None:
        """Copy a page whose end two sequences will write differently."""
        self.pages[target].copy_(self.pages[source])
