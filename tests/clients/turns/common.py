"""What every turn needs: where the server is, a tool that tells that it ran, and the last line."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version

URL, KEY = sys.argv[1:3]
ASK = "what is 3 plus 4?"
SCHEMA = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
        },
    },
}
ran: list[int] = []


def plus(a: int, b: int) -> int:
    """The sum, noted: a tool that really ran."""
    assert type(a) is int and type(b) is int
    ran.append(a + b)
    return a + b


def tell(package: str, given: int, said: int) -> None:
    """The client's version, the calls that ran, and its own counts of tokens."""
    told = {"version": version(package), "calls": len(ran), "input": given, "output": said}
    print(json.dumps(told))
