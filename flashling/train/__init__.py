"""Training: recipes in, checkpoints and a model under the published names out."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .changes import changed
    from .finish import export
    from .loop import Result, train
    from .optim import Optim
    from .recipe import Recipe
    from .schedule import Schedule
    from .shards import Shards, generate_shards, write_shard

__all__ = [
    "Optim",
    "Recipe",
    "Result",
    "Schedule",
    "Shards",
    "changed",
    "export",
    "generate_shards",
    "recipes",
    "train",
    "write_shard",
]
_HOME = {
    "Optim": "optim",
    "Recipe": "recipe",
    "Result": "loop",
    "Schedule": "schedule",
    "Shards": "shards",
    "changed": "changes",
    "export": "finish",
    "generate_shards": "shards",
    "train": "loop",
    "write_shard": "shards",
}
# modules with a table RECIPES of functions that return a recipe
ROOMS = ("pretrain", "sft", "nano")


def recipes() -> dict[str, Callable[[], Recipe]]:
    """The runs that `flashling train NAME` knows, by name."""
    found: dict[str, Callable[[], Recipe]] = {}
    for room in ROOMS:
        found |= import_module(f".{room}", __name__).RECIPES
    return found


def __getattr__(name: str) -> Any:
    # loaded at first use: a data worker that imports `shards` must not load the model
    if name not in _HOME:
        raise AttributeError(f"flashling.train has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f".{_HOME[name]}", __name__), name)
