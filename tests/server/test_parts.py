"""The server's parts by themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flashling.engine.request import Overloaded
from flashling.llm import Answer, CallArgs, CallEnd, CallStart, Reasoning, Text, Usage
from flashling.server.asked import thinking
from flashling.server.choice import Choice
from flashling.server.errors import FAILED, body_of, refusal
from flashling.server.metrics import Histogram
from flashling.server.said import messages_of
from flashling.server.usage import Ledger
from flashling.server.wire import Chat, Said, decode


def test_calls_have_indexes_and_ids_of_their_own() -> None:
    choice = Choice()
    events = [
        Reasoning("hm"),
        Text("so"),
        CallStart(0, "a"),
        CallArgs(0, '{"x"'),
        CallArgs(0, ": 1}"),
        CallEnd(0, "a", {"x": 1}, ""),
        # one that never had a name takes no index
        CallEnd(1, None, None, "nonsense"),
        CallStart(2, "b"),
        CallArgs(2, "{}"),
        CallEnd(2, "b", {}, ""),
    ]
    deltas = choice.take(events)
    calls = [d["tool_calls"][0] for d in deltas if "tool_calls" in d]
    assert [c["index"] for c in calls] == [0, 0, 0, 1, 1]
    heads = [c for c in calls if "id" in c]
    assert [c["function"]["name"] for c in heads] == ["a", "b"]
    assert len({c["id"] for c in heads}) == 2
    message = choice.message()
    assert [c["function"]["arguments"] for c in message["tool_calls"]] == ['{"x": 1}', "{}"]
    # the deltas that were sent first are not changed by what came later
    assert heads[0]["function"]["arguments"] == ""
    assert message["content"] == "so" and message["reasoning_content"] == "hm"
    for finish, shown in [("length", []), ("stop", [{"content": "nonsense"}])]:
        other = Choice()
        other.take(events)
        assert other.take([ended(finish)]) == shown
        # one of its calls was broken: the client must not take them for all
        assert other.finish == finish
    whole = Choice()
    whole.take([*events[2:6], ended("stop")])
    assert whole.finish == "tool_calls"


def ended(finish: str) -> Answer:
    return Answer("", "", [], [], [], [], finish, Usage(1, 0, 1, 0.0, 0.0))


def said(*messages: Any) -> list[dict[str, Any]]:
    return messages_of(decode(json.dumps({"messages": messages}).encode(), Chat).messages)


def call(*ids: str) -> dict[str, Any]:
    calls = [{"id": i, "function": {"name": "f", "arguments": ""}} for i in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def result(id: str | None, text: str) -> dict[str, Any]:
    return {"role": "tool", "content": text, **({"tool_call_id": id} if id else {})}


def test_results_stand_behind_their_calls() -> None:
    user = {"role": "user", "content": "u"}
    found = said(call("1", "2"), user, result("2", "two"), user, result("1", "one"))
    assert [(m["role"], m["content"]) for m in found[1:3]] == [("tool", "two"), ("tool", "one")]
    assert [m["role"] for m in found[3:]] == ["user", "user"]
    assert found[0]["tool_calls"][0]["function"]["arguments"] == "{}"
    # without an id, or with a foreign one, a result belongs where it stands
    for id in (None, "other"):
        assert [m["role"] for m in said(call("1"), result(id, "x"))] == ["assistant", "tool"]
    orphan = said(user, result("9", "x"))[1]
    assert orphan["role"] == "user" and "<tool_response>\nx\n" in orphan["content"]
    with pytest.raises(Exception, match=r"messages\[0\]"):
        messages_of([Said("assistant", tool_calls=[{"function": {}}])])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "high"}, True),
        ({"chat_template_kwargs": {"enable_thinking": False}, "reasoning_effort": "high"}, False),
        ({"chat_template_kwargs": {"thinking": True, "other": 1}}, True),
    ],
)
def test_ways_to_switch_thinking(given: dict[str, Any], expected: bool | None) -> None:
    body = {"messages": [{"role": "user"}], **given}
    assert thinking(decode(json.dumps(body).encode(), Chat)) is expected


def test_errors_tell_no_internals(caplog: pytest.LogCaptureFixture) -> None:
    told = body_of(refusal(RuntimeError("at 0x7f00 in /secret/path")))
    assert told["error"]["message"] == FAILED and "secret" not in json.dumps(told)
    assert "secret" in caplog.text
    full = refusal(Overloaded("3 requests are waiting", 1.3))
    assert full.status == 429 and full.retry_after == 1.3
    assert body_of(full, is_anthropic=True)["error"]["type"] == "rate_limit_error"


def test_a_histogram_counts_up() -> None:
    h = Histogram((0.1, 1.0))
    for value in (0.1, 0.5, 7.0):
        h.add(value)
    assert list(h.lines("t"))[:3] == [
        't_bucket{le="0.1"} 1',
        't_bucket{le="1.0"} 2',
        't_bucket{le="+Inf"} 3',
    ]


def test_a_ledger_goes_on_after_a_broken_line(tmp_path: Path) -> None:
    line = {
        "flashling.key": "ann",
        "gen_ai.usage.input_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 2,
        "gen_ai.usage.output_tokens": 3,
        "gen_ai.client.operation.duration": 0.5,
    }
    text = json.dumps(line)
    (tmp_path / "usage-2026-01-01.jsonl").write_text(f"{text}\n{text[:30]}\n{text}\n")
    sums = Ledger(tmp_path).of("ann")
    assert sums == {
        "calls": 2,
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 6,
        "seconds": 1.0,
    }
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ValueError, match="no ledger can be kept in"):
        Ledger(file)
