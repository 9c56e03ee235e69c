"""What the assistant says, taken apart while it streams: text, reasoning and tool calls."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from .scan import CallScan
from .stream import Stream
from .tokenizer import Tokenizer

CALL, CALL_END, THINK, THINK_END = "<tool_call>", "</tool_call>", "<think>", "</think>"
ENDS = ("<|role_end|>", "<|endoftext|>")
# marks as they are spelt where the tokenizer has no token for them, by the state that looks for
# them: JSON holds no bare line break, so the end of a call cannot stand in its strings
SPELT = {
    "text": {CALL: CALL + "\n", THINK: THINK},
    "think": {CALL: CALL + "\n", THINK_END: THINK_END},
    "call": {CALL_END: "\n" + CALL_END},
    "over": {},
}
# line breaks that the format puts after a mark
AFTER = {THINK: 1, THINK_END: 2}


@dataclass(frozen=True)
class Text:
    """A stretch of what is said."""

    text: str


@dataclass(frozen=True)
class Reasoning:
    """A stretch of the thinking before it."""

    text: str


@dataclass(frozen=True)
class CallStart:
    """A call to the function `name` has begun; calls of a message count from 0."""

    index: int
    name: str


@dataclass(frozen=True)
class CallArgs:
    """A stretch of a call's arguments: JSON text, which joined is that of its `CallEnd`."""

    index: int
    text: str


@dataclass(frozen=True)
class CallEnd:
    """A call is over. arguments: None where it is malformed or cut off, and `raw` then holds all
    that was written of it. Without a name there was no `CallStart`.
    """

    index: int
    name: str | None
    arguments: dict[str, Any] | None
    raw: str
    is_finished: bool = True


Event = Text | Reasoning | CallStart | CallArgs | CallEnd


@dataclass
class Message:
    """A whole answer. calls: in the form of OpenAI's messages, the arguments as the JSON text that
    was written; broken: the raw text of calls that were malformed or cut off.
    """

    content: str = ""
    reasoning: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)


