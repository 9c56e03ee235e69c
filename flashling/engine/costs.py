"""What the parts of a past cost on a device, from the config alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..config import ModelConfig
from ..ops import CHUNK
from .cache import PAGE
from .request import pages_for


@dataclass(frozen=True)
class Costs:
    """Bytes of the parts of a past: a token's latents, a slot's state and the keys and values of
    its open chunk; small: a kept state in int8 with its scales, where states may be.
    """

    token: int
    state: int
    tail: int
    small: int | None = None

    @classmethod
    def of(
        cls, config: ModelConfig, dtype: torch.dtype = torch.bfloat16, exact: bool = False
    ) -> Costs:
        """As `Cache` allocates them; MTP layers keep latents too."""
        width = config.num_attention_heads * config.head_dim
        scans = len(config.lightning_layers)
        wide = 8 if dtype == torch.float64 else 4
        is_small = dtype == torch.bfloat16 and not exact
        return cls(
            token=len(config.mla_layers) * config.latent_dim * dtype.itemsize,
            state=scans * width * config.head_dim * wide,
            tail=scans * 2 * CHUNK * width * dtype.itemsize,
            small=scans * width * (config.head_dim + 2) if is_small else None,
        )

    @property
    def slot(self) -> int:
        """A live sequence beside its pages."""
        return self.state + self.tail

    @property
    def page(self) -> int:
        """A page of latents."""
        return PAGE * self.token

    @property
    def checkpoint(self) -> int:
        """A kept state: at any token of a chunk alike, so with half a tail."""
        return self.state + self.tail // 2

    @property
    def least(self) -> int:
        """A kept state where room is short, and in the lower tiers."""
        return self.small or self.checkpoint

    def session(self, tokens: int) -> int:
        """A parked session: a checkpoint and the pages before it."""
        return self.least + pages_for(tokens) * self.page
