"""Past: what the sequences of a batch remember. Two verbs: `attend` (MLA), `scan` (Lightning)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..config import ModelConfig

Form = Literal["expanded", "absorbed"]


class Past(Protocol):
    """What a model asks of its past; shapes as in `ops.mla_expanded` and `ops.lightning`."""

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """Attention of MLA layer `layer`: q [T, H, N + P], latent [T, R + P] -> [T, H, V]."""
        ...

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """Lightning attention of layer `layer`: q, k, v [T, H, K] -> [T, H, V] float32."""
        ...


class Fresh:
    """Remembers nothing: every sequence of the batch begins in it (training, scoring, oracle)."""

    def __init__(self, batch: Batch, form: Form = "expanded", chunk: int = ops.CHUNK):
        device = batch.tokens.device
        self.starts, self.form = batch.starts, form
        self.grid = ops.Grid(batch.starts, (0,) * (len(batch.starts) - 1), device, chunk)
        self.documents = ops.Documents(batch.starts, device)

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`."""
        if self.form == "expanded":
            return ops.mla_expanded(q, latent, kv_b, value_dim, self.documents)
        contexts = [latent[a:b] for a, b in zip(self.starts, self.starts[1:], strict=False)]
        return ops.mla_absorbed(q, contexts, kv_b, value_dim, self.starts)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`."""
        return ops.lightning(q, k, v, decay, self.grid)


class Kept:
    """A plain serving past: one slot per sequence, latents in one run each.

    Use: `past = kept.begin(batch, slots)`, one forward pass of the model, `kept.commit()`.
    state [S, L, H, K, V] float32, tail [S, L, 2, C, H, K], latent [S, M, room, R + P]; a slot's
    length is base + tail, base counting the tokens folded into its state.
    """

    def __init__(
        self,
        config: ModelConfig,
        slots: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        chunk: int = ops.CHUNK,
    ) -> None:
        self.chunk, self.device = chunk, torch.device(device)
        self.scan_at = {layer: i for i, layer in enumerate(config.lightning_layers)}
        self.attend_at = {layer: i for i, layer in enumerate(config.mla_layers)}
        heads, width = config.num_attention_heads, config.head_dim
        linear = len(self.scan_at)
        wide = torch.float64 if dtype == torch.float64 else torch.float32
        self.state = torch.zeros(slots, linear, heads, width, width, dtype=wide, device=device)
        self.tail = torch.zeros(slots, linear, 2, chunk, heads, width, dtype=dtype, device=device)
        self.latent = torch.zeros(
            slots, len(self.attend_at), 0, config.latent_dim, dtype=dtype, device=device
        )
        self.base, self.rows = [0] * slots, [0] * slots
        self.limit = config.max_position_embeddings

    def length(self, slot: int) -> int:
        """How many tokens the slot holds."""
        return self.base[slot] + self.rows[slot]

    def copy(self, source: int, target: int) -> None:
        """Make slot `target` remember what `source` does (a fork)."""
        self.state[target] = self.state[source]
        self.tail[target] = self.tail[source]
        self.latent[target] = self.latent[source]
        self.base[target], self.rows[target] = self.base[source], self.rows[source]

    def begin(self, batch: Batch, slots: Sequence[int]) -> Kept:
        """Prepare a step that appends each sequence of `batch` to its slot."""
        if len(slots) != len(batch.starts) - 1 or len(set(slots)) != len(slots):
            raise ValueError(f"{len(batch.starts) - 1} sequences need as many slots, not {slots}")
        self.slots, self.starts = list(slots), batch.starts
        ends = [self.length(s) + n for s, n in zip(slots, batch.lengths, strict=True)]
        if max(ends) > self.limit:
            raise ValueError(
                f"{max(ends)} tokens exceed the model's {self.limit} positions; shorten the input"
            )
        self._make_room(max(ends))
        self.ends = ends
        tails = tuple(self.rows[s] for s in slots)
        self.grid = ops.Grid(batch.starts, tails, self.device, self.chunk)
        self.at = torch.tensor(self.slots, device=self.device)
        return self

    def commit(self) -> None:
        """Count the step's rows, after the model has run over them."""
        for slot, end, left in zip(self.slots, self.ends, self.grid.left, strict=True):
            self.base[slot], self.rows[slot] = end - left, left

    def _make_room(self, tokens: int) -> None:
        room = self.latent.shape[2]
        if tokens > room:
            # doubling keeps the copies linear in the final length
            room = min(max(tokens, 2 * room, 256), max(self.limit, tokens))
            grown = self.latent.new_zeros(*self.latent.shape[:2], room, self.latent.shape[3])
            grown[:, :, : self.latent.shape[2]] = self.latent
            self.latent = grown

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, over the kept latents: absorbed for single rows, else expanded."""
        store = self.latent[:, self.attend_at[layer]]
        spans = list(zip(self.slots, self.starts, self.starts[1:], self.ends, strict=False))
        for slot, a, b, end in spans:
            store[slot, end - (b - a) : end] = latent[a:b]
        contexts = [store[slot, :end] for slot, _, _, end in spans]
        if len(q) == len(spans):
            return ops.mla_absorbed(q, contexts, kv_b, value_dim, self.starts)
        outs = []
        for (_, a, b, _), context in zip(spans, contexts, strict=True):
            one = b - a == 1
            outs.append(
                ops.mla_absorbed(q[a:b], [context], kv_b, value_dim, (0, 1))
                if one
                else ops.mla_over(q[a:b], context, kv_b, value_dim)
            )
        return torch.cat(outs)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """As `Past.scan`, from the kept state and open chunk."""
        i = self.scan_at[layer]
        carry = ops.Carry(self.state[:, i], self.tail[:, i], self.at)
        return ops.lightning(q, k, v, decay, self.grid, carry)
