"""A finished run as a model under the published names."""

from __future__ import annotations

from pathlib import Path

import torch

from ..model.ling import Ling
from . import checkpoint
from .merge import average, merge_weights
from .recipe import Recipe


def merged(recipe: Recipe) -> Ling:
    """The run's last `merge` evenly spaced weights, averaged, as a float32 model on the CPU.

    ValueError when the run has saved nothing.
    """
    every = checkpoint.found(recipe.folder)
    if not every:
        raise ValueError(f"{recipe.folder} holds no checkpoint; train {recipe.name!r} first")
    spaced = [f for f in every if checkpoint.step_of(f) % recipe.spacing == 0]
    # one alone is the end of the run, wherever that fell
    folders = spaced[-recipe.merge :] if recipe.merge > 1 and spaced else every[-1:]
    model = Ling(recipe.model)
    model.load_state_dict(average(folders, merge_weights(len(folders), recipe.merge_as)))
    return model


def export(
    recipe: Recipe,
    folder: str | Path | None = None,
    dtype: torch.dtype = torch.bfloat16,
    shard_bytes: int = 4 << 30,
) -> Path:
    """Write the run's final model (see `merged`) to `folder`, by default `model` in the run's own,
    with its config; routers and expert biases stay float32. Returns the folder.
    """
    from ..model import weights

    target = Path(folder or recipe.folder / "model")
    weights.save(
        merged(recipe), target, dtype=dtype, wide=("router", "bias"), shard_bytes=shard_bytes
    )
    return target
