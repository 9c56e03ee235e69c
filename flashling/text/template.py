"""The chat format: messages to tokens, the training mask and message borders."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from .tokenizer import Tokenizer

Message = dict[str, Any]
ROLES = {"system": "SYSTEM", "user": "HUMAN", "assistant": "ASSISTANT", "tool": "OBSERVATION"}
THINKING = ("detailed thinking off", "detailed thinking on")
TOOLS_HEAD = """# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
TOOLS_TAIL = """
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>
"""


@dataclass
class Piece:
    """A stretch of a rendered chat: a special token's text, or plain text; trained on or not."""

    text: str
    is_special: bool = False
    is_trained: bool = False


@dataclass
class Rendered:
    """tokens; mask: True where the model is trained (what the assistant says, its end included);
    borders: the token index at which each message ends.
    """

    tokens: list[int] = field(default_factory=list)
    mask: list[bool] = field(default_factory=list)
    borders: list[int] = field(default_factory=list)


def render(
    messages: Sequence[Message],
    tools: Sequence[dict] | None = None,
    *,
    tokenizer: Tokenizer,
    add_generation_prompt: bool = True,
    thinking: bool | None = None,
) -> Rendered:
    """The tokens of a conversation. Text of messages and tools can never become a role token.

    Raises ValueError naming the message that is malformed.
    """
    out = Rendered()
    for turn in _turns(messages, tools, thinking):
        _add(out, turn, tokenizer)
        out.borders.append(len(out.tokens))
    if add_generation_prompt:
        _add(out, _role("assistant"), tokenizer)
    return out


def render_text(
    messages: Sequence[Message],
    tools: Sequence[dict] | None = None,
    *,
    add_generation_prompt: bool = True,
    thinking: bool | None = None,
) -> str:
    """The same conversation as text."""
    turns = [p for turn in _turns(messages, tools, thinking) for p in turn]
    turns += _role("assistant") if add_generation_prompt else []
    return "".join(p.text for p in turns)


def _add(out: Rendered, pieces: list[Piece], tokenizer: Tokenizer) -> None:
    for piece in _joined(pieces):
        special = piece.is_special and tokenizer.has(piece.text)
        ids = [tokenizer.id(piece.text)] if special else tokenizer.encode(piece.text)
        out.tokens += ids
        out.mask += [piece.is_trained] * len(ids)


def _joined(pieces: list[Piece]) -> Iterator[Piece]:
    """Neighbouring plain pieces as one, so that their tokens are those of the whole text."""
    held: Piece | None = None
    for p in pieces:
        if held and not p.is_special and held.is_trained == p.is_trained:
            held = Piece(held.text + p.text, False, held.is_trained)
            continue
        if held:
            yield held
            held = None
        if p.is_special:
            yield p
        elif p.text:
            held = p
    if held:
        yield held


def _role(role: str) -> list[Piece]:
    return [Piece("<role>", True), Piece(ROLES[role]), Piece("</role>", True)]


def _turns(
    messages: Sequence[Message], tools: Sequence[dict] | None, thinking: bool | None
) -> Iterator[list[Piece]]:
    check(messages)
    rest = list(messages)
    first = rest.pop(0) if rest and rest[0]["role"] == "system" else None
    text = _system(text_of(first) if first else "", tools, thinking)
    yield [*_role("system"), Piece(text), Piece("<|role_end|>", True)]
    users = [i for i, m in enumerate(rest) if m["role"] == "user"]
    last_user = users[-1] if users else -1
    for i, m in enumerate(rest):
        if m["role"] == "assistant":
            yield _assistant(m, keeps_reasoning=i > last_user)
        elif m["role"] == "tool":
            opens = i == 0 or rest[i - 1]["role"] != "tool"
            closes = i + 1 == len(rest) or rest[i + 1]["role"] != "tool"
            body = Piece(f"\n<tool_response>\n{text_of(m)}\n</tool_response>")
            end = [Piece("<|role_end|>", True)] if closes else []
            yield [*(_role("tool") if opens else []), body, *end]
        else:
            yield [*_role(m["role"]), Piece(text_of(m)), Piece("<|role_end|>", True)]


def _system(text: str, tools: Sequence[dict] | None, thinking: bool | None) -> str:
    switch = THINKING[bool(thinking)]
    if not tools:
        if thinking is None and any(t in text for t in THINKING):
            return text
        return f"{text}\n{switch}" if text else switch
    if thinking is None and THINKING[1] in text:
        switch = THINKING[1]
    lines = "\n".join(json.dumps(t, ensure_ascii=False) for t in tools)
    head = f"{text}\n" if text else ""
    return f"{head}{TOOLS_HEAD}{lines}{TOOLS_TAIL}{switch}"


def _assistant(m: Message, keeps_reasoning: bool) -> list[Piece]:
    said, calls, thought = text_of(m), m.get("tool_calls") or [], m.get("reasoning")
    body: list[Piece] = []
    if thought and keeps_reasoning:
        body += [Piece("\n"), Piece("<think>", True), Piece(f"\n{thought}\n")]
        body += [Piece("</think>", True), Piece("\n\n")]
    body.append(Piece(said))
    for i, call in enumerate(calls):
        f = call["function"]
        given = f["arguments"]
        arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        name = json.dumps(f["name"], ensure_ascii=False)
        lead = "\n" if said or i else ""
        body += [Piece(lead), Piece("<tool_call>", True)]
        body += [Piece(f'\n{{"name": {name}, "arguments": {arguments}}}\n')]
        body += [Piece("</tool_call>", True)]
    body.append(Piece("<|role_end|>", True))
    return [*_role("assistant"), *(Piece(p.text, p.is_special, True) for p in body)]


def text_of(m: Message) -> str:
    """A message's content as one text: "" for null, text parts joined."""
    content = m.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content or ""


def check(messages: Sequence[Message]) -> None:
    """Refuse malformed messages with a ValueError that names the first of them."""
    called = False
    for i, m in enumerate(messages):
        role = m.get("role")
        if role not in ROLES:
            raise ValueError(f"message {i}: role {role!r} is not one of {', '.join(ROLES)}")
        content = m.get("content")
        parts = content if isinstance(content, list) else []
        if not (content is None or isinstance(content, (str, list))) or any(
            not isinstance(p, dict) or not isinstance(p.get("text"), str) for p in parts
        ):
            raise ValueError(f"message {i}: content must be text, a list of text parts, or null")
        if role == "tool" and not called:
            raise ValueError(f"message {i}: a tool message needs a tool call before it")
        called = role == "tool" or bool(m.get("tool_calls"))
        for call in m.get("tool_calls") or []:
            _check_call(i, call)


def _check_call(i: int, call: Any) -> None:
    f = call.get("function") if isinstance(call, dict) else None
    if not isinstance(f, dict) or not isinstance(f.get("name"), str):
        raise ValueError(f"message {i}: a tool call needs a function with a name")
    if not isinstance(f.get("arguments"), (str, dict)):
        raise ValueError(
            f"message {i}: arguments of {f['name']!r} must be an object or its JSON text, not "
            f"{type(f.get('arguments')).__name__}"
        )
