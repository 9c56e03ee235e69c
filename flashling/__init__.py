"""flashling: a complete, small and fast implementation of Ling-2.6-flash."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .batch import Batch
    from .config import ModelConfig
    from .llm import LLM
    from .model.ling import Ling
    from .model.oracle import generate
    from .sampling import Sampling
    from .text.tokenizer import Tokenizer

__version__ = "0.1.0"
__all__ = ["Batch", "LLM", "Ling", "ModelConfig", "Sampling", "Tokenizer", "generate"]

_HOME = {
    "Batch": "batch",
    "LLM": "llm",
    "Ling": "model.ling",
    "ModelConfig": "config",
    "Sampling": "sampling",
    "Tokenizer": "text.tokenizer",
    "generate": "model.oracle",
}


def __getattr__(name: str) -> Any:
    # loaded at first use, so that importing the package costs nothing
    if name not in _HOME:
        raise AttributeError(f"flashling has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"flashling.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
