"""Which sequences run how many tokens now: arithmetic, no tensors."""

from __future__ import annotations

from collections.abc import Iterable

from .request import Sequence

Plan = list[tuple[Sequence, int]]
# the part of a step that prompts get beside those who draw, whose tokens wait for all of it
BESIDE = 8


def plan(running: Iterable[Sequence], budget: int) -> Plan:
    """Rows of each sequence in the next step, at most `budget` in all.

    Those that await a draw come first, so that long prompts never stop them, and where there are
    any, prompts get an eighth of the budget; else all of it, in the order of their priority and
    arrival. A chunk ends where a checkpoint is to be kept.
    """
    found: Plan = []
    most = max(1, budget // BESIDE)
    ranked = sorted(running, key=lambda s: (-s.request.priority, s.order))
    for s in ranked:
        if s.left == 1 and budget > 0:
            rows = min(1 + len(s.drafts), budget)
            found.append((s, rows))
            budget -= rows
    if found:
        budget = min(budget, most)
    for s in ranked:
        if s.left > 1 and budget > 0:
            end = next((p for p in s.stops if p > s.done), len(s.tokens))
            rows = min(budget, end - s.done)
            found.append((s, rows))
            budget -= rows
    return found
