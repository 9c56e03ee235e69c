"""The mixture of experts: routed experts chosen per token, and one shared by all."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import ops
from ..config import ModelConfig
from .layers import Mlp, weight


class Moe(nn.Module):
    """x [T, D] -> [T, D]. `load` counts rows per expert while training."""

    bias: Tensor
    load: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width, hidden, num = config.hidden_size, config.moe_intermediate_size, config.num_experts
        self.choice = ops.Choice(
            config.num_experts_per_tok,
            config.n_group,
            config.topk_group,
            config.norm_topk_prob,
            config.routed_scaling_factor,
        )
        self.router = nn.Parameter(torch.empty(num, width, dtype=torch.float32))
        self.register_buffer("bias", torch.zeros(num, dtype=torch.float32))
        self.register_buffer("load", torch.zeros(num, dtype=torch.int64), persistent=False)
        self.gate_up = weight(num, 2 * hidden, width)
        self.down = weight(num, width, hidden)
        self.shared = Mlp(width, config.moe_shared_expert_intermediate_size)

    def forward(self, x: Tensor) -> Tensor:
        """Routed experts, weighted, plus the shared expert unweighted."""
        ops.fetch(x, self.shared.gate_up, self.shared.down)
        weights, chosen = ops.route(x, self.router, self.bias, self.choice)
        if self.training:
            self.load += ops.expert_load(chosen, len(self.router))
        shared = self.shared.gate_up, self.shared.down
        return ops.experts(x, weights, chosen, self.gate_up, self.down, shared)
