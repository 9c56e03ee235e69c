"""Composed requests, by command: a weight and a maker of (form, phrase, command, values said)."""

from __future__ import annotations

from collections.abc import Callable

from .edits import lines, sed
from .finds import Made, find
from .moves import moves
from .records import records
from .texts import columns, grep
from .values import Values

COMPOSERS: dict[str, tuple[float, Callable[[Values, str], Made]]] = {
    "find": (4, find),
    "moves": (4, moves),
    "grep": (3, grep),
    "sed": (1.5, sed),
    "columns": (2, columns),
    "lines": (1, lines),
    "records": (5, records),
}
