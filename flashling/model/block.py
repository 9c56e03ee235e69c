"""One decoder layer: a mixer and a feed-forward, each behind a norm and a residual."""

from __future__ import annotations

from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .layers import Mlp, weight
from .lightning import Lightning
from .mla import Mla
from .moe import Moe
from .past import Past
from .rotary import Rotary


class Block(nn.Module):
    """x [T, D] -> [T, D]."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_norm, self.post_norm = weight(config.hidden_size), weight(config.hidden_size)
        self.mixer = Mla(config, layer) if config.is_mla(layer) else Lightning(config, layer)
        if config.is_moe(layer):
            self.ffn: nn.Module = Moe(config)
        else:
            self.ffn = Mlp(config.hidden_size, config.intermediate_size)

    def forward(self, x: Tensor, rotary: Rotary, past: Past) -> Tensor:
        """Both residual steps."""
        x = x + self.mixer(ops.norm(x, self.input_norm, self.eps), rotary, past)
        return x + self.ffn(ops.norm(x, self.post_norm, self.eps))
