"""Several processes: joining them, and sharding a model over them for training."""

from .fsdp import is_sharded, local, part, shard, whole
from .mesh import World, join, leave

__all__ = ["World", "is_sharded", "join", "leave", "local", "part", "shard", "whole"]
