"""What the assistant says beside calls: short, and always in the user's language."""

from __future__ import annotations

import json
from typing import Any

from flashling.tasks.tools.phrase import Speaker, joined
from flashling.tasks.tools.spec import Param, Tool
from flashling.tasks.tools.words import phrases

NO_TOOL: dict[str, list[str]] = phrases("no_tool")
MISSING: dict[str, list[str]] = phrases("missing")
SUPPLIES: dict[str, list[str]] = phrases("supplies")
DONE = {"en": "Done.", "zh": "好了。"}
DONE_ID: dict[str, str] = phrases("done_id")
FAILED: dict[str, str] = phrases("failed")
ERRORS: dict[str, list[str]] = phrases("errors")
OKS: list[Any] = phrases("oks")
# first words of tools that answer rather than do
READING = frozenset(phrases("reading"))


def ask_missing(speaker: Speaker, params: list[Param], lang: str) -> str:
    """A question that names the missing parameters."""
    words = [param.zh if lang == "zh" else param.en for param in params]
    return speaker.pick(MISSING[lang]).format(joined(words, lang))


def result_of(speaker: Speaker, tool: Tool, args: dict, lang: str) -> tuple[str, str] | None:
    """A tool's result as the text of a tool message, and the answer it leads to.

    args: the call's arguments by parameter key, which the result may repeat. None for a tool that
    reads something of which nothing is known.
    """
    chance = speaker.random()
    if chance < 0.08:
        error = speaker.pick(ERRORS[lang])
        form: Any = speaker.pick(
            ({"error": error}, {"status": "error", "message": error}, f"Error: {error}")
        )
        return _text(form), FAILED[lang].format(error)
    if tool.result:
        return _told(speaker, tool, args, lang)
    if tool.key.partition("_")[0] in READING:
        return None
    if chance < 0.3:
        code = speaker.values.text_of("id", lang)
        form = speaker.pick(
            ({"id": code}, {"id": code, "status": "ok"}, {"status": "created", "id": code})
        )
        return _text(form), DONE_ID[lang].format(code)
    return _text(speaker.pick(OKS)), DONE[lang]


def _told(speaker: Speaker, tool: Tool, args: dict, lang: str) -> tuple[str, str]:
    fields, en, zh = tool.result
    told, said = {}, {}
    for field in fields:
        name, value = speaker.value(field, lang, {}, {})
        asked = tool.by_key.get(field.key)
        if asked and asked.kind == field.kind and field.key in args:
            name = value = args[field.key]
        told[field.key] = value
        said[field.key] = (
            joined(value, lang)
            if isinstance(value, list)
            else name
            if field.kind == "choice"
            else value
        )
    form: Any = told
    chance = speaker.random()
    if chance < 0.12:
        form = {"result": told}
    elif chance < 0.2:
        form = {"status": "ok", "data": told}
    return _text(form), (zh if lang == "zh" else en).format(**said)


def _text(form: Any) -> str:
    return form if isinstance(form, str) else json.dumps(form, ensure_ascii=False)
