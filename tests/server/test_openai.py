"""What the openai SDK gets from a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

from .conftest import KEYS, Served

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Add two numbers.",
        "parameters": {
            "type": "object",
            "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
            "required": ["a", "b"],
            "additionalProperties": False,
        },
        "strict": True,
    },
}
TIME = {"type": "function", "function": {"name": "current_time"}}
ASK: list[Any] = [{"role": "user", "content": "list the files in src"}]
SUM: list[Any] = [{"role": "user", "content": "what is 3 plus 4?"}]
MODEL = "embedded"


@pytest.fixture(scope="session")
def ann(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=served.url + "/v1", api_key=KEYS["ann"], max_retries=0) as client:
        yield client


def count(a: int, b: int) -> None:
    """The declared types of ADD."""
    assert type(a) is int and type(b) is int


def test_an_answer_and_its_stream_say_the_same(ann: OpenAI) -> None:
    whole = ann.chat.completions.create(model=MODEL, messages=ASK, temperature=0)
    said = whole.choices[0].message.content
    assert said and whole.choices[0].finish_reason == "stop"
    chunks = list(
        ann.chat.completions.create(
            model=MODEL,
            messages=ASK,
            temperature=0,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    last = chunks[-1]
    assert whole.usage and last.usage and not last.choices
    assert last.usage.completion_tokens == whole.usage.completion_tokens
    # the prompt was read a moment ago
    assert last.usage.prompt_tokens_details
    assert last.usage.prompt_tokens_details.cached_tokens == whole.usage.prompt_tokens - 1


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "add"}}], ids=["any", "named"]
)
def test_a_call_has_arguments_under_its_schema(ann: OpenAI, choice: Any) -> None:
    answer = ann.chat.completions.create(
        model=MODEL, messages=SUM, tools=[ADD, TIME] if choice != "required" else [ADD],
        tool_choice=choice, temperature=0,
    )  # fmt: skip
    assert answer.choices[0].finish_reason == "tool_calls"
    calls = answer.choices[0].message.tool_calls
    assert calls and calls[0].type == "function" and calls[0].function.name == "add"
    count(**json.loads(calls[0].function.arguments))
    again: list[Any] = [
        *SUM,
        answer.choices[0].message,
        {"role": "tool", "tool_call_id": calls[0].id, "content": [{"type": "text", "text": "7"}]},
    ]
    done = ann.chat.completions.create(model=MODEL, messages=again, tools=[ADD], temperature=0)
    assert done.choices[0].message.content


def test_the_sdk_reads_calls_from_a_stream(ann: OpenAI) -> None:
    with ann.chat.completions.stream(
        model=MODEL, messages=SUM, tools=[ADD], tool_choice="required", temperature=0
    ) as stream:
        events = list(stream)
        answer = stream.get_final_completion()
    calls = answer.choices[0].message.tool_calls
    assert calls
    count(**json.loads(calls[0].function.arguments))
    pieces = [e.arguments_delta for e in events if e.type.endswith("arguments.delta")]
    assert len(pieces) > 1 and "".join(pieces) == calls[0].function.arguments


def test_no_choice_means_no_call(ann: OpenAI) -> None:
    answer = ann.chat.completions.create(
        model=MODEL, messages=SUM, tools=[ADD], tool_choice="none", max_tokens=32, temperature=0
    )
    assert not answer.choices[0].message.tool_calls


def test_a_call_that_is_cut_off_says_length(ann: OpenAI) -> None:
    answer = ann.chat.completions.create(
        model=MODEL, messages=SUM, tools=[ADD], tool_choice="required", max_tokens=12
    )
    assert answer.choices[0].finish_reason == "length"


def test_json_under_a_schema(ann: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}, "kind": {"enum": ["file", "folder"]}},
        "required": ["ok", "kind"],
        "additionalProperties": False,
    }
    form: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    for more in ({}, {"tools": [ADD]}):
        answer = ann.chat.completions.create(
            model=MODEL, messages=ASK, response_format=form, temperature=0, **more
        )
        message = answer.choices[0].message
        if message.tool_calls:
            count(**json.loads(message.tool_calls[0].function.arguments))
            continue
        found = json.loads(message.content or "")
        assert type(found["ok"]) is bool and found["kind"] in ("file", "folder")
    answer = ann.chat.completions.create(
        model=MODEL, messages=ASK, response_format={"type": "json_object"}, max_tokens=400
    )
    if answer.choices[0].finish_reason == "stop":
        assert isinstance(json.loads(answer.choices[0].message.content or ""), dict)


def test_samples_stops_seeds_and_logprobs(ann: OpenAI) -> None:
    def ask(**more: Any) -> Any:
        return ann.chat.completions.create(model=MODEL, messages=ASK, max_tokens=24, **more)

    whole = ask(temperature=0, logprobs=True, top_logprobs=3)
    text = whole.choices[0].message.content
    tokens = whole.choices[0].logprobs.content
    assert "".join(t.token for t in tokens) == text
    assert all(len(t.top_logprobs) == 3 and t.top_logprobs[0].token == t.token for t in tokens)
    cut = ask(temperature=0, stop=[text[1:3]])
    assert cut.choices[0].message.content == text[:1]
    assert cut.choices[0].finish_reason == "stop"
    hot = [ask(temperature=3, seed=7, n=3) for _ in range(2)]
    said = [[c.message.content for c in answer.choices] for answer in hot]
    assert said[0] == said[1] and len(set(said[0])) == 3
    assert hot[0].usage.completion_tokens > 24


def test_completions(ann: OpenAI) -> None:
    whole = ann.completions.create(
        model=MODEL, prompt=["git ", "ls "], max_tokens=4, temperature=0, logprobs=1, n=2
    )
    assert [c.index for c in whole.choices] == [0, 1, 2, 3]
    assert whole.choices[0].text == whole.choices[1].text
    chunks = ann.completions.create(
        model=MODEL, prompt="git ", max_tokens=4, temperature=0, stream=True
    )
    assert "".join(c.choices[0].text for c in chunks) == whole.choices[0].text


def test_odd_conversations_are_borne(ann: OpenAI) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1, '}}
    messages: list[Any] = [
        {"role": "developer", "content": [{"type": "text", "text": "Be brief."}]},
        {"role": "system", "content": "Two of them."},
        {"role": "tool", "tool_call_id": "lost", "content": "a result of no call"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "user", "content": [{"type": "text", "text": "wait"}]},
        {"role": "tool", "tool_call_id": "c1", "name": "add", "content": "late"},
        {
            "role": "assistant",
            "content": [{"type": "text", "text": "ok"}],
            "reasoning_content": "r",
        },
        {"role": "user", "content": "list the files in src"},
    ]
    answer = ann.chat.completions.create(
        model="gpt-9",
        messages=messages,
        tools=[TIME, {"type": "web_search"}, {"type": "namespace", "x": 1}],  # type: ignore
        max_completion_tokens=8,
        reasoning_effort="low",
        store=False,
        extra_body={"client_metadata": {"a": [1]}, "prompt_cache_key": "x"},
    )
    assert answer.usage and answer.usage.completion_tokens <= 8


def test_the_models(ann: OpenAI) -> None:
    assert [m.id for m in ann.models.list()] == ["embedded", "gpt-4.1", "org/model"]
    for name in ("embedded", "org/model"):
        found = ann.models.retrieve(name)
        assert found.id == name and found.root == "embedded"  # type: ignore[attr-defined]
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-9'"):
        ann.models.retrieve("gpt-9")


def test_the_ledger_is_what_the_client_was_told(served: Served) -> None:
    told = {"calls": 0, "input_tokens": 0, "cached_tokens": 0, "output_tokens": 0}
    with OpenAI(base_url=served.url + "/v1", api_key=KEYS["bob"], max_retries=0) as bob:
        with served.client("bob") as client:
            before = client.get("/v1/usage").json()
        for text in ("one", "one", "two"):
            usage = bob.chat.completions.create(
                model="mine", messages=[{"role": "user", "content": text}], max_tokens=8
            ).usage
            assert usage and usage.prompt_tokens_details
            told["calls"] += 1
            told["input_tokens"] += usage.prompt_tokens
            told["cached_tokens"] += usage.prompt_tokens_details.cached_tokens or 0
            told["output_tokens"] += usage.completion_tokens
    with served.client("bob") as client:
        after = client.get("/v1/usage").json()
    assert after["key"] == "bob"
    assert {name: after[name] - before[name] for name in told} == told
    assert told["cached_tokens"] > 0
    lines = [json.loads(x) for f in served.ledger.iterdir() for x in f.read_text().splitlines()]
    own = [x for x in lines if x["flashling.key"] == "bob"][-3:]
    assert sum(x["gen_ai.usage.output_tokens"] for x in own) == told["output_tokens"]
    assert {x["gen_ai.request.model"] for x in own} == {"mine"}


def test_keys_do_not_see_what_others_asked(served: Served) -> None:
    ask = {"messages": [{"role": "user", "content": "a secret of mine"}], "max_tokens": 2}
    cached = []
    for name in ("ann", "ann", "bob"):
        with served.client(name) as client:
            told = client.post("/v1/chat/completions", json=ask).json()["usage"]
            cached.append(told["prompt_tokens_details"]["cached_tokens"])
    assert cached[0] < cached[1] and cached[2] <= cached[0]


LONG: dict[str, Any] = {"model": MODEL, "max_tokens": 4000, "extra_body": {"ignore_eos": True}}


def running(served: Served) -> float:
    """What runs, after a while in which it may come to nothing."""
    for _ in range(40):
        found = served.gauge("requests_running") + served.gauge("requests_open")
        if not found:
            return 0
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("is_stream", [True, False])
def test_who_leaves_stops_what_runs(served: Served, ann: OpenAI, is_stream: bool) -> None:
    if is_stream:
        with ann.chat.completions.create(messages=ASK, stream=True, **LONG) as stream:
            for _, _ in zip(range(5), stream, strict=False):
                pass
    else:
        with pytest.raises(openai.APITimeoutError):
            ann.with_options(timeout=0.3).chat.completions.create(messages=ASK, **LONG)
    assert running(served) == 0


def test_cancelling_by_id(served: Served, ann: OpenAI) -> None:
    stream = ann.chat.completions.create(
        messages=ASK, stream=True, extra_headers={"x-request-id": "my-own-id"}, **LONG
    )
    with served.client("bob") as other:
        next(iter(stream))
        assert other.post("/v1/requests/my-own-id/cancel").status_code == 404
    finishes: list[str | None] = []
    reader = threading.Thread(
        target=lambda: finishes.extend(c.choices[0].finish_reason for c in stream)  # type: ignore
    )
    reader.start()
    with served.client() as client:
        assert client.post("/v1/requests/my-own-id/cancel").json()["cancelled"]
        reader.join(10)
        assert finishes[-1] == "abort"
        assert client.post("/v1/requests/my-own-id/cancel").status_code == 404
    assert running(served) == 0
