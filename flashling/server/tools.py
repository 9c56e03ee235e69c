"""What an answer is held to: declared tools, the choice among them, and response formats."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..engine.grammar import Grammar
from ..engine.grammar_tools import COMPACT, tools_lark
from ..text.tokenizer import Tokenizer
from ..text.toolcalls import CALL
from . import limits
from .errors import Refused
from .wire import Chat, Format

Tool = dict[str, Any]


@dataclass(frozen=True)
class Held:
    """tools: those that the prompt declares. grammar: what the answer is held to. bias: tokens that
    may not come.
    """

    tools: list[Tool] = field(default_factory=list)
    grammar: Grammar | None = None
    bias: dict[int, float] = field(default_factory=dict)


def held(body: Chat, tokenizer: Tokenizer) -> Held:
    """What a chat's tools, tool_choice and response_format come to."""
    tools, schema = functions(body.tools), schema_of(body.response_format)
    mode, names = _choice(body.tool_choice)
    if names is not None:
        known = [t["function"]["name"] for t in tools]
        if missing := [name for name in names if name not in known]:
            raise Refused(
                400, f"tool_choice: {missing[0]!r} is no declared tool: {known}", "tool_choice"
            )
    if mode == "required" and not tools:
        raise Refused(400, "tool_choice: a call is required, and no tool declared", "tool_choice")
    if mode == "none" or not tools:
        grammar = None if schema is None else Grammar.json_schema(schema)
        # the tools stay in the prompt, which is then the same in every turn
        is_able = tools and tokenizer.has(CALL)
        return Held(tools, grammar, {tokenizer.id(CALL): -1e3} if is_able else {})
    allowed = [t for t in tools if names is None or t["function"]["name"] in names]
    parallel = body.parallel_tool_calls is not False
    if mode == "named":
        parallel, mode = False, allowed[0]["function"]["name"]
    grammar = Grammar.tools(allowed, mode, parallel=parallel)
    if schema is not None and mode == "auto":
        grammar = _either(allowed, schema, parallel, tokenizer)
    return Held(tools, grammar)


def functions(given: list[Tool] | None) -> list[Tool]:
    """The function tools in the form of the template; tools of other types are left out."""
    found = []
    for i, tool in enumerate(given or []):
        if tool.get("type", "function") != "function":
            continue
        f = tool.get("function")
        if not isinstance(f, dict) or not isinstance(f.get("name"), str):
            raise Refused(400, f"tools[{i}]: a tool needs a function with a name", f"tools[{i}]")
        # how strictly it is held is no news to the model
        shown = {k: v for k, v in f.items() if k != "strict" and v is not None}
        found.append({"type": "function", "function": shown})
    if len(found) > limits.TOOLS:
        raise Refused(400, f"tools: {len(found)} are declared; at most {limits.TOOLS} are read")
    return found


def schema_of(given: Format | None) -> dict[str, Any] | None:
    """The schema of a response format; None where any text will do."""
    if given is None or given.type == "text":
        return None
    if given.type == "json_object":
        return {"type": "object"}
    if given.json_schema is None or given.json_schema.schema is None:
        raise Refused(
            400,
            "response_format.json_schema: it needs a schema, an object",
            "response_format.json_schema",
        )
    return given.json_schema.schema


def _choice(given: str | dict[str, Any] | None) -> tuple[str, list[str] | None]:
    """The mode (auto, none, required or named) and the names it leaves."""
    if given is None:
        return "auto", None
    if isinstance(given, str):
        if given == "any":
            return "required", None
        if given in ("auto", "none", "required"):
            return given, None
    elif given.get("type") == "allowed_tools":
        among = given.get("allowed_tools", given)
        tools = among.get("tools") if isinstance(among, dict) else None
        names = [_name(tool) for tool in tools] if isinstance(tools, list) else []
        if names and None not in names:
            mode = "required" if among.get("mode") == "required" else "auto"
            return mode, [name for name in names if name is not None]
    elif (name := _name(given)) is not None:
        return "named", [name]
    shown = json.dumps(given)[:100]
    raise Refused(
        400,
        f"tool_choice: {shown} is not auto, none, required or a function with a name",
        "tool_choice",
    )


def _name(given: Any) -> str | None:
    """The name of a tool, in the form of chats or of responses."""
    f = given.get("function", given) if isinstance(given, dict) else None
    name = f.get("name") if isinstance(f, dict) else None
    return name if isinstance(name, str) else None


def _either(
    tools: list[Tool], schema: dict[str, Any], parallel: bool, tokenizer: Tokenizer
) -> Grammar:
    """Calls, or else an answer under the schema."""
    # both are checked before they are put together
    calls = Grammar.tools(tools, "required", parallel=parallel)
    text = Grammar.json_schema(schema).text
    rules = tools_lark(calls.text, tokenizer, COMPACT).removeprefix("start: ")
    guided = json.dumps({**json.loads(text), "x-guidance": COMPACT})
    return Grammar.lark(f"start: answer | calls\nanswer: %json {guided}\ncalls: {rules}")
