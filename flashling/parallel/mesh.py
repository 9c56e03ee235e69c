"""The processes of a run, and the sums they make together."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import get_node_local_rank


@dataclass(frozen=True)
class World:
    """This process's place among `size`; `mesh` is None when it is alone."""

    rank: int = 0
    size: int = 1
    device: torch.device = torch.device("cpu")
    mesh: DeviceMesh | None = None

    def total(self, x: Tensor) -> Tensor:
        """x summed over all processes, in place."""
        if self.mesh is not None:
            dist.all_reduce(x)
        return x

    def any(self, flag: bool) -> bool:
        """Whether `flag` holds in any process; a meeting point of all of them."""
        if self.mesh is None:
            return flag
        return bool(self.total(torch.tensor(int(flag), device=self.device)))

    def mean(self, x: float) -> float:
        """x averaged over all processes; a meeting point of all of them."""
        if self.mesh is None:
            return x
        return (
            float(self.total(torch.tensor(x, dtype=torch.float64, device=self.device))) / self.size
        )

    def wait(self) -> None:
        """Until every process is here."""
        self.any(False)


def join(device: str | None = None) -> World:
    """Enter the group that `torchrun` started, or be alone where there is none.

    device: "cuda" or "cpu"; None takes the accelerator where there is one. Each process takes the
    GPU of its local rank.
    """
    kind = device or ("cuda" if torch.cuda.is_available() else "cpu")
    if not dist.is_initialized() and not dist.is_torchelastic_launched():
        return World(device=torch.device(kind))
    if not dist.is_initialized():
        dist.init_process_group("nccl" if kind == "cuda" else "gloo")
    place = torch.device(kind)
    if kind == "cuda":
        place = torch.device("cuda", get_node_local_rank(fallback_rank=dist.get_rank()))
        torch.cuda.set_device(place)
    mesh = init_device_mesh(kind, (dist.get_world_size(),), mesh_dim_names=("dp",))
    return World(dist.get_rank(), dist.get_world_size(), place, mesh)


def leave(world: World) -> None:
    """Leave the group that `join` entered."""
    if world.mesh is not None and dist.is_initialized():
        dist.destroy_process_group()
