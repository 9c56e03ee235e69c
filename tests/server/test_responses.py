"""What the openai SDK gets of the responses API, and the order of its events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from .conftest import KEYS, Served

ADD: Any = {
    "type": "function",
    "name": "add",
    "description": "Add two numbers.",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
        "additionalProperties": False,
    },
    "strict": True,
}
OTHERS: Any = [
    {"type": "web_search", "external_web_access": False},
    {"type": "namespace", "name": "mcp", "tools": [ADD]},
    {"type": "custom", "name": "apply_patch", "format": {"type": "grammar"}},
]


@pytest.fixture(scope="module")
def ann(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=served.url + "/v1", api_key=KEYS["ann"], max_retries=0) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("responses", {"input": "hi", "max_output_tokens": 90}),
        ("messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 90}),
    ],
)
def test_an_answer_as_long_as_asked(served: Served, path: str, asked: dict[str, Any]) -> None:
    with served.client() as ann:
        usual = ann.post(f"/v1/{path}", json=asked).json()["usage"]["output_tokens"]
        asked = {**asked, "ignore_eos": True, "priority": 1}
        long = ann.post(f"/v1/{path}", json=asked).json()["usage"]["output_tokens"]
        assert usual < long == 90
        refused = ann.post(f"/v1/{path}", json={**asked, "priority": 101})
        assert refused.status_code == 400 and "priority" in refused.json()["error"]["message"]


def test_text_as_a_whole_and_as_a_stream(ann: OpenAI) -> None:
    asked: Any = {"model": "m", "input": "list the files in src", "temperature": 0}
    whole = ann.responses.create(**asked, instructions="Reply briefly.")
    assert whole.status == "completed" and whole.output_text and whole.usage
    with ann.responses.stream(**asked, instructions="Reply briefly.") as stream:
        events = list(stream)
        last = stream.get_final_response()
    assert last.output_text == whole.output_text
    assert last.usage and last.usage.output_tokens == whole.usage.output_tokens
    assert last.usage.input_tokens_details.cached_tokens == whole.usage.input_tokens - 1
    kinds = [e.type.removeprefix("response.") for e in events]
    middle = [k for k in kinds if k != "output_text.delta"]
    assert middle == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [e.sequence_number for e in events] == list(range(len(events)))


def test_a_turn_with_a_tool_as_an_agent_takes_it(ann: OpenAI) -> None:
    history: list[Any] = [
        {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "x"}]},
        {"role": "user", "content": [{"type": "input_text", "text": "what is 3 plus 4?"}]},
    ]
    asked: Any = {
        "model": "m",
        "instructions": "You are an agent.",
        "tools": [ADD, *OTHERS],
        "store": False,
        "parallel_tool_calls": False,
        "reasoning": {"effort": "none"},
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "k",
        "temperature": 0,
        "extra_body": {"client_metadata": {"a": "b"}},
    }
    with ann.responses.stream(input=history, tool_choice="required", **asked) as stream:
        events = list(stream)
        first = stream.get_final_response()
    (call,) = first.output
    assert call.type == "function_call" and call.name == "add" and call.status == "completed"
    given = json.loads(call.arguments)
    assert {type(v) for v in given.values()} == {int} and set(given) == {"a", "b"}
    deltas = [e.delta for e in events if e.type == "response.function_call_arguments.delta"]
    assert "".join(deltas) == call.arguments
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "7"}
    unknown = {"type": "web_search_call", "id": "ws", "status": "completed"}
    history += [call.model_dump(exclude_none=True), unknown, result]
    second = ann.responses.create(input=history, **asked)
    assert second.output and second.usage and first.usage
    # the turn before is where this one goes on from
    cached = second.usage.input_tokens_details.cached_tokens
    assert cached >= first.usage.input_tokens


def test_a_named_tool_and_a_schema(ann: OpenAI) -> None:
    called = ann.responses.create(
        model="m", input="3 plus 4", tools=[ADD], tool_choice={"type": "function", "name": "add"}
    )
    assert called.output[0].type == "function_call"
    schema = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
    form: Any = {"format": {"type": "json_schema", "name": "x", "schema": schema, "strict": True}}
    told = ann.responses.create(model="m", input="hi", text=form, temperature=0)
    assert type(json.loads(told.output_text)["ok"]) is bool


def test_an_answer_that_is_cut_off(ann: OpenAI) -> None:
    cut = ann.responses.create(
        model="m", input="hi", max_output_tokens=3, tools=[ADD], tool_choice="required"
    )
    assert cut.status == "incomplete"
    assert cut.incomplete_details and cut.incomplete_details.reason == "max_output_tokens"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"input": []}, "no message"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input_image"),
        ({"input": [{"role": "king", "content": "x"}]}, "king"),
        ({"input": [{"type": "function_call"}]}, "function with a name"),
        ({"input": "x", "text": {"format": {"type": "xml"}}}, "xml"),
        ({"input": "x", "tools": [{"type": "function"}]}, "function with a name"),
    ],
)
def test_bad_input_is_named(ann: OpenAI, given: Any, said: str) -> None:
    with pytest.raises(openai.BadRequestError, match=said):
        ann.responses.create(model="m", **given)
