"""Which sequences run how many tokens now: arithmetic, no tensors."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Items

from .. import ops
from .request import Sequence

Plan = list[tuple[Sequence, int]]


def plan(running: Iterable[Sequence], budget: int) -> Plan:
    """Rows of each sequence in the next step, at most `budget` in all.

    Those that await a draw come first, so that long prompts never stop them; what is left goes to
    prompts in the order of their priority and arrival. A chunk ends where a checkpoint is to be
    kept.
    """
    found: Plan = []
    ranked = sorted(running, key=lambda s: (-s.request.priority, s.order))
    for s in ranked:
        if s.left == 1 and budget > 0:
            rows = min(1 + len(s.drafts), budget)
            found.append((s, rows))
            budget -= rows
    for s in ranked:
        if s.left > 1 and budget > 0:
            end = next((p for p in s.stops if p > s.done), len(s.tokens))
            rows = min(budget, end - s.done)
            found.append((s, rows))
            budget -= rows
    return found


def room_for_drafts(s: Sequence) -> int:
    """How many drafts may follow the sequence's last token: all in its chunk (a fold cannot be
    undone), and none that could not be drawn.
    """
    in_chunk = ops.CHUNK - 1 - (len(s.tokens) - 1) % ops.CHUNK
    return max(0, min(in_chunk, s.most - len(s.tokens) - 1))


def propose(tokens: Items[int], most: int, longest: int = 3) -> list[int]:
    """Prompt lookup: what followed the latest earlier place that ends like `tokens`, at most so
    many tokens; the longest ending of up to `longest` tokens counts (github.com/apoorvumang/
    prompt-lookup-decoding).
    """
    if most <= 0:
        return []
    text = list(tokens)
    for size in range(min(longest, len(text) - 1), 0, -1):
        end = text[-size:]
        for at in range(len(text) - size - 1, -1, -1):
            if text[at : at + size] == end:
                return text[at + size : at + size + most]
    return []
