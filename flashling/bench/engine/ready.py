"""A model of random weights that is ready to be measured: made, and its kernels compiled."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch

from ... import ops
from ...config import ModelConfig
from ...engine.warm import calls
from ...model.ling import Ling
from .memory import check_weights
from .recipes import random_model, recipe_of


def ready(config: ModelConfig, device: torch.device, name: str) -> tuple[Ling, dict[str, float]]:
    """The model of a recipe, and the seconds that its weights and, on a GPU, its kernels took:
    these are compiled on all cores meanwhile, which a measurement would do one after the other.
    ValueError if the weights do not fit; a kernel that does not compile fails where it is called.
    """
    recipe = recipe_of(name)
    check_weights(config, recipe, name, device)
    took, began = dict[str, float](), time.perf_counter()

    def compile_meanwhile() -> None:
        compiled(random_model(config, torch.device("meta"), recipe))
        took["kernels_s"] = time.perf_counter() - began

    with ThreadPoolExecutor(1) as beside:
        compiling = beside.submit(compile_meanwhile) if device.type == "cuda" else None
        model = random_model(config, device, recipe)
        if compiling is not None:
            torch.cuda.synchronize()
        took["weights_s"] = time.perf_counter() - began
    if compiling is not None:
        compiling.result()
    return model, took


def compiled(shadow: Ling) -> list[Any]:
    """Compile what the engine runs on a GPU for a model like `shadow`, in the mode that is on."""
    # Triton is loaded where it is needed
    from ...ops.warm import compile_kernels

    return compile_kernels(calls(shadow))


def compile_exact(model: Ling) -> None:
    """As `compiled`, in exact mode; nothing off a GPU."""
    if model.head.device.type == "cuda":
        with ops.exactly():
            compiled(model)
