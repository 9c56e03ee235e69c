"""The Lightning layer: normed and rotated q and k, linear attention, group norm and gate."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .layers import weight
from .past import Past
from .rotary import Rotary


class Lightning(nn.Module):
    """q, k, v and gate come from one fused projection, which is made with the norm before it."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.groups, self.eps = config.group_norm_size, config.rms_norm_eps
        heads = config.num_attention_heads
        wide = heads * config.head_dim
        self.qkvg = weight(4 * wide, config.hidden_size)
        self.q_norm, self.k_norm = weight(config.head_dim), weight(config.head_dim)
        self.g_norm = weight(wide)
        self.o = weight(config.hidden_size, wide)
        # a plain tensor, not a buffer: casting the model must not round the decay
        with torch.device("cpu"):
            self.decay = ops.slopes(heads, layer, config.num_hidden_layers, config.decay_offset)

    @property
    def first(self) -> ops.Weight:
        """The weight of the projection that `forward` is given."""
        return self.qkvg

    def forward(self, fused: Tensor, rotary: Rotary, past: Past) -> Tensor:
        """Mix the rows of each sequence: fused [T, 4 H W] -> [T, D]."""
        if self.decay.device != fused.device:
            self.decay = self.decay.to(fused.device)
        width = fused.shape[-1] // 4
        qk, v, gate = fused.split([2 * width, width, width], -1)
        qk, v = (y.unflatten(-1, (-1, self.head_dim)) for y in (qk, v))
        q, k = ops.queries_keys(qk, self.q_norm, self.k_norm, *rotary.half, self.eps)
        out = past.scan(self.layer, q, k, v, self.decay).flatten(-2)
        return ops.gated_linear(out, self.g_norm, gate, self.groups, self.o, self.eps)
