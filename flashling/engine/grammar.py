"""Grammars: what a request's text must look like."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from .grammar_tools import check_tools

Kind = Literal["json_schema", "regex", "lark", "tools"]
MAX_BYTES, MAX_DEPTH = 256 << 10, 128


@dataclass(frozen=True)
class Grammar:
    """What a request's text must look like: `text` in the language `kind`, for tools the JSON of
    the declared tools, mode and parallel. Equal grammars are compiled once. Make it with one of
    the class methods; they raise ValueError saying what is wrong.
    """

    kind: Kind
    text: str

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise ValueError(f"the {self.kind} must be text, not {type(self.text).__name__}")
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError:
            raise ValueError(f"the {self.kind} holds half of a surrogate pair") from None
        if size > MAX_BYTES:
            raise ValueError(f"the {self.kind} has {size} bytes; at most {MAX_BYTES} are read")

    @classmethod
    def json_schema(cls, schema: dict[str, Any] | str) -> Grammar:
        """JSON that is valid under `schema`, an object or its text. Members come in the order of
        the schema's properties.
        """
        if isinstance(schema, str):
            # before it is parsed: what is too large is not worth the time
            cls("json_schema", schema)
            schema = _parsed(schema)
        if not isinstance(schema, dict):
            raise ValueError(f"a JSON schema must be an object, not {type(schema).__name__}")
        return cls("json_schema", _canonical("the JSON schema", schema))

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Text that `pattern` matches as a whole (Rust's syntax, no look-around)."""
        return cls("regex", pattern)

    @classmethod
    def lark(cls, rules: str) -> Grammar:
        """Text of the rule `start` (llguidance's variant of Lark)."""
        return cls("lark", rules)

    @classmethod
    def tools(
        cls, tools: Sequence[dict[str, Any]], mode: str = "auto", *, parallel: bool = True
    ) -> Grammar:
        """Calls of declared tools (as in OpenAI's requests) with valid arguments, in Ling's form.

        mode: "auto" lets text through and holds calls to their schemas; "required" is one call or
        more and nothing else; a tool's name is one call of it. parallel: more calls may follow the
        first.
        """
        check_tools(tools, mode)
        whole = {"tools": list(tools), "mode": mode, "parallel": parallel}
        return cls("tools", _canonical("the tools", whole))


def _canonical(name: str, value: Any) -> str:
    """JSON text in the order of members that was given: it is the order of the answer's."""
    level, depth = [value], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"{name}: nested deeper than {MAX_DEPTH} levels; flatten it")
        inner = [v.values() if isinstance(v, dict) else v for v in level]
        level = [x for v in inner for x in v if isinstance(x, (dict, list, tuple))]
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name}: not JSON: {error}") from None


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the JSON schema is not JSON: {error}") from None
