"""The tool loop: the model answers, its calls are run, until it answers without a call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .tools import Tool, ToolError

Message = dict[str, Any]
Chat = Callable[[list[Message], list[dict[str, Any]]], Message]


def converse(
    messages: Sequence[Message],
    tools: Mapping[str, Tool],
    chat: Chat,
    *,
    max_turns: int = 8,
    watch: Callable[[Message], None] = lambda message: None,
) -> list[Message]:
    """The messages that follow `messages`: answers, tool results, and the last answer.

    chat(messages, declarations) returns the model's message. What a tool refuses goes back to the
    model as its result. After `max_turns` answers with calls the tools are taken away, so that the
    last one is text. watch sees each tool result.
    """
    added: list[Message] = []
    declared = [t.schema() for t in tools.values()]
    for turn in range(max_turns + 1):
        # the declarations stay in the prompt while turns are left: the past is reused
        answer = chat([*messages, *added], declared if turn < max_turns else [])
        added.append(answer)
        calls = answer.get("tool_calls") or []
        if not calls or turn == max_turns:
            break
        for call in calls:
            result = {
                "role": "tool",
                "tool_call_id": call.get("id", ""),
                "name": call["function"]["name"],
                "content": _result(call["function"], tools),
            }
            watch(result)
            added.append(result)
    return added


def _result(function: Mapping[str, Any], tools: Mapping[str, Tool]) -> str:
    name = function["name"]
    if name not in tools:
        return f"error: there is no tool {name!r}; there are: {', '.join(tools)}"
    try:
        return tools[name].call(function["arguments"])
    except ToolError as error:
        return f"error: {error}"
