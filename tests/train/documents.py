"""Documents for the tests, apart from them: data workers import this and nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from flashling.train.shards import Document


def made(seed: int) -> Iterator[Document]:
    """Endless random documents of up to 29 tokens below 200."""
    draw = np.random.default_rng(seed)
    while True:
        size = int(draw.integers(1, 30))
        yield draw.integers(0, 200, size).tolist(), (draw.random(size) < 0.5).tolist()


def broken(seed: int) -> Iterator[Document]:
    """One document, then an error."""
    yield [1, 2], [True, True]
    raise KeyError("no such verb")


def some(count: int, seed: int = 0) -> list[Document]:
    """The first documents of `made`."""
    documents = made(seed)
    return [next(documents) for _ in range(count)]
