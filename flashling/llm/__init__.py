"""LLM: messages in, text out. One face for the command line, the server and the evaluations."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..text.toolcalls import CallArgs, CallEnd, CallStart, Reasoning, Text
from .answer import Alternative, Answer, Event, Message, Usage
from .guides import Schema, Tools
from .prompts import Template

if TYPE_CHECKING:
    from .llm import GREEDY, LLM

__all__ = [
    "GREEDY",
    "LLM",
    "Alternative",
    "Answer",
    "CallArgs",
    "CallEnd",
    "CallStart",
    "Event",
    "Message",
    "Reasoning",
    "Schema",
    "Template",
    "Text",
    "Tools",
    "Usage",
]


def __getattr__(name: str) -> Any:
    # the model's own side needs torch, which a server's process does without
    if name not in ("GREEDY", "LLM"):
        raise AttributeError(f"flashling.llm has no {name!r}; it has {', '.join(__all__)}")
    return getattr(import_module(f"{__name__}.llm"), name)
