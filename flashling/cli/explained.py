"""What is said about a command beside it: flags, what is missing, what it destroys."""

from __future__ import annotations

from ..agent.explain import danger, explain, missing


def lines(command: str) -> list[str]:
    """Lines to show below a command; a destructive one is marked first."""
    told = []
    why = danger(command)
    if why:
        told.append(f"! CAREFUL: {why}")
    told += [f"! not installed here: {name}" for name in missing(command)]
    parts = explain(command)
    width = max((len(p.text) for p in parts), default=0)
    return told + [f"{p.text.ljust(min(width, 24))}  {p.meaning}" for p in parts]
