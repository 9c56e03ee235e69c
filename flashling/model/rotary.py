"""The rotary tables of one forward pass, shared by all layers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from .. import ops
from ..config import ModelConfig, Yarn


@dataclass
class Rotary:
    """cos and sin [T, n] for Lightning heads (`half`) and for MLA's rotary part (`pairs`)."""

    half: tuple[Tensor, Tensor]
    pairs: tuple[Tensor, Tensor]

    @classmethod
    def of(cls, config: ModelConfig, positions: Tensor, dtype: torch.dtype) -> Rotary:
        """Tables of positions [T]; float64 for a float64 model, float32 for every other."""
        kind = torch.float64 if dtype == torch.float64 else torch.float32
        yarn = config.rope_scaling
        scale = yarn.attention_scale if yarn else 1.0

        def table(dim: int) -> tuple[Tensor, Tensor]:
            freqs = _frequencies(dim, config.rope_theta, yarn, positions.device)
            return ops.rotary_table(positions, freqs, scale, kind)

        half = table(config.rotary_dim)
        same = config.qk_rope_head_dim == config.rotary_dim
        return cls(half, half if same else table(config.qk_rope_head_dim))


@lru_cache
def _frequencies(dim: int, theta: float, yarn: Yarn | None, device: torch.device) -> Tensor:
    """Made once: a step that is being recorded as a graph may not copy from the host."""
    return ops.frequencies(dim, theta, yarn).to(device)
