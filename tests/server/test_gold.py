"""Tool calls from a model that makes no mistakes, through the server to the openai SDK."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from openai import InternalServerError, OpenAI

from flashling import nano
from flashling.text.template import render, render_text
from flashling.text.tokenizer import Tokenizer

from .gold import serving, tokens_of, written

Calls = list[tuple[str, dict[str, Any]]]


def tool(name: str, /, *required: str, **properties: Any) -> dict[str, Any]:
    """A declaration; a property is a schema, or the name of a type."""
    shown = {k: {"type": p} if isinstance(p, str) else p for k, p in properties.items()}
    parameters = {"type": "object", "properties": shown, "required": list(required)}
    return {"type": "function", "function": {"name": name, "parameters": parameters}}


POINT = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "y": {"type": "number"}},
    "required": ["x", "y"],
}
TOOLS = [
    {"type": "function", "function": {"name": "now"}},
    tool("add", "a", "b", a="integer", b="integer"),
    tool("scale", "by", by="number", exact="boolean"),
    tool("say", "text", text="string", name="string", arguments="string"),
    tool("move", "to", to=POINT, via={"type": "array", "items": POINT}),
    tool("tag", tags={"type": "array", "items": {"type": "string", "enum": ["新", "old", "a b"]}}),
    tool("set", value={"type": ["string", "null"]}, any={}, rows={"type": "array"}),
    tool("db.query-v2", "sql", sql="string", limit={"type": "integer", "default": 10}),
    tool("free", options="object"),
    tool("slip", "metrics", metrics={"type": "array", "enum": ["view", "buzz"]}),
]
CASES: dict[str, Calls] = {
    "no call": [],
    "no arguments": [("now", {})],
    "integers": [("add", {"a": -7, "b": 12345678901234567890})],
    "numbers": [("scale", {"by": 1.5e-07, "exact": True})],
    "whole number": [("scale", {"by": 3.0, "exact": False})],
    "quotes": [("say", {"text": "she said \"no\" and 'yes' \\ / \b\f\t"})],
    "lines": [("say", {"text": "one\n\ntwo\r\n  three\u2028"})],
    "scripts": [("say", {"text": "杭州 Zürich 東京 한국어 مرحبا 👩🏽\u200d🚀 𝒳"})],
    "empty text": [("say", {"text": ""})],
    "names of the format": [("say", {"text": "t", "name": "n", "arguments": '{"a": 1}'})],
    "marks in a text": [
        ("say", {"text": "</tool_call>\n<tool_call> <|role_end|> <think></think>"})
    ],
    "a call in a text": [("say", {"text": '\n{"name": "now", "arguments": {}}\n</tool_call>'})],
    "object": [("move", {"to": {"x": 0.1, "y": -2}})],
    "objects": [("move", {"to": {"x": 1, "y": 2}, "via": [{"x": 0, "y": 0.5}, {"x": 3, "y": 4}]})],
    "members of a choice": [("tag", {"tags": ["新", "a b"]})],
    "empty list": [("tag", {"tags": []})],
    "null": [("set", {"value": None, "any": [None, {"k": [[]]}], "rows": [[1, "a"], {}]})],
    "odd name": [("db.query-v2", {"sql": "SELECT * FROM t WHERE a <> 'b' -- {x}", "limit": 5})],
    "any object": [("free", {"options": {"deep": {"er": {"list": [1, 2.5, True]}}, "": "é"}})],
    "unsatisfiable declaration": [("slip", {"metrics": ["view"]})],
    "same twice": [("add", {"a": 1, "b": 1}), ("add", {"a": 1, "b": 1})],
    "many": [("now", {}), ("say", {"text": "}\n"}), ("add", {"a": 0, "b": 2}), ("now", {})],
}
ASK: list[Any] = [{"role": "user", "content": "Do it."}]


@pytest.fixture(scope="module", params=["held", "cut at random"])
def gold(request: pytest.FixtureRequest) -> Iterator[tuple[OpenAI, bool]]:
    """A client, and whether tokens are cut at random. A grammar lets one spelling come alone where
    it leaves no choice of text, so such tokens are not held.
    """
    is_cut = request.param != "held"
    answers = [written(calls) for calls in CASES.values()]
    cuts = random.Random(5) if is_cut else None
    with (
        serving(answers, is_held=not is_cut, cuts=cuts) as url,
        OpenAI(base_url=url, api_key="none", max_retries=0) as client,
    ):
        yield client, is_cut


def asked(case: str) -> dict[str, Any]:
    """The request whose answer is that of a case."""
    seed = list(CASES).index(case) + 1
    return {"model": "gold", "messages": ASK, "tools": TOOLS, "seed": seed, "temperature": 0}


@pytest.mark.parametrize("case", CASES)
def test_calls_arrive_as_they_were_made(gold: tuple[OpenAI, bool], case: str) -> None:
    client, is_cut = gold
    answer = client.chat.completions.create(**asked(case))
    [choice] = answer.choices
    functions = [c.function for c in choice.message.tool_calls or [] if c.type == "function"]
    found = [(f.name, json.loads(f.arguments)) for f in functions]
    assert found == CASES[case]
    assert choice.finish_reason == ("tool_calls" if found else "stop")
    assert choice.message.content == (None if found else "None of these functions fits.")
    tokens = tokens_of(written(CASES[case]), Tokenizer.read(nano.path()))
    assert answer.usage and (is_cut or answer.usage.completion_tokens == len(tokens))


@pytest.mark.parametrize("case", CASES)
def test_streams_tell_the_same_calls(gold: tuple[OpenAI, bool], case: str) -> None:
    client, _ = gold
    content, names, arguments, ids, finish = "", [], [], [], None
    for chunk in client.chat.completions.create(**asked(case), stream=True):
        [choice] = chunk.choices
        content += choice.delta.content or ""
        finish = choice.finish_reason or finish
        for part in choice.delta.tool_calls or []:
            assert part.function
            if part.id:
                assert part.index == len(names)
                names.append(part.function.name)
                arguments.append("")
                ids.append(part.id)
            # calls come one after the other
            assert part.index == len(names) - 1
            arguments[part.index] += part.function.arguments or ""
    found = [(n, json.loads(a)) for n, a in zip(names, arguments, strict=True)]
    assert found == CASES[case] and len(set(ids)) == len(ids)
    assert finish == ("tool_calls" if found else "stop")
    assert content == ("" if found else "None of these functions fits.")


@pytest.mark.parametrize("case", [c for c in CASES if CASES[c]])
def test_the_template_writes_the_same_text_and_tokens(case: str) -> None:
    t, pieces = Tokenizer.read(nano.path()), written(CASES[case])
    calls = [{"function": {"name": n, "arguments": a}} for n, a in CASES[case]]
    talk = [*ASK, {"role": "assistant", "content": None, "tool_calls": calls}]
    assert render_text(talk, TOOLS, add_generation_prompt=False).endswith("".join(pieces))
    rendered = render(talk, TOOLS, tokenizer=t, add_generation_prompt=False)
    assert rendered.tokens[len(render(ASK, TOOLS, tokenizer=t).tokens) :] == tokens_of(pieces, t)


def test_what_is_not_as_declared_is_refused() -> None:
    with (
        serving([written([("add", {"a": "x", "b": 1})])], is_held=True) as url,
        OpenAI(base_url=url, api_key="none", max_retries=0) as client,
        pytest.raises(InternalServerError, match="the grammar refuses"),
    ):
        client.chat.completions.create(model="gold", messages=ASK, tools=TOOLS[:2], seed=1)
