"""The Lightning layer: normed and rotated q and k, linear attention, group norm and gate."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .layers import weight
from .past import Past
from .rotary import Rotary


class Lightning(nn.Module):
    """x [T, D] -> [T, D]; q, k, v and gate come from one fused projection."""

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

    def forward(self, x: Tensor, rotary: Rotary, past: Past) -> Tensor:
        """Mix the rows of each sequence."""
        if self.decay.device != x.device:
            self.decay = self.decay.to(x.device)
        q, k, v, gate = F.linear(x, self.qkvg).chunk(4, -1)
        q, k, v = (y.unflatten(-1, (-1, self.head_dim)) for y in (q, k, v))
        # float32 from the projection to the rotated vector, then one rounding
        q = ops.norm(ops.wide(q), self.q_norm, self.eps)
        k = ops.norm(ops.wide(k), self.k_norm, self.eps)
        q = ops.rotate_half(q, *rotary.half).to(x.dtype)
        k = ops.rotate_half(k, *rotary.half).to(x.dtype)
        out = past.scan(self.layer, q, k, v, self.decay).flatten(-2)
        return F.linear(ops.group_norm_gate(out, self.g_norm, gate, self.groups, self.eps), self.o)
