"""Copy probes: short samples whose answer holds a string of the request that was never seen."""

from __future__ import annotations

import random
import string
from collections.abc import Iterator, Sequence
from typing import Any

from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import made_code, made_hanzi, made_word, phrases

# function name, its parameters, and requests; braces mark where the strings stand
KEEPERS: list[Any] = phrases("keepers")
REPEATS: dict[str, list[str]] = phrases("repeats")
# verbs and nouns (en, zh) that tools are made of, and sentences about one or two strings
FRAMES: dict[str, list[Any]] = phrases("frames")
LETTERS = string.ascii_letters + string.digits
MARKS = "-_./:#@+=~%&*!?"


def samples(seed: int) -> Iterator[dict]:
    """Endless copy samples, the same for the same seed; the fields are those of tool samples."""
    rng = random.Random(f"copy {seed}")
    values = Values(rng)
    while True:
        lang = "en" if rng.random() < 0.5 else "zh"
        chance = rng.random()
        make = _repeat if chance < 0.15 else _call if chance < 0.45 else _framed
        yield make(values, lang)


def hard_string(values: Values, lang: str) -> str:
    """A string to copy: letters and digits, a code, hanzi, words, a sentence or a mixture."""
    rng, chance = values.rng, values.random()
    if chance < 0.16:
        return "".join(values.pick(LETTERS) for _ in range(values.between(3, 28)))
    if chance < 0.24:
        return (
            "".join(values.pick(LETTERS + MARKS) for _ in range(values.between(4, 20))).strip(MARKS)
            or "x1"
        )
    if chance < 0.36:
        return made_code(rng)
    if chance < 0.44:
        return "".join(values.pick(string.digits) for _ in range(values.between(3, 18)))
    if chance < 0.56:
        return " ".join(made_word(rng) for _ in range(values.between(1, 5)))
    if chance < 0.72 and lang == "zh" or chance < 0.58:
        return made_hanzi(rng, 2, 12)
    if chance < 0.8:
        return values.text_of("text", lang)
    if chance < 0.86:
        return values.text_of(
            values.pick(("path", "url", "email", "sql", "cron", "version", "phone")), lang
        )
    parts = (
        made_word(rng),
        made_code(rng),
        made_hanzi(rng, 1, 4),
        values.listed("noun", lang),
        values.listed("adj", lang),
    )
    return (" " if lang == "en" else values.pick((" ", ""))).join(
        values.pick(parts) for _ in range(values.between(2, 4))
    )


def _quoted(values: Values, text: str, lang: str) -> str:
    chance = values.random()
    if chance > 0.35 or '"' in text or "“" in text:
        return text
    return f'"{text}"' if chance < 0.2 or lang == "en" else f"“{text}”"


def _call(values: Values, lang: str) -> dict:
    name, params, en, zh, asks_en, asks_zh = values.pick(KEEPERS)
    strings = list(dict.fromkeys(hard_string(values, lang) for _ in params))
    while len(strings) < len(params):
        strings.append(made_word(values.rng, 3))
    others = [keeper for keeper in KEEPERS if keeper[0] != name]
    tools = [_schema(values, name, params, en, zh)]
    for other in values.rng.sample(others, values.pick((0, 0, 1, 2))):
        tools.append(_schema(values, *other[:4]))
    values.rng.shuffle(tools)
    said = [_quoted(values, text, lang) for text in strings]
    text = values.pick(asks_en if lang == "en" else asks_zh).format(*said)
    function = {"name": name, "arguments": dict(zip(params, strings, strict=True))}
    call = {"id": "call_0", "type": "function", "function": function}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    return _sample([{"role": "user", "content": text}, answer], tools, lang, strings)


def _framed(values: Values, lang: str) -> dict:
    """A call of a tool named by a verb and a noun, asked for in a sentence of many shapes."""
    count = 1 if values.random() < 0.7 else 2
    (verb, verb_zh), (noun, noun_zh) = values.pick(FRAMES["verbs"]), values.pick(FRAMES["nouns"])
    side, side_zh = values.pick(FRAMES["nouns"])
    while side == noun:
        side, side_zh = values.pick(FRAMES["nouns"])
    name, key = f"{verb}_{noun}", values.pick((noun, noun, f"{noun}_name", f"{noun}_id", "target"))
    params = [key, values.pick((side, f"new_{noun}"))][:count]
    strings = [hard_string(values, lang) for _ in params]
    tools = [_schema(values, name, params, f"{_said(verb)} a {noun}", f"{verb_zh}{noun_zh}")]
    for _ in range(values.pick((0, 0, 1, 1, 2))):
        (v, v_zh), (n, n_zh) = values.pick(FRAMES["verbs"]), values.pick(FRAMES["nouns"])
        # another noun: a sentence may leave the verb out
        if n not in (noun, side):
            tools.append(_schema(values, f"{v}_{n}", [n], f"{_said(v)} a {n}", f"{v_zh}{n_zh}"))
    values.rng.shuffle(tools)
    said = [_quoted(values, text, lang) for text in strings]
    words = {"v": verb.replace("_", " "), "V": _said(verb), "n": noun, "m": side}
    if lang == "zh":
        words = {"v": verb_zh, "n": noun_zh, "m": side_zh}
    text = values.pick(FRAMES[lang if count == 1 else f"{lang}2"]).format(*said, **words)
    function = {"name": name, "arguments": dict(zip(params, strings, strict=True))}
    call = {"id": "call_0", "type": "function", "function": function}
    answer = {"role": "assistant", "content": None, "tool_calls": [call]}
    return _sample([{"role": "user", "content": text}, answer], tools, lang, strings)


def _said(verb: str) -> str:
    return verb.replace("_", " ").capitalize()


def _schema(values: Values, name: str, params: Sequence[str], en: str, zh: str) -> dict:
    body = {
        "type": "object",
        "properties": {param: {"type": "string"} for param in params},
        "required": list(params),
    }
    about = en if values.random() < 0.65 else zh
    return {
        "type": "function",
        "function": {"name": name, "description": about, "parameters": body},
    }


def _repeat(values: Values, lang: str) -> dict:
    text = hard_string(values, lang)
    asked = values.pick(REPEATS[lang]).format(text)
    messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": text}]
    return _sample(messages, None, lang, [text])


def _sample(messages: list[dict], tools: list[dict] | None, lang: str, copied: list[str]) -> dict:
    return {
        "messages": messages,
        "tools": tools,
        "kind": "copy",
        "sub": "copy",
        "lang": lang,
        "copied": copied,
    }
