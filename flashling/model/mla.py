"""The MLA layer: multi-head latent attention."""

from __future__ import annotations

from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .layers import weight
from .past import Past
from .rotary import Rotary


class Mla(nn.Module):
    """Keys and values are kept as one latent and one rotated key per token. They and what queries
    are made of come from one fused projection, which is made with the norm before it.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.eps = layer, config.rms_norm_eps
        self.value_dim, self.rope_dim = config.v_head_dim, config.qk_rope_head_dim
        self.rank, self.heads = config.kv_lora_rank, config.num_attention_heads
        width = config.hidden_size
        q_out = self.heads * (config.qk_nope_head_dim + config.qk_rope_head_dim)
        q_rank = config.q_lora_rank
        self.is_low_rank = q_rank is not None
        self.qkv_a = weight((q_rank or q_out) + config.latent_dim, width)
        if q_rank is not None:
            self.q_a_norm = weight(q_rank)
            self.q_b = weight(q_out, q_rank)
        self.kv_a_norm = weight(self.rank)
        self.kv_b = weight(
            self.heads * (config.qk_nope_head_dim + self.value_dim), config.kv_lora_rank
        )
        self.o = weight(width, self.heads * self.value_dim)

    @property
    def first(self) -> ops.Weight:
        """The weight of the projection that `forward` is given."""
        return self.qkv_a

    def forward(self, fused: Tensor, rotary: Rotary, past: Past) -> Tensor:
        """Attend within each sequence: fused [T, Q + R + P] -> [T, D]."""
        q_norm = self.q_a_norm if self.is_low_rank else None
        q, latent = ops.latent_rows(fused, q_norm, self.kv_a_norm, *rotary.pairs, self.eps)
        if self.is_low_rank:
            q = ops.linear(q, self.q_b)
        q = ops.turned_queries(q.unflatten(-1, (self.heads, -1)), *rotary.pairs)
        out = past.attend(self.layer, q, latent, self.kv_b, self.value_dim)
        return ops.linear(out.flatten(-2), self.o)
