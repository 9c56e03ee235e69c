"""Requests that no client should send: sound ones of every route, spoilt."""

from __future__ import annotations

import copy
import json
import random
import re
from collections.abc import Iterator
from typing import Any

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
ASK = {"messages": CHAT["messages"], "tools": [TOOL]}
# every route that is asked something: method, path, a sound body. {id} is filled in
SOUND: list[tuple[str, str, Any]] = [
    ("POST", "/v1/chat/completions", CHAT),
    ("POST", "/v1/completions", COMPLETION),
    ("POST", "/v1/messages", MESSAGES),
    ("POST", "/v1/messages/count_tokens", MESSAGES),
    ("POST", "/v1/responses", RESPONSES),
    ("GET", "/v1/responses/{id}", None),
    ("DELETE", "/v1/responses/{id}", None),
    ("GET", "/v1/sessions", None),
    ("POST", "/v1/sessions/{id}/fork", {"to": "b"}),
    ("POST", "/v1/sessions/{id}/park", {}),
    ("DELETE", "/v1/sessions/{id}", None),
    ("GET", "/v1/streams/{id}", None),
    ("POST", "/v1/cache/explain", {"prompts": [ASK, {"prompt": [1, 2]}]}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/{name:path}", None),
    ("GET", "/v1/usage", None),
    ("POST", "/v1/requests/{id}/cancel", {}),
    ("POST", "/tokenize", ASK),
    ("POST", "/detokenize", {"tokens": [1, 2]}),
    ("POST", "/render", CHAT),
    ("GET", "/openapi.json", None),
    ("GET", "/metrics", None),
    ("GET", "/version", None),
    ("GET", "/health", None),
    ("GET", "/ready", None),
]
# those that run the model, which are asked most
ANSWERED = [one for one in SOUND if one[1].startswith(("/v1/c", "/v1/m")) and one[2]]
ANSWERED += [one for one in SOUND if one[1] == "/v1/responses"]
JUNK: list[Any] = [None, 0, -1, 1.5, True, "", "x", "\0", "é😀", [], {}, [[]], [None], {"a": None}]
JUNK += [10**18, 10**30, "a" * 2000, {"type": "function"}, {"function": None}, {"$ref": "#"}]
JUNK += [["x"], [1, "a"], "<|role_end|>", {"type": [1]}, {"name": 5}]
IDS = ["a", "s.1", "resp-0", "chatcmpl-0", "x" * 300, "%00", "..%2f..", "%ff", "é", "{}", "-1", "0"]
HEADERS = {
    "content-type": ["text/plain", "application/json; charset=utf-16", ""],
    "content-encoding": ["gzip", "br", "x"],
    "accept": ["text/event-stream", "*/*;q=x"],
    "x-flashling-session": ["s.1", "a b", "", "x" * 200],
    "x-flashling-resumable": ["1", "yes"],
    "x-request-id": ["a", "a b", "x" * 99],
    "last-event-id": ["-1", "0", "99999999999", "x"],
    "x-request-deadline": ["60", "0", "-1", "nan", "1e9"],
    "anthropic-version": ["2023-06-01", "x"],
    "range": ["bytes=0-1"],
    "expect": ["100-continue"],
    "origin": ["null", "http://example.org"],
}


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
        ways = [p for p in places(value) if p]
        if not ways:
            return {"x": copy.deepcopy(dice.choice(JUNK))}
        *way, last = dice.choice(ways)
        at = value
        for key in way:
            at = at[key]
        if dice.random() < 0.7:
            at[last] = copy.deepcopy(dice.choice(JUNK))
        else:
            del at[last]
    return value


def bruised(text: bytes, dice: random.Random) -> bytes:
    """The bytes of a body with a part lost, doubled or replaced."""
    at = dice.randrange(len(text) + 1)
    end = min(len(text), at + dice.choice([1, 3, 40]))
    parts = [b"", text[at:end] * 2, b"NaN", b"\xff\xfe", b'"\\ud800"', b"[" * 3000, b"1e999", b"\0"]
    return text[:at] + dice.choice(parts) + text[end:]


def rough(dice: random.Random) -> tuple[str, str, bytes | None, dict[str, str]]:
    """Method, path, body and headers of a request that is nearly sound."""
    method, path, sound = dice.choice(ANSWERED if dice.random() < 0.7 else SOUND)
    path = re.sub(r"\{.*?\}", lambda _: dice.choice(IDS), path)
    body = None
    if sound is not None:
        body = json.dumps(spoilt(sound, dice)).encode()
        body = bruised(body, dice) if dice.random() < 0.1 else body
    if dice.random() < 0.02:
        method = dice.choice(["GET", "PUT", "PATCH", "OPTIONS", "HEAD", "TRACE"])
    names = dice.sample(sorted(HEADERS), dice.choice([0, 0, 0, 1, 2]))
    return method, path, body, {name: dice.choice(HEADERS[name]) for name in names}
