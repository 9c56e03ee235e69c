"""Tool calls as a grammar: the calls of Ling's chat format, each held to its tool's schema."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from ..text.tokenizer import Tokenizer
from ..text.toolcalls import CALL, CALL_END

MAX_TOOLS, MAX_NAME = 128, 256
# between the parts of JSON at most one space: white space without end is a way to say nothing
COMPACT = {"item_separator": ", ?", "key_separator": ": ?", "whitespace_flexible": False}


def check_tools(tools: Sequence[dict[str, Any]], mode: str) -> None:
    """Refuse malformed declarations with a ValueError that names the first of them."""
    if not tools:
        raise ValueError("no tools are declared; declare one or ask for no tools grammar")
    if len(tools) > MAX_TOOLS:
        raise ValueError(f"{len(tools)} tools are declared; at most {MAX_TOOLS} are read")
    names: set[str] = set()
    for i, tool in enumerate(tools):
        f = tool.get("function") if isinstance(tool, dict) else None
        name = f.get("name") if isinstance(f, dict) else None
        if not isinstance(f, dict) or not isinstance(name, str) or not 0 < len(name) <= MAX_NAME:
            raise ValueError(f"tool {i} needs a function with a name of 1 to {MAX_NAME} characters")
        if name in names:
            raise ValueError(f"tool {i}: the name {name!r} is declared twice")
        names.add(name)
        parameters = f.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise ValueError(f"tool {name!r}: parameters must be a JSON schema, an object")
        if parameters and parameters.get("type", "object") != "object":
            raise ValueError(f"tool {name!r}: parameters must be of type object")
    if mode not in ("auto", "required") and mode not in names:
        raise ValueError(f"{mode!r} is neither auto, required nor a declared tool: {sorted(names)}")


def each_alone(text: str) -> dict[str, str]:
    """Of the JSON of several tools, that of each tool as if it was the only one, by its name."""
    given = json.loads(text)
    names = [t["function"]["name"] for t in given["tools"]]
    alone = [{**given, "tools": [t], "mode": "required"} for t in given["tools"]]
    return {n: json.dumps(one, ensure_ascii=False) for n, one in zip(names, alone, strict=True)}


def tools_lark(
    text: str, tokenizer: Tokenizer, layout: dict[str, Any], loose: Collection[str] = ()
) -> str:
    """llguidance's Lark for `text`, the JSON of tools, mode and parallel; `layout` are its options
    for the JSON of arguments. loose: names of tools whose arguments may be any object. ValueError
    where the tokenizer has no tokens for calls.

    Keywords of a tool's schema that llguidance does not know are not enforced: agents declare
    schemas that were written for validators, and a refused tool is worth less than a loose one.
    """
    given = json.loads(text)
    mode, parallel = given["mode"], given["parallel"]
    functions = [t["function"] for t in given["tools"]]
    if mode not in ("auto", "required"):
        functions = [f for f in functions if f["name"] == mode]
        parallel = False
    opens, closes = tokenizer.id(CALL), tokenizer.id(CALL_END)
    # everything but a call's marks; ends and padding are kept out by the mask itself
    text_rule = f"text: <[^{','.join(str(i) for i in sorted((opens, closes)))}]>"
    more = {
        "auto": "(text | call)*" if parallel else "text* call?",
        "required": 'call ("\\n" call)*' if parallel else "call",
    }
    rules = [f"start: {more.get(mode, 'call')}", *([text_rule] if mode == "auto" else [])]
    choice = " | ".join(f"tool_{i}" for i in range(len(functions)))
    rules.append(f"call: <[{opens}]> ({choice}) <[{closes}]>")
    for i, f in enumerate(functions):
        name = json.dumps(f["name"], ensure_ascii=False)
        head = json.dumps(f'\n{{"name": {name}, "arguments": ', ensure_ascii=False)
        # an omitted schema says that there are no arguments
        schema = f.get("parameters") or {"properties": {}, "additionalProperties": False}
        schema = {} if f["name"] in loose else schema
        schema = {**schema, "type": "object", "x-guidance": {**layout, "lenient": True}}
        rules.append(f'tool_{i}: {head} %json {json.dumps(schema)} "}}\\n"')
    return "\n".join(rules) + "\n"
