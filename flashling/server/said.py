"""Messages as clients write them, made into those that the template reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from .errors import Refused
from .wire import Part, Said

ROLES = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
Message = dict[str, Any]


def messages_of(given: Sequence[Said]) -> list[Message]:
    """The conversation, with tool results directly after the calls that they answer, wherever the
    client put them; a result of no call is told as a user's words.
    """
    out: list[Message] = []
    for i, said in enumerate(given):
        message = _message(i, said)
        if message["role"] == "tool":
            _place(out, message, said.tool_call_id)
        else:
            out.append(message)
    return out


def _message(i: int, said: Said) -> Message:
    field = f"messages[{i}]"
    role = ROLES.get(said.role)
    if role is None:
        known = ", ".join(ROLES)
        raise Refused(400, f"{field}.role: {said.role[:60]!r} is not one of {known}", field)
    message: Message = {"role": role, "content": _text(field, said.content)}
    if role == "assistant":
        thought = said.reasoning_content or said.reasoning
        calls = [_call(field, call) for call in said.tool_calls or []]
        message |= {"reasoning": thought} if thought else {}
        message |= {"tool_calls": calls} if calls else {}
    return message


def _text(field: str, content: str | list[Part] | None) -> str:
    if not isinstance(content, list):
        return content or ""
    for part in content:
        if part.text is None and part.refusal is None:
            raise Refused(
                400,
                f"{field}.content: a part of type {part.type[:60]!r} has no text; this model reads "
                "text alone",
                f"{field}.content",
            )
    return "".join(part.text or part.refusal or "" for part in content)


def _call(field: str, call: dict[str, Any]) -> dict[str, Any]:
    f = call.get("function")
    name = f.get("name") if isinstance(f, dict) else None
    if not isinstance(f, dict) or not isinstance(name, str):
        raise Refused(
            400,
            f"{field}.tool_calls: a call needs a function with a name",
            f"{field}.tool_calls",
        )
    given = f.get("arguments")
    # also what an earlier answer was cut off in: it is history, and shown as it was
    text = given if isinstance(given, str) else json.dumps(given or {}, ensure_ascii=False)
    function = {"name": name, "arguments": text if text.strip() else "{}"}
    return {"id": str(call.get("id", "")), "type": "function", "function": function}


def _place(out: list[Message], result: Message, id: str | None) -> None:
    """Put a tool's result behind its call and the results that are there already."""
    askers = [i for i, m in enumerate(out) if m.get("tool_calls")]
    own = [i for i in askers if id and any(c["id"] == id for c in out[i]["tool_calls"])]
    at = own[-1] if own else askers[-1] if askers and not id else None
    if at is None and out and (out[-1]["role"] == "tool" or out[-1].get("tool_calls")):
        # an id of another making, where a result may stand
        at = askers[-1]
    if at is None:
        text = f"<tool_response>\n{result['content']}\n</tool_response>"
        out.append({"role": "user", "content": text})
        return
    at += 1
    while at < len(out) and out[at]["role"] == "tool":
        at += 1
    out.insert(at, result)
