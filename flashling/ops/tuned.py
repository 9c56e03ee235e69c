"""Tiles that were measured to be quicker on a device than the kernels' own choice.

`python3 -m benchmarks.tune` writes them beside this file, one for a name of a device: op -> weight
-> most rows -> what the tile is made of.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from .device import current, slug

FOLDER = Path(__file__).with_name("tuned")
T = TypeVar("T")


def tuned(op: str, weight: str, rows: int, tile: Callable[..., T]) -> T | None:
    """The tile of an op for a weight and so many rows; None where none is kept for this device."""
    buckets = table(current().name).get(op, {}).get(weight, {})
    fits = [int(most) for most in buckets if rows <= int(most)]
    return tile(**buckets[str(min(fits))]) if fits else None


@cache
def table(name: str) -> dict[str, Any]:
    """All that is kept for the device of that name; nothing for one that is not known."""
    path = FOLDER / f"{slug(name)}.json"
    return json.loads(path.read_text("utf-8")) if path.exists() else {}
