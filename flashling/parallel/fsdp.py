"""FSDP2 for a model of blocks, and the way between a whole tensor and this process's part."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from .mesh import World

M = TypeVar("M", bound=nn.Module)


def shard(model: M, world: World) -> M:
    """Shard every block of `model.layers` and `model.mtp`, then the rest, over all processes.

    Gradients are averaged in float32. Routers stay whole on every process: they are small, kept
    in float32 beside a narrower model, and FSDP wants one dtype per block; whoever steps them
    averages their gradients. A process that is alone gets the model back as it is.
    """
    if world.mesh is None:
        return model
    routers = {p for n, p in model.named_parameters() if n.rsplit(".", 1)[-1] == "router"}
    dtype = next(p.dtype for p in model.parameters() if p not in routers)
    policy = MixedPrecisionPolicy(
        reduce_dtype=torch.float32 if dtype.itemsize < 4 else None, cast_forward_inputs=False
    )
    for name in ("layers", "mtp"):
        for block in getattr(model, name, ()):
            fully_shard(block, mesh=world.mesh, mp_policy=policy, ignored_params=routers)
    fully_shard(model, mesh=world.mesh, mp_policy=policy, ignored_params=routers)
    return model


def is_sharded(x: Tensor) -> bool:
    """Whether x is split over processes."""
    return isinstance(x, DTensor)


def local(x: Tensor) -> Tensor:
    """This process's part of x, sharing its memory; x itself when it is not split."""
    return x.to_local() if isinstance(x, DTensor) else x


def whole(like: Tensor, mine: Tensor) -> Tensor:
    """The full tensor whose part `mine` is laid out as the parameter `like`; all must call it."""
    if not isinstance(like, DTensor):
        return mine
    full = DTensor.from_local(
        mine, like.device_mesh, like.placements, shape=like.shape, stride=like.stride()
    )
    return full.full_tensor()


def part(like: Tensor, full: Tensor) -> Tensor:
    """This process's part of `full`, laid out as the parameter `like`."""
    if not isinstance(like, DTensor):
        return full
    full = full.to(like.device_mesh.device_type)
    # every process holds the same full tensor, so none needs to send it
    return distribute_tensor(full, like.device_mesh, like.placements, src_data_rank=None).to_local()
