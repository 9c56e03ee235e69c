"""Ling: embedding, layers, norm, head. The same text trains, serves and scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ops
from ..batch import Batch
from ..config import ModelConfig
from .block import Block
from .layers import Embedding, weight
from .mtp import Mtp
from .past import Past
from .rotary import Rotary

# what stays in float32 when the model is cast to a narrower type
KEPT_WIDE = ("router", "bias")


class Ling(nn.Module):
    """A model of the family, uninitialised: call `init_weights` or load a checkpoint."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.embed = Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Block(config, i) for i in range(config.num_hidden_layers))
        self.norm = weight(config.hidden_size)
        self.head = weight(config.vocab_size, config.hidden_size)
        self.mtp = nn.ModuleList(Mtp(config, i) for i in range(config.num_nextn_predict_layers))

    @property
    def dtype(self) -> torch.dtype:
        """The type that the model computes in."""
        return self.norm.dtype

    def forward(self, batch: Batch, past: Past) -> Tensor:
        """Hidden states [T, D] after the final norm; which rows meet the head is the caller's."""
        rotary = Rotary.of(self.config, batch.positions, self.dtype)
        x = self.embed(batch.tokens)
        delta = torch.zeros_like(x)
        for layer in self.layers:
            x, delta = layer(x, delta, rotary, past)
        return ops.add_norm(x, delta, self.norm, self.config.rms_norm_eps)[1]

    def logits(self, hidden: Tensor) -> Tensor:
        """hidden [..., D] -> logits [..., vocab], float32 (float64 stays)."""
        return ops.wide(ops.linear(hidden, self.head))

    def mtp_hidden(
        self,
        hidden: Tensor,
        batch: Batch,
        past: Past,
        index: int = 0,
        following: Tensor | None = None,
    ) -> Tensor:
        """hidden [T, D] of this batch -> [T, D]: row t has read the token after it in its own
        sequence and guesses the one after that. following [T] are those tokens; by default they
        stand in the batch, and the last row of each sequence means nothing.
        """
        rotary = Rotary.of(self.config, batch.positions, self.dtype)
        read = self.embed(batch.tokens.roll(-1) if following is None else following)
        return self.mtp[index](hidden, read, rotary, past)

    def cast(self, dtype: torch.dtype) -> Ling:
        """Cast in place for computing in `dtype`; routers and their biases stay float32."""
        for name, p in [*self.named_parameters(), *self.named_buffers()]:
            is_wide = name.rsplit(".", 1)[-1] in KEPT_WIDE and dtype != torch.float64
            if p.is_floating_point():
                p.data = p.data.to(torch.float32 if is_wide else dtype)
        return self

    @torch.no_grad()
    def init_weights(self, seed: int = 0) -> Ling:
        """Normal weights of config.initializer_range (closing projections narrower by the root of
        twice the depth), norms one, expert biases zero. The same for a seed on every machine.
        """
        g = torch.Generator().manual_seed(seed)
        std = self.config.initializer_range
        closing = std / (2 * self.config.num_hidden_layers) ** 0.5
        for name, p in self.named_parameters():
            last = name.rsplit(".", 1)[-1]
            if last.endswith("norm"):
                p.fill_(1)
            else:
                scale = closing if last in ("o", "down") else std
                p.copy_(torch.randn(p.shape, generator=g) * scale)
        for b in self.buffers():
            b.zero_()
        return self
