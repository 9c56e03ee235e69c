"""Anthropic's requests, made into those of a chat."""

from __future__ import annotations

import json
from typing import Annotated, Any

from msgspec import Meta, Struct

from . import limits
from .errors import Refused
from .wire import Chat, Count, Named, Priority, Said, Session

# a line that one client changes at every turn; in the prompt it would cost the cache
BILLING = "x-anthropic-billing-header:"
CHOICES = {"auto": "auto", "any": "required", "none": "none"}


class Block(Struct):
    """A block of a message's content, of any type."""

    type: str = "text"
    text: str | None = None
    thinking: str | None = None
    id: str | None = None
    name: str | None = None
    input: dict[str, Any] | None = None
    tool_use_id: str | None = None
    content: str | list[dict[str, Any]] | None = None


class Turned(Struct):
    """A message."""

    role: str
    content: str | list[Block]


class Tool(Struct):
    """A tool; those without a schema are run by others' servers, and left out."""

    name: str
    description: str | None = None
    input_schema: dict[str, Any] | None = None


class ToolChoice(Struct):
    """Which tool is to be called."""

    type: str
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(Struct):
    """The switch of thinking."""

    type: str


class Counted(Struct, kw_only=True):
    """POST /v1/messages/count_tokens"""

    messages: Annotated[list[Turned], Meta(min_length=1, max_length=limits.MESSAGES)]
    model: Named | None = None
    system: str | list[Block] | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None


class Messages(Counted, kw_only=True):
    """POST /v1/messages"""

    max_tokens: Count
    stream: bool | None = None
    session_id: Session | None = None
    priority: Priority | None = None
    ignore_eos: bool | None = None
    stop_sequences: Annotated[list[str], Meta(max_length=limits.STOPS)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=1)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1 << 20)] | None = None


def chat_of(body: Counted) -> Chat:
    """The same conversation as a chat's request. Refused names what cannot be read."""
    said = [m for i, message in enumerate(body.messages) for m in _said(i, message)]
    tools = [
        {
            "type": "function",
            "function": {
                "name": t.name,
                "description": t.description,
                "parameters": t.input_schema,
            },
        }
        for t in body.tools or []
        if t.input_schema is not None
    ]
    system = _system(body.system)
    chat = Chat(messages=[Said("system", system), *said] if system else said, tools=tools)
    if body.thinking is not None and body.thinking.type in ("enabled", "disabled"):
        chat.chat_template_kwargs = {"enable_thinking": body.thinking.type == "enabled"}
    if (choice := body.tool_choice) is not None:
        chat.parallel_tool_calls = not choice.disable_parallel_tool_use
        named = {"type": "function", "function": {"name": choice.name}}
        chat.tool_choice = named if choice.type == "tool" else CHOICES.get(choice.type, choice.type)
    if isinstance(body, Messages):
        chat.max_tokens, chat.stop = body.max_tokens, body.stop_sequences
        chat.session_id, chat.priority = body.session_id, body.priority
        chat.ignore_eos = body.ignore_eos
        chat.temperature, chat.top_p, chat.top_k = body.temperature, body.top_p, body.top_k
    return chat


def _system(given: str | list[Block] | None) -> str:
    texts = [given] if isinstance(given, str) else [b.text or "" for b in given or []]
    return "\n".join(text for text in texts if text and not text.startswith(BILLING))


def _said(i: int, message: Turned) -> list[Said]:
    """A message as those of a chat: results of tools are messages of their own, and come first."""
    if message.role not in ("user", "assistant", "system"):
        raise Refused(
            400,
            f"messages[{i}].role: {message.role[:60]!r} is neither user nor assistant",
            f"messages[{i}].role",
        )
    if isinstance(message.content, str):
        return [Said(message.role, message.content)]
    results: list[Said] = []
    own = Said(message.role, "")
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    for k, block in enumerate(message.content):
        if block.type == "tool_result":
            text = _flat(f"messages[{i}].content[{k}]", block.content)
            results.append(Said("tool", text, tool_call_id=block.tool_use_id))
        elif block.type == "tool_use":
            given = json.dumps(block.input or {}, ensure_ascii=False)
            calls.append({"id": block.id, "function": {"name": block.name, "arguments": given}})
        elif block.type == "thinking":
            own.reasoning = (own.reasoning or "") + (block.thinking or "")
        elif block.type != "redacted_thinking":
            texts.append(_flat(f"messages[{i}].content[{k}]", [{"text": block.text}], block.type))
    own.content, own.tool_calls = "\n".join(texts), calls or None
    return [*results, own] if texts or calls or not results else results


def _flat(field: str, content: str | list[dict[str, Any]] | None, kind: str = "") -> str:
    if not isinstance(content, list):
        return content or ""
    for part in content:
        if not isinstance(part.get("text"), str):
            shown = kind or str(part.get("type"))[:60]
            raise Refused(
                400, f"{field}: a block of type {shown!r} has no text; this model reads text", field
            )
    return "\n".join(part["text"] for part in content)
