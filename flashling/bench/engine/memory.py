"""What recipes take of a device's memory, from the config alone."""

from __future__ import annotations

import gc
import os
from typing import Any

import torch

from ...config import ModelConfig
from ...engine.cache import PAGE
from ...engine.costs import Costs
from ...engine.request import pages_for
from .recipes import Recipe, weight_bytes

DEVICES, GB = (80, 96, 128, 141), 10**9
# of a device's memory; the rest is the driver's, the activations' and the allocator's
USABLE = 0.92
# sequences that are counted have so many tokens
USUAL = 4096


def table(config: ModelConfig, recipe: Recipe) -> dict[str, Any]:
    """Bytes of weights, of a live slot and of a token's latents; for each size of device in GB the
    longest context of one sequence and the sequences of 4,096 tokens at once, or what is missing.
    """
    costs = Costs.of(config.with_(num_nextn_predict_layers=0))
    weights = weight_bytes(config, recipe)
    fits: dict[str, Any] = {}
    for device in DEVICES:
        left = int(device * GB * USABLE) - weights
        longest = (left - costs.slot) // costs.page * PAGE
        if longest < PAGE:
            fits[str(device)] = {"missing": costs.slot + costs.page - left}
        else:
            together = left // (costs.slot + pages_for(USUAL) * costs.page)
            fits[str(device)] = {"longest": longest, "together": together}
    return {"weights": weights, "slot": costs.slot, "token": costs.token, "fits": fits}


def free_bytes(device: torch.device) -> int:
    """Bytes that can be allocated there now."""
    if device.type == "cuda":
        # graphs and pasts of the cell before
        gc.collect()
        torch.cuda.empty_cache()
        return torch.cuda.mem_get_info(device)[0]
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def check_weights(config: ModelConfig, recipe: Recipe, name: str, device: torch.device) -> None:
    """ValueError with the bytes missing if the weights do not fit there."""
    need, free = weight_bytes(config, recipe), free_bytes(device)
    if need > free:
        raise ValueError(
            f"recipe {name} takes {need / GB:,.1f} GB of weights, {(need - free) / GB:,.1f} GB more"
            f" than the {free / GB:,.1f} GB that are free; choose a recipe of fewer bits"
        )
