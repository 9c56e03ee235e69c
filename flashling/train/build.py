"""A recipe made into parts, and those parts into checkpoints and back."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from .. import parallel
from ..model.ling import Ling
from . import checkpoint
from .balance import Balance
from .data import Loader
from .log import Log
from .meter import Meter
from .optim import Optimizer
from .recipe import Recipe


@dataclass
class Run:
    """The parts of a run, and how far it is."""

    recipe: Recipe
    world: parallel.World
    model: Ling
    optimizer: Optimizer
    balance: Balance
    loader: Loader
    meter: Meter
    log: Log
    step: int = 0
    seconds: float = 0.0
    loader_state: dict[str, Any] = field(default_factory=dict)

    def done(self) -> float:
        """The share of the run that is done, by steps where they are given, else by the clock."""
        if self.recipe.steps is not None:
            return self.step / self.recipe.steps
        return min(1.0, self.seconds / (self.recipe.seconds or 1.0))


def build(recipe: Recipe, world: parallel.World, *, quiet: bool = False) -> Run:
    """Model, optimiser, loader and log of a recipe on this process, at step 0."""
    model, values = _model(recipe, world)
    has_mtp = recipe.mtp_weight > 0 and recipe.model.num_nextn_predict_layers > 0
    optimizer = Optimizer(model, recipe.optim, world, values)
    loader = Loader(recipe.data(), recipe.tokens, rank=world.rank, world=world.size)
    log = Log(recipe.folder, tensorboard=recipe.tensorboard, quiet=quiet, writes=world.rank == 0)
    meter = Meter(recipe.model, world.device, has_mtp)
    run = Run(recipe, world, model, optimizer, Balance(model, world), loader, meter, log)
    run.loader_state = loader.state_dict()
    return run


def _model(recipe: Recipe, world: parallel.World) -> tuple[Ling, dict[str, Tensor]]:
    """The working model, cast, placed and sharded, and its float32 values before the cast."""
    model = Ling(recipe.model)
    if recipe.start is None:
        model.init_weights(recipe.seed)
    else:
        _start(model, Path(recipe.start))
    usual = "bfloat16" if world.device.type == "cuda" else "float32"
    dtype = getattr(torch, recipe.dtype or usual)
    if dtype == torch.float64:
        model.double()
    values = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.cast(dtype).to(world.device).train()
    for block in [*model.layers, *model.mtp]:
        if recipe.recompute:
            # the method, not a wrapper module: names and checkpoints stay the same
            block.forward = partial(recomputed, block.forward, use_reentrant=False)
        if recipe.compile:
            block.compile(backend=recipe.compile)
    return parallel.shard(model, world) if recipe.shard else model, values


def _start(model: Ling, folder: Path) -> None:
    """Fill a model from a run's checkpoint or from a model's folder under the published names."""
    if (folder / checkpoint.WEIGHTS).is_file() or not (folder / "config.json").is_file():
        model.load_state_dict(checkpoint.load_weights(folder))
        return
    from ..model import weights

    weights.load(model, folder)


def biases(model: nn.Module) -> dict[str, Tensor]:
    """The buffers that a checkpoint keeps: expert biases, on the CPU."""
    kept = model.state_dict().keys()
    return {n: b.detach().cpu().clone() for n, b in model.named_buffers() if n in kept}


def save_run(run: Run, *, full: bool) -> None:
    """Write a checkpoint (with `full`) or a snapshot, and drop those that are out of date."""
    weights = run.optimizer.masters() | biases(run.model)
    state = run.optimizer.state_dict() if full else None
    if run.world.rank == 0:
        r = run.recipe
        more = None
        if full:
            more = {
                "optimizer": state,
                "loader": run.loader_state,
                "rng": checkpoint.rng_state(),
                "step": run.step,
                "seconds": run.seconds,
                "tokens": run.meter.total_tokens,
            }
        checkpoint.save(r.folder, run.step, weights, more)
        # one more than are merged: the last may lie off the even spacing
        checkpoint.prune(r.folder, r.keep, r.merge + 1)
    run.world.wait()


def restore(run: Run, folder: Path) -> None:
    """Take up the checkpoint in `folder`, exactly."""
    weights, state = checkpoint.load_weights(folder), checkpoint.load_state(folder)
    run.optimizer.load_masters(weights)
    run.optimizer.load_state_dict(state["optimizer"])
    with torch.no_grad():
        for name, buffer in run.model.named_buffers():
            if name in weights:
                buffer.copy_(weights[name])
    run.loader.load_state_dict(state["loader"])
    run.loader_state = state["loader"]
    checkpoint.set_rng_state(state["rng"])
    run.step, run.seconds = state["step"], state["seconds"]
    run.meter.total_tokens = state["tokens"]
