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
    """x and delta [T, D] -> the same two: a residual stream, and what is still to be added to it.

    The last sum of a layer is left to the norm of the next, which reads it anyway.
    """

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.eps = config.rms_norm_eps
        self.input_norm, self.post_norm = weight(config.hidden_size), weight(config.hidden_size)
        self.mixer = Mla(config, layer) if config.is_mla(layer) else Lightning(config, layer)
        if config.is_moe(layer):
            self.ffn: nn.Module = Moe(config)
        else:
            self.ffn = Mlp(config.hidden_size, config.intermediate_size)

    def forward(
        self, x: Tensor, delta: Tensor, rotary: Rotary, past: Past
    ) -> tuple[Tensor, Tensor]:
        """Both residual steps."""
        x, fused = ops.add_norm_linear(x, delta, self.input_norm, self.mixer.first, self.eps)
        x, y = ops.add_norm(x, self.mixer(fused, rotary, past), self.post_norm, self.eps)
        return x, self.ffn(y)
