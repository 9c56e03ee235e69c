"""Requests of the responses API, made into those of a chat."""

from __future__ import annotations

import json
from typing import Annotated, Any

from msgspec import Meta, Struct

from . import limits
from .errors import Refused
from .wire import Chat, Count, Format, JsonSchema, Named, Priority, Said, Session

# types of items under which a client says what a tool was called with, and what came of it
CALLS = {"function_call": "arguments", "custom_tool_call": "input"}
RESULTS = ("function_call_output", "custom_tool_call_output")


class Effort(Struct):
    """How much is to be thought."""

    effort: str | None = None


class TextFormat(Struct):
    """The form of the text."""

    type: str = "text"
    schema: dict[str, Any] | None = None


class TextAsked(Struct):
    """What the text must be like."""

    format: TextFormat | None = None


class Responses(Struct, kw_only=True):
    """POST /v1/responses"""

    input: str | Annotated[list[dict[str, Any]], Meta(max_length=limits.MESSAGES)]
    model: Named | None = None
    instructions: str | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    max_output_tokens: Count | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    reasoning: Effort | None = None
    text: TextAsked | None = None
    stream: bool | None = None
    previous_response_id: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    session_id: Session | None = None
    priority: Priority | None = None
    ignore_eos: bool | None = None


def items_of(body: Responses) -> list[dict[str, Any]]:
    """What a request itself says, as items."""
    if isinstance(body.input, str):
        return [{"type": "message", "role": "user", "content": body.input}]
    return body.input


def chat_of(body: Responses, items: list[dict[str, Any]]) -> Chat:
    """A request whose whole conversation is `items`, as a chat's. Refused names what cannot be
    read.
    """
    said = _said(items)
    if body.instructions:
        said = [Said("system", body.instructions), *said]
    if not said:
        raise Refused(400, "input: it holds no message; give one at least", "input")
    chat = Chat(messages=said, tools=_tools(body.tools or []), tool_choice=body.tool_choice)
    chat.parallel_tool_calls = body.parallel_tool_calls
    chat.max_tokens, chat.temperature = body.max_output_tokens, body.temperature
    chat.top_p, chat.session_id = body.top_p, body.session_id
    chat.priority, chat.ignore_eos = body.priority, body.ignore_eos
    chat.reasoning_effort = body.reasoning.effort if body.reasoning else None
    chat.response_format = _format(body.text.format if body.text else None)
    return chat


def _format(given: TextFormat | None) -> Format | None:
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return Format("json_object")
    if given.type == "json_schema":
        return Format("json_schema", JsonSchema(given.schema))
    raise Refused(
        400,
        f"text.format.type: {given.type[:60]!r} is not text, json_object or json_schema",
        "text.format.type",
    )


def _tools(given: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Function tools in the form of chats; here their fields stand beside the type."""
    names = ("name", "description", "parameters")
    return [
        {"type": "function", "function": {k: tool[k] for k in names if k in tool}}
        for tool in given
        if tool.get("type") == "function"
    ]


def _said(items: list[dict[str, Any]]) -> list[Said]:
    """Items as messages: what the assistant thought, said and called in a row is one of them.
    Items of unknown types say nothing to the model.
    """
    out: list[Said] = []
    for i, item in enumerate(items):
        field, kind = f"input[{i}]", str(item.get("type", "message"))
        if kind == "message":
            role, text = str(item.get("role", "")), _text(field, item.get("content"))
            last = _last(out) if role == "assistant" else None
            if last is not None and not last.content and not last.tool_calls:
                last.content = text
            else:
                out.append(Said(role, text))
        elif kind == "reasoning":
            thought = _text(field, item.get("content") or [])
            if thought:
                out.append(Said("assistant", "", reasoning=thought))
        elif kind in CALLS:
            given = item.get(CALLS[kind])
            if kind != "function_call":
                given = json.dumps({"input": given}, ensure_ascii=False)
            call = {"id": item.get("call_id"), "function": {"name": item.get("name")}}
            call["function"]["arguments"] = given
            last = _last(out) or Said("assistant", "")
            last.tool_calls = [*(last.tool_calls or []), call]
            if not out or out[-1] is not last:
                out.append(last)
        elif kind in RESULTS:
            id, text = item.get("call_id"), _text(field, item.get("output"))
            out.append(Said("tool", text, tool_call_id=id if isinstance(id, str) else None))
    return out


def _last(out: list[Said]) -> Said | None:
    """The assistant's message that is still being told."""
    return out[-1] if out and out[-1].role == "assistant" else None


def _text(field: str, content: Any) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise Refused(400, f"{field}: its content is neither text nor a list of parts", field)
    texts = []
    for part in content:
        known = part if isinstance(part, dict) else {}
        text = known.get("text", known.get("refusal"))
        if not isinstance(text, str):
            kind = str(known.get("type"))[:60]
            raise Refused(
                400,
                f"{field}: content of type {kind!r} has no text; this model reads text alone",
                field,
            )
        texts.append(text)
    return "".join(texts)
