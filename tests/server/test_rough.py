"""Requests that no client should send, and clients that leave at any time."""

from __future__ import annotations

import asyncio
import copy
import json
import random
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from .conftest import KEYS, Served

TOOL = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
CALL = {"id": "c", "type": "function", "function": {"name": "add", "arguments": "{}"}}
SCHEMA = {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"tools": [TOOL]}}
CHAT = {
    "messages": [
        {"role": "user", "content": [{"type": "text", "text": "hi"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c", "content": "7"},
    ],
    "tools": [TOOL],
    "tool_choice": ALLOWED,
    "max_tokens": 3,
    "n": 1,
    "stop": ["x"],
    "logit_bias": {"5": 1},
    "stream": True,
    "stream_options": {"include_usage": True},
    "response_format": SCHEMA,
    "logprobs": True,
    "top_logprobs": 2,
    "chat_template_kwargs": {"enable_thinking": True},
}
MESSAGES = {
    "max_tokens": 3,
    "system": [{"type": "text", "text": "s"}],
    "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "add"}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "x"}]},
    ],
    "tools": [{"name": "add", "input_schema": {"type": "object"}}],
    "tool_choice": {"type": "tool", "name": "add"},
    "stop_sequences": ["q"],
    "stream": True,
}
RESPONSES = {
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "hi"}]},
        {"type": "function_call", "call_id": "c", "name": "add", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "7"},
    ],
    "tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}}],
    "max_output_tokens": 3,
    "text": {"format": {"type": "json_schema", "schema": {"type": "object"}}},
    "stream": True,
}
COMPLETION = {"prompt": ["a", [1, 2]], "max_tokens": 2, "n": 2, "logprobs": 1, "echo": True}
SOUND = [
    ("/v1/chat/completions", CHAT),
    ("/v1/completions", COMPLETION),
    ("/v1/messages", MESSAGES),
    ("/v1/messages/count_tokens", MESSAGES),
    ("/v1/responses", RESPONSES),
    ("/tokenize", {"messages": CHAT["messages"], "tools": [TOOL]}),
    ("/detokenize", {"tokens": [1, 2]}),
]
JUNK: list[Any] = [None, 0, -1, 1.5, True, "", "x", "\0", "é😀", [], {}, [[]], [None], {"a": None}]
JUNK += [10**18, 10**30, "a" * 2000, {"type": "function"}, {"function": None}, {"$ref": "#"}]
JUNK += [["x"], [1, "a"], "<|role_end|>", {"type": [1]}, {"name": 5}]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all values inside."""
    yield path
    inner = value if isinstance(value, list) else []
    for key, item in value.items() if isinstance(value, dict) else enumerate(inner):
        yield from places(item, (*path, key))


def spoilt(value: Any, dice: random.Random) -> Any:
    """The same with one to three things changed."""
    value = copy.deepcopy(value)
    for _ in range(dice.choice([1, 1, 2, 3])):
        *way, last = dice.choice([p for p in places(value) if p] or [("x",)])
        at = value
        for key in way:
            at = at[key]
        if dice.random() < 0.7 or not at:
            at[last] = copy.deepcopy(dice.choice(JUNK))
        else:
            del at[last]
    return value


@pytest.mark.parametrize("count", [200, pytest.param(20_000, marks=pytest.mark.soak)])
def test_no_request_makes_it_fail(served: Served, count: int) -> None:
    dice, statuses = random.Random(count), set()
    with served.client() as client:
        for _ in range(count):
            path, sound = dice.choice(SOUND)
            body = spoilt(sound, dice)
            answer = client.post(path, content=json.dumps(body))
            statuses.add(answer.status_code)
            assert answer.status_code in (200, 400), (path, body, answer.text)
            assert "server_error" not in answer.text, (path, body, answer.text)
    assert statuses == {200, 400}


@pytest.mark.parametrize("count", [60, pytest.param(1000, marks=pytest.mark.soak)])
def test_clients_that_leave_at_any_time(served: Served, count: int) -> None:
    dice = random.Random(count)
    headers = {"authorization": f"Bearer {KEYS['ann']}"}
    most = {"max_tokens": 3000, "max_output_tokens": 3000, "ignore_eos": True}

    async def one(gate: asyncio.Semaphore) -> None:
        path, sound = dice.choice([SOUND[0], SOUND[2], SOUND[4]])
        body = {**sound, **most, "n": dice.choice([1, 3]), "stream": dice.random() < 0.7}
        async with gate, httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            try:
                async with (
                    asyncio.timeout(dice.choice([0.001, 0.02, 0.1, 0.4])),
                    client.stream("POST", path, json=body) as answer,
                ):
                    async for _ in answer.aiter_bytes():
                        pass
            except (TimeoutError, httpx.HTTPError):
                pass

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(16)
        await asyncio.gather(*(one(gate) for _ in range(count)))

    asyncio.run(all_of_them())
    deadline = time.monotonic() + 2
    names = ("requests_running", "requests_waiting", "requests_open")
    while left := sum(served.gauge(name) for name in names):
        assert time.monotonic() < deadline, left
