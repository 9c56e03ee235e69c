"""Reading the JSON of a tool call while it is still being written."""

from __future__ import annotations

import json
from enum import Enum
from typing import Any


class _At(Enum):
    START = "before the object"
    KEY = "between the members"
    COLON = "after a key"
    VALUE = "before or inside a value"
    DONE = "after the object"


class CallScan:
    """A state machine over the characters of `{"name": ..., "arguments": {...}}`.

    After each `push`, `name` is the function's name once it is known, and `take()` gives what is
    new of the arguments' text. Members may come in any order. Each character is looked at once.
    `result()` judges the whole.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self._at = _At.START
        self._depth = 0
        self._in_string = self._is_escaped = False
        self._key = ""
        # text of the member being read; of the arguments what was not taken yet, and all of it
        self._member: list[str] = []
        self._new: list[str] = []
        self._arguments: list[str] = []
        self._raw: list[str] = []

    @property
    def raw(self) -> str:
        """All that was pushed."""
        return "".join(self._raw)

    def push(self, text: str) -> None:
        """Read on."""
        self._raw.append(text)
        for c in text:
            self._step(c)

    def take(self) -> str:
        """The text of the arguments that came since the last call; none before the name."""
        if self.name is None:
            return ""
        text = "".join(self._new)
        self._arguments += self._new
        self._new.clear()
        return text

    def result(self) -> dict[str, Any] | None:
        """The arguments, or None where the text is no call: no JSON object with a name, or
        arguments that are no object. A call without arguments has empty ones.
        """
        given = "".join([*self._arguments, *self._new])
        try:
            whole = _loads(self.raw)
            arguments = _loads(given) if given else {}
            if not (isinstance(whole, dict) and isinstance(arguments, dict)):
                return None
            # a member given twice may read otherwise than it was streamed
            agrees = self.name == whole.get("name") and arguments == whole.get("arguments", {})
        except (ValueError, RecursionError):
            return None
        return arguments if agrees and self.name is not None else None

    def _step(self, c: str) -> None:
        if self._at is _At.VALUE:
            self._value(c)
        elif self._in_string:
            self._string(c)
            if self._in_string:
                self._member.append(c)
            else:
                self._key, self._at = "".join(self._member), _At.COLON
                self._member.clear()
        elif self._at is _At.START and c == "{":
            self._at = _At.KEY
        elif self._at is _At.KEY and c == '"':
            self._in_string = True
        elif self._at is _At.KEY and c == "}":
            self._at = _At.DONE
        elif self._at is _At.COLON and c == ":":
            self._at = _At.VALUE

    def _string(self, c: str) -> None:
        if self._is_escaped:
            self._is_escaped = False
        elif c == "\\":
            self._is_escaped = True
        elif c == '"':
            self._in_string = False

    def _value(self, c: str) -> None:
        if self._in_string:
            self._string(c)
        elif c == '"':
            self._in_string = True
        elif c in "{[":
            self._depth += 1
        elif c in ",}]" and not self._depth:
            self._at = _At.KEY if c == "," else _At.DONE
            self._end_member()
            return
        elif c in "}]":
            self._depth -= 1
        if self._key == "arguments":
            self._argument(c)
        elif self._key == "name":
            self._member.append(c)

    def _argument(self, c: str) -> None:
        # white space around the value is not part of it; inside it waits for what follows
        is_space = c in " \t\r\n" and not self._in_string
        if is_space:
            if self._new or self._arguments:
                self._member.append(c)
            return
        self._new += [*self._member, c]
        self._member.clear()

    def _end_member(self) -> None:
        if self._key == "name" and self.name is None:
            try:
                name = _loads("".join(self._member))
            except (ValueError, RecursionError):
                name = None
            self.name = name if isinstance(name, str) else None
        self._member.clear()


def _loads(text: str) -> Any:
    """Strict JSON whose strings are real text. ValueError otherwise."""
    value = json.loads(text, parse_constant=_refuse)
    if "\\u" in text:
        # half of a surrogate pair is JSON, but no text
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
