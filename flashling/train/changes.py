"""Fields of a recipe changed by words such as `steps=100` or `optim.lr=1e-3`."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import fields, is_dataclass, replace
from typing import Any, cast


def changed(value: Any, changes: Sequence[str]) -> Any:
    """A dataclass with the fields of `name=value` texts changed, `a.b=value` inside a.

    ValueError for an unknown field, with those that there are.
    """
    for text in changes:
        name, sign, given = text.partition("=")
        if not sign:
            raise ValueError(f"{text!r} is no change; write name=value")
        value = _set(value, name.split("."), _parsed(given), name)
    return value


def _set(value: Any, path: list[str], new: Any, name: str) -> Any:
    known = [f.name for f in fields(value)] if is_dataclass(value) else []
    first, *rest = path
    if first not in known:
        raise ValueError(f"there is no {name!r} to change; there are: {', '.join(known) or 'none'}")
    inner = _set(getattr(value, first), rest, new, name) if rest else new
    return replace(cast(Any, value), **{first: inner})


def _parsed(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        # a bare word is a name or a path
        return {"true": True, "false": False, "none": None}.get(text.lower(), text)
