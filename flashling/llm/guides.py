"""What holds an answer to declared tools or to a schema."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from ..text.tokenizer import Tokenizer

if TYPE_CHECKING:
    from ..engine.compiler import Compiler
    from ..model.oracle import Guide

Tools = Sequence[dict[str, Any]] | None
Schema = dict[str, Any] | str | None


class Guides:
    """Makes guides for one model; its compiler comes with the first grammar."""

    def __init__(self, tokenizer: Tokenizer, vocab: int) -> None:
        self._tokenizer, self._vocab = tokenizer, vocab
        self._compiler: Compiler | None = None

    def of(self, tools: Tools, schema: Schema) -> Callable[[], Guide] | None:
        """What makes the guide of an answer: for calls to the declared tools where llguidance is
        installed, or for a JSON text under `schema`. ValueError says what is wrong with either.
        """
        is_able = find_spec("llguidance") is not None
        if schema is None and not (tools and is_able):
            return None
        if not is_able:
            raise ValueError("a schema needs llguidance: pip install 'flashling[serve]'")
        if schema is not None and tools:
            raise ValueError("an answer is held to tools or to a schema; give one of them")
        from ..engine.compiler import Compiler
        from ..engine.grammar import Grammar

        if self._compiler is None:
            self._compiler = Compiler(self._tokenizer, self._vocab)
        grammar = Grammar.tools(tools or ()) if schema is None else Grammar.json_schema(schema)
        return self._compiler.compile(grammar).start
