"""Expert balancing without an auxiliary loss: a bias that takes part in selection only."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .. import parallel
from ..model.moe import Moe


class Balance:
    """The MoE layers of a model (MTP included), whose loads are counted since the last update."""

    def __init__(self, model: nn.Module, world: parallel.World | None = None) -> None:
        self.world = world or parallel.World()
        self.layers = [m for m in model.modules() if isinstance(m, Moe)]

    @torch.no_grad()
    def update(self, rate: float, ok: Tensor) -> Tensor:
        """Move every bias by `rate` towards an even load, times `ok` (0.0 for a skipped step).

        Loads [E] are summed over processes and zeroed. Returns the largest load over the mean
        [layers], float32 on the device: 1 is even; layers without a token (an MTP layer that is
        not trained) stay as they are and count 1.
        """
        if not self.layers:
            return ok.new_ones(1)
        loads = self.world.total(torch.stack([m.load for m in self.layers])).float()
        mean = loads.mean(-1, keepdim=True)
        for layer, move in zip(self.layers, (mean - loads).sign() * (rate * ok), strict=True):
            layer.bias += move
            layer.load.zero_()
        return torch.where(mean[:, 0] > 0, loads.amax(-1) / mean[:, 0].clamp(min=1e-9), 1.0)
