"""LLM: messages in, text out. One face for the command line, the server and the evaluations."""

from ..text.toolcalls import CallArgs, CallEnd, CallStart, Reasoning, Text
from .answer import Alternative, Answer, Event, Message, Usage
from .guides import Schema, Tools
from .llm import GREEDY, LLM
from .prompts import Template

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
