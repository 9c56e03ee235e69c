"""Names that no list holds: words of the tldr pages, cut, joined and spelt at random.

A model that has seen only listed names copies only those.
"""

from __future__ import annotations

import random
import re
from functools import cache

from .tldr import Index

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@cache
def words() -> tuple[str, ...]:
    """Lower-case English words of the pages' sentences, sorted."""
    found = {w for e in Index.load().entries for w in re.findall(r"[A-Za-z]{3,12}", e.ask)}
    return tuple(sorted({w.lower() for w in found}))


@cache
def pairs() -> tuple[str, ...]:
    """Neighbouring Chinese characters of the pages' sentences, sorted."""
    runs = [r for e in Index.load().entries for r in re.findall(r"[\u4e00-\u9fff]{2,}", e.ask)]
    return tuple(sorted({r[i : i + 2] for r in runs for i in range(len(r) - 1)}))


def latin(rng: random.Random) -> str:
    """A name of letters and digits."""
    word, chance = rng.choice(words()), rng.random()
    if chance < 0.4:
        return word
    if chance < 0.55:
        return word.capitalize() if rng.random() < 0.6 else word.upper()
    if chance < 0.75:
        other = rng.choice(words())
        return rng.choice((f"{word}_{other}", f"{word}-{other}", word + other.capitalize()))
    if chance < 0.87:
        return f"{word}{rng.choice(('', '_', '-'))}{rng.randint(0, 9999)}"
    spelt = "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 7)))
    return spelt if rng.random() < 0.6 else f"{spelt}{rng.randint(0, 99)}"


def chinese(rng: random.Random) -> str:
    """A name of two to six Chinese characters."""
    return "".join(rng.choice(pairs()) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))
