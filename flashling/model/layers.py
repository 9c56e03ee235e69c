"""The pieces every layer is made of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import ops


def weight(*shape: int) -> nn.Parameter:
    """An uninitialised parameter; `Ling.init_weights` or a checkpoint fills it."""
    return nn.Parameter(torch.empty(*shape))


class Embedding(nn.Module):
    """Rows of a table: tokens [T] -> [T, D]."""

    def __init__(self, vocab: int, width: int) -> None:
        super().__init__()
        self.weight = weight(vocab, width)

    def forward(self, tokens: Tensor) -> Tensor:
        """The row of each token."""
        return F.embedding(tokens, self.weight)


class Mlp(nn.Module):
    """down(silu(gate(x)) * up(x)), gate and up in one product."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = weight(2 * hidden, width)
        self.down = weight(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        """x [T, D] -> [T, D]."""
        return ops.linear(ops.swiglu(ops.linear(x, self.gate_up)), self.down)
