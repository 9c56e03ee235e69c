"""One answer in OpenAI's form: the deltas of a stream, and the message that they add up to."""

from __future__ import annotations

import secrets
from typing import Any

from ..engine.request import Event as Drawn
from ..llm import Answer, CallArgs, CallEnd, CallStart, Event, Reasoning, Text
from ..text.tokenizer import Tokenizer

Delta = dict[str, Any]


class Choice:
    """An answer as it grows. Calls count from 0, whatever was malformed between them."""

    def __init__(self) -> None:
        self.content: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[dict[str, Any]] = []
        self.logprobs: list[dict[str, Any]] = []
        self.finish = ""
        self._places: dict[int, int] = {}
        self._is_broken, self._nameless = False, ""

    def take(self, events: list[Event]) -> list[Delta]:
        """The deltas of what a token tells."""
        return [delta for e in events for delta in self._deltas(e)]

    def _deltas(self, e: Event) -> list[Delta]:
        if isinstance(e, Text) and e.text:
            self.content.append(e.text)
            return [{"content": e.text}]
        if isinstance(e, Reasoning) and e.text:
            self.reasoning.append(e.text)
            return [{"reasoning_content": e.text}]
        if isinstance(e, CallStart):
            self._places[e.index] = place = len(self.calls)
            call = {"id": f"call_{secrets.token_hex(12)}", "type": "function"}
            self.calls.append({**call, "function": {"name": e.name, "arguments": ""}})
            function = {"name": e.name, "arguments": ""}
            return [{"tool_calls": [{"index": place, **call, "function": function}]}]
        if isinstance(e, CallArgs):
            place = self._places[e.index]
            self.calls[place]["function"]["arguments"] += e.text
            return [{"tool_calls": [{"index": place, "function": {"arguments": e.text}}]}]
        if isinstance(e, CallEnd) and e.arguments is None:
            self._is_broken = True
            if e.index not in self._places:
                self._nameless = e.raw
        if isinstance(e, Answer):
            is_called = self.calls and e.finish == "stop" and not self._is_broken
            self.finish = "tool_calls" if is_called else e.finish
            # what never became a call is what was said, unless it was only cut off
            if e.finish == "stop" and self._nameless:
                self.content.append(self._nameless)
                return [{"content": self._nameless}]
        return []

    def message(self) -> dict[str, Any]:
        """The whole answer."""
        text = "".join(self.content)
        told: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if not self.calls:
            told["content"] = text
        if self.reasoning:
            told["reasoning_content"] = "".join(self.reasoning)
        if self.calls:
            told["tool_calls"] = self.calls
        return told


def logprob(drawn: Drawn, tokenizer: Tokenizer) -> dict[str, Any]:
    """A token with its log-probability and the likeliest in its place."""
    assert drawn.token is not None
    top = [_entry(token, value, tokenizer) for token, value in drawn.top]
    return {**_entry(drawn.token, drawn.logprob, tokenizer), "top_logprobs": top}


def _entry(token: int, value: float, tokenizer: Tokenizer) -> dict[str, Any]:
    spelt = tokenizer.bytes_of(token)
    # JSON has no infinity
    told = {"token": spelt.decode("utf-8", "replace"), "logprob": max(value, -9999.0)}
    return {**told, "bytes": list(spelt)}
