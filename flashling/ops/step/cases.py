"""Shapes of a step's counts."""

import torch

from ..cases import Case, Maker
from . import advance, lay, places


def _places(m: Maker, count: int, rows: int, first: int):
    slots = torch.arange(count, device=m.device).flip(0)
    return m.integers(999, count, 20).int(), slots, m.integers(1000, count), rows, 64, first


def _lay(m: Maker, rows: int, width: int):
    # each row has a place of its own
    at = torch.arange(rows, device=m.device)
    return m(rows // 4 + 1, 4, width), at // 4, at % 4, m(rows, width)


def _advance(m: Maker, count: int, rows: int):
    slots, lengths = torch.arange(count, device=m.device), m.integers(5000, count)
    drawn = m.integers(99, count, rows), m(count, rows).float(), m.integers(2, count, rows).bool()
    drafted = m.integers(rows, count), m.integers(99, count, rows - 1)
    counts = slots, lengths, m.integers(65, count)
    more = drafted if rows > 1 else None
    return m.integers(99, rows, count).T, counts, drawn, count - 1, 64, more


cases = [
    Case(places, "1x1", lambda m: _places(m, 1, 1, 0)),
    Case(places, "70x3", lambda m: _places(m, 70, 3, 0)),
    Case(places, "behind_first", lambda m: _places(m, 5, 2, 1)),
    *(Case(lay, f"{n}", lambda m, n=n: _lay(m, n, 72)) for n in (1, 9)),
    *(Case(advance, f"{n}x{r}", lambda m, a=(n, r): _advance(m, *a)) for n, r in ((1, 1), (9, 4))),
    *(Case(lay, f"full_{n}", lambda m, n=n: _lay(m, n, 576), "full") for n in (1, 64, 8192)),
    *(Case(advance, f"full_{n}", lambda m, n=n: _advance(m, n, 1), "full") for n in (1, 256)),
]