class Parser:
    """A state machine over the tokens of one assistant message.

    Only the special tokens are marks: "<tool_call>" spelt in ordinary tokens is text, so no echo
    of a user's words is ever a call. A mark for which the tokenizer has no token is found by its
    text. A call begins inside open reasoning as well; then the reasoning is over.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._stream = Stream(tokenizer)
        named = (CALL, CALL_END, THINK, THINK_END, *ENDS)
        self._marks = {tokenizer.id(m): m for m in named if tokenizer.has(m)}
        tokens = set(self._marks.values())
        self._spelt = {
            state: {form: m for m, form in forms.items() if m not in tokens}
            for state, forms in SPELT.items()
        }
        self._tail = ""
        self._state = "text"
        # the mark that opened this stretch, whether it has said anything, the format's line breaks
        # still to come, and white space that may be the format's or the text's: what follows tells
        self._opened = ""
        self._is_blank = True
        self._breaks = 0
        self._held: list[str] = []
        self._scan = CallScan()
        self._index = -1
        self._has_started = self._has_arguments = False

    def push(self, token: int) -> list[Event]:
        """What `token` tells. After the end of the message nothing."""
        if self._state == "over":
            return []
        mark = self._marks.get(token)
        if mark is None:
            return list(self._read(self._stream.push(token)))
        return [*self._rest(), *self._mark(mark)]

    def close(self) -> list[Event]:
        """The rest, when no more tokens come: a call that is still open is unfinished."""
        if self._state == "over":
            return []
        return [*self._rest(), *self._enter("over", "", is_cut=True)]

    def _rest(self) -> Iterator[Event]:
        yield from self._read(self._stream.close())
        tail, self._tail = self._tail, ""
        yield from self._plain(tail)

    def _read(self, text: str) -> Iterator[Event]:
        text, self._tail = self._tail + text, ""
        while found := [(text.find(f), f) for f in self._spelt[self._state] if f in text]:
            at, form = min(found)
            mark = self._spelt[self._state][form]
            yield from self._plain(text[:at])
            yield from self._mark(mark)
            text = text[at + len(form) :]
        # the end of the text may be the beginning of a mark
        keep = max((_overlap(text, f) for f in self._spelt[self._state]), default=0)
        self._tail = text[len(text) - keep :]
        yield from self._plain(text[: len(text) - keep])

    def _mark(self, mark: str) -> Iterator[Event]:
        if mark in ENDS:
            yield from self._enter("over", mark)
        elif mark == CALL:
            yield from self._enter("call", mark)
        elif self._state == "call":
            # other marks inside a call are text of its strings
            yield from self._enter("text", mark) if mark == CALL_END else self._plain(mark)
        elif mark == THINK and self._state == "text":
            yield from self._enter("think", mark)
        elif mark == THINK_END and self._state == "think":
            yield from self._enter("text", mark)

    def _enter(self, state: str, mark: str, is_cut: bool = False) -> Iterator[Event]:
        """Close the stretch that is open, at `mark`, and open the next."""
        if self._state == "call":
            yield from self._end_call(mark, is_cut)
        elif self._state == "text":
            held = "".join(self._held)
            if mark == CALL:
                held = held.removesuffix("\n")
            # between calls, and before thinking, white space says nothing
            is_format = self._opened == CALL_END or mark == THINK
            if held and not (self._is_blank and is_format):
                yield Text(held)
        self._held.clear()
        self._state, self._opened = state, mark
        self._is_blank, self._breaks = True, AFTER.get(mark, 0)
        if state == "call":
            self._scan = CallScan()
            self._index += 1
            self._has_started = self._has_arguments = False

    def _plain(self, text: str) -> Iterator[Event]:
        if self._state == "call":
            self._scan.push(text)
            yield from self._call_news()
            return
        while self._breaks and text:
            self._breaks = self._breaks - 1 if text[0] == "\n" else 0
            text = text.removeprefix("\n") if text[0] == "\n" else text
        if not text:
            return
        if self._is_blank and text.isspace() and self._state == "text":
            self._held.append(text)
            return
        text = "".join(self._held) + text
        self._held = ["\n"] if text.endswith("\n") else []
        text = text.removesuffix("\n")
        if text:
            self._is_blank = False
            yield Text(text) if self._state == "text" else Reasoning(text)

    def _call_news(self) -> Iterator[Event]:
        name = self._scan.name
        if name is None:
            return
        if not self._has_started:
            self._has_started = True
            yield CallStart(self._index, name)
        if piece := self._scan.take():
            self._has_arguments = True
            yield CallArgs(self._index, piece)

    def _end_call(self, mark: str, is_cut: bool) -> Iterator[Event]:
        arguments = None if is_cut else self._scan.result()
        if arguments is not None and not self._has_arguments:
            yield CallArgs(self._index, "{}")
        # a call that is whole needs no end mark where the message goes on or ends
        is_finished = mark == CALL_END or arguments is not None
        name, raw = self._scan.name, self._scan.raw
        yield CallEnd(self._index, name, arguments, raw, is_finished)


def parse(tokens: Iterable[int], tokenizer: Tokenizer) -> Message:
    """One assistant message from its tokens; rendering it gives them back where they are in the
    canonical form. A call cut off by the end of `tokens` is among the broken ones.
    """
    parser = Parser(tokenizer)
    events = [e for t in tokens for e in parser.push(t)]
    return gather([*events, *parser.close()])


def gather(events: Iterable[Event]) -> Message:
    """The message that all events of a parser tell."""
    out = Message()
    arguments: dict[int, list[str]] = {}
    for e in events:
        if isinstance(e, Text):
            out.content += e.text
        elif isinstance(e, Reasoning):
            out.reasoning += e.text
        elif isinstance(e, CallArgs):
            arguments.setdefault(e.index, []).append(e.text)
        elif isinstance(e, CallEnd) and e.arguments is None:
            out.broken.append(e.raw)
        elif isinstance(e, CallEnd):
            function = {"name": e.name, "arguments": "".join(arguments[e.index])}
            call = {"id": f"call_{e.index}", "type": "function", "function": function}
            out.calls.append(call)
    return out


def _overlap(text: str, mark: str) -> int:
    """How many characters at the end of `text` begin `mark`."""
    longest = min(len(text), len(mark) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(mark[:n])), 0)
