"""The MTP layer: from the hidden state of t and token t + 1, a guess at token t + 2."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .block import Block
from .layers import weight
from .past import Past
from .rotary import Rotary


class Mtp(nn.Module):
    """Always MLA and experts; embedding table and head are the main model's."""

    def __init__(self, config: ModelConfig, index: int) -> None:
        super().__init__()
        width, self.eps = config.hidden_size, config.rms_norm_eps
        self.embed_norm, self.hidden_norm = weight(width), weight(width)
        self.eh = weight(width, 2 * width)
        self.block = Block(config, config.num_hidden_layers + index)
        self.final_norm = weight(width)

    def forward(self, hidden: Tensor, embedded: Tensor, rotary: Rotary, past: Past) -> Tensor:
        """hidden [T, D] after the final norm, embedded [T, D] of the following tokens -> [T, D],
        which the main head turns into logits; it also feeds a deeper draft.
        """
        both = [
            ops.norm(embedded, self.embed_norm, self.eps),
            ops.norm(hidden, self.hidden_norm, self.eps),
        ]
        u = F.linear(torch.cat(both, -1), self.eh)
        x, delta = self.block(u, torch.zeros_like(u), rotary, past)
        return ops.add_norm(x, delta, self.final_norm, self.eps)[1]
