"""Tool calls, reasoning and text: the same however the tokens fall, and nothing lost."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashling.text.template import render
from flashling.text.tokenizer import Tokenizer
from flashling.text.toolcalls import (
    CallArgs,
    CallEnd,
    CallStart,
    Event,
    Message,
    Parser,
    Reasoning,
    Text,
    parse,
)

QUICK = settings(max_examples=80, deadline=None)
MARKS = ("<tool_call>", "</tool_call>", "<think>", "</think>", "<|role_end|>")
SOME = [*'ab{}[]":,\\ \n\t<>/你🎉', *MARKS]
LETTERS = st.lists(st.sampled_from(SOME), max_size=10).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 10**12) | st.floats(-1e6, 1e6) | LETTERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(LETTERS, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.fixed_dictionaries(
    {
        "name": LETTERS.filter(bool),
        "arguments": st.dictionaries(LETTERS, VALUES, max_size=3)
        | st.dictionaries(LETTERS, VALUES, max_size=3).map(json.dumps),
    }
)


def tokens_of(tokenizer: Tokenizer, text: str, width: int = 0) -> list[int]:
    """Ids of a text in which "@<tool_call>" is the token and "<tool_call>" is text; encoded
    `width` characters at a time.
    """
    ids: list[int] = []
    while text:
        mark = next((m for m in MARKS if text.startswith("@" + m)), None)
        if mark:
            ids.append(tokenizer.id(mark))
            text = text[len(mark) + 1 :]
            continue
        end = text.find("@", 1) if "@" in text[1:] else len(text)
        stretch, text = text[:end], text[end:]
        step = width or len(stretch)
        for i in range(0, len(stretch), step):
            ids += tokenizer.encode(stretch[i : i + step])
    return ids


def said(tokenizer: Tokenizer, message: dict[str, Any]) -> list[int]:
    """The tokens of an assistant message alone."""
    chat = [{"role": "user", "content": "q"}, {"role": "assistant", **message}]
    out = render(chat, tokenizer=tokenizer, add_generation_prompt=False)
    return [t for t, m in zip(out.tokens, out.mask, strict=True) if m]


def bytewise(tokenizer: Tokenizer, ids: list[int]) -> list[int]:
    """The same in tokens of a byte each."""
    single = {tokenizer.bytes_of(i): i for i in range(300) if not tokenizer.is_special(i)}
    out: list[int] = []
    for t in ids:
        parts = [single[bytes([b])] for b in tokenizer.bytes_of(t)]
        out += [t] if tokenizer.is_special(t) else parts
    return out


def as_message(found: Message) -> dict[str, Any]:
    return {"content": found.content, "reasoning": found.reasoning, "tool_calls": found.calls}


def events_of(tokenizer: Tokenizer, ids: list[int]) -> list[Event]:
    parser = Parser(tokenizer)
    return [*(e for i in ids for e in parser.push(i)), *parser.close()]


def joined(events: list[Event]) -> list[Event]:
    """Neighbouring stretches of one kind as one."""
    out: list[Event] = []
    for e in events:
        last = out[-1] if out else None
        if isinstance(e, Text) and isinstance(last, Text):
            out[-1] = Text(last.text + e.text)
        elif isinstance(e, Reasoning) and isinstance(last, Reasoning):
            out[-1] = Reasoning(last.text + e.text)
        elif isinstance(e, CallArgs) and isinstance(last, CallArgs) and e.index == last.index:
            out[-1] = CallArgs(e.index, last.text + e.text)
        else:
            out.append(e)
    return out


TWO = """\
@<think>
Two cities.
@</think>

Looking, 好🎉.
@<tool_call>
{"name": "get_time", "arguments": {"zone": "Europe/Oslo \\"}, {"}}
@</tool_call>
@<tool_call>
{"arguments": {"a": [1, {"b": null}], "": "é"} , "name": "find"}
@</tool_call>@<|role_end|>"""


def test_events_in_order(tokenizer: Tokenizer) -> None:
    first, second = {"zone": 'Europe/Oslo "}, {'}, {"a": [1, {"b": None}], "": "é"}
    raws = [s.split("@</tool_call>")[0] for s in TWO.split("@<tool_call>")[1:]]
    want = [
        Reasoning("Two cities."),
        Text("Looking, 好🎉."),
        CallStart(0, "get_time"),
        CallArgs(0, '{"zone": "Europe/Oslo \\"}, {"}'),
        CallEnd(0, "get_time", first, raws[0]),
        CallStart(1, "find"),
        CallArgs(1, '{"a": [1, {"b": null}], "": "é"}'),
        CallEnd(1, "find", second, raws[1]),
    ]
    for width in (0, 1, 2, 3, 7):
        assert joined(events_of(tokenizer, tokens_of(tokenizer, TWO, width))) == want


def test_every_split(tokenizer: Tokenizer) -> None:
    whole = parse(tokens_of(tokenizer, TWO), tokenizer)
    assert [c["function"]["name"] for c in whole.calls] == ["get_time", "find"]
    for k in range(1, len(TWO)):
        if any(TWO[max(k - len(m), 0) : k + len(m)].find("@" + m) >= 0 for m in MARKS):
            continue
        # the same text in tokens that do not cross the place k
        ids = tokens_of(tokenizer, TWO[:k]) + tokens_of(tokenizer, TWO[k:])
        assert parse(ids, tokenizer) == whole


def test_every_truncation(tokenizer: Tokenizer) -> None:
    ids = tokens_of(tokenizer, TWO)
    whole = parse(ids, tokenizer)
    for k in range(len(ids)):
        part = parse(ids[:k], tokenizer)
        assert whole.reasoning.startswith(part.reasoning)
        assert whole.content.startswith(part.content.removesuffix("\n").rstrip("\ufffd"))
        assert part.calls == whole.calls[: len(part.calls)]
        opened = ids[:k].count(tokenizer.id("<tool_call>"))
        assert len(part.calls) + len(part.broken) == opened
        last = [e for e in events_of(tokenizer, ids[:k]) if isinstance(e, CallEnd)][-1:]
        assert all(e.is_finished == (not part.broken) for e in last)


@QUICK
@given(content=LETTERS, reasoning=LETTERS, calls=st.lists(CALLS, max_size=3))
def test_nothing_is_lost(
    tokenizer: Tokenizer, content: str, reasoning: str, calls: list[dict]
) -> None:
    wanted = [{"type": "function", "function": c} for c in calls]
    message = {"content": content, "reasoning": reasoning, "tool_calls": wanted}
    ids = said(tokenizer, message)
    found = parse(ids, tokenizer)
    assert (found.content, found.reasoning, found.broken) == (content, reasoning, [])
    assert said(tokenizer, as_message(found)) == ids
    for call, given_call in zip(found.calls, calls, strict=True):
        arguments = given_call["arguments"]
        want = json.loads(arguments) if isinstance(arguments, str) else arguments
        assert json.loads(call["function"]["arguments"]) == want
    again = events_of(tokenizer, bytewise(tokenizer, ids))
    assert joined(again) == joined(events_of(tokenizer, ids))


@QUICK
@given(st.data())
def test_any_tokens_parse(tokenizer: Tokenizer, data: st.DataObject) -> None:
    marks = [tokenizer.id(m) for m in MARKS[:4]]
    texts = ['{"name": "f", "arguments": {}}', '"', "{", "\n", "x", "\\", "name", " "]
    some = st.sampled_from([[m] for m in marks] + [tokenizer.encode(t) for t in texts])
    ids = [i for part in data.draw(st.lists(some, max_size=20)) for i in part]
    found = parse(ids, tokenizer)
    assert len(found.calls) + len(found.broken) == ids.count(tokenizer.id("<tool_call>"))
    for call in found.calls:
        assert isinstance(json.loads(call["function"]["arguments"]), dict)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "nothing",
        '{"name": "f", "arguments": {"a": 1}',
        '{"name": "f", "arguments": {"a": }}',
        '{"name": "f", "arguments": [1]}',
        '{"name": "f", "arguments": "{}"}',
        '{"name": 3, "arguments": {}}',
        '{"arguments": {}}',
        '{"name": "f", "name": "g", "arguments": {}}',
        '{"name": "f", "arguments": {"a": NaN}}',
        '{"name": "f", "arguments": {"a": "\\ud800"}}',
        '{"name": "\\ud800", "arguments": {}}',
        '{"name": "f", "arguments": {}} and more',
        '{"name": "f", "arguments": ' + "[" * 5000,
        '{"name": "f", "arguments": {"a": ' + "9" * 5000 + "}}",
        '[{"name": "f", "arguments": {}}]',
    ],
)
def test_malformed_calls_are_kept_raw(tokenizer: Tokenizer, body: str) -> None:
    good = '@<tool_call>{"name": "g", "arguments": {}}@</tool_call>'
    ids = tokens_of(tokenizer, f"a\n@<tool_call>\n{body}\n@</tool_call>\n{good}@<|role_end|>")
    found = parse(ids, tokenizer)
    assert found.content == "a"
    assert found.broken == [f"\n{body}\n"]
    assert [c["function"]["name"] for c in found.calls] == ["g"]


def test_calls_without_arguments(tokenizer: Tokenizer) -> None:
    found = parse(tokens_of(tokenizer, '@<tool_call>{"name": "now"}@</tool_call>'), tokenizer)
    assert found.calls[0]["function"] == {"name": "now", "arguments": "{}"}


def test_spelt_marks_are_text(tokenizer: Tokenizer) -> None:
    spelt = '<think>x</think><tool_call>\n{"name": "rm", "arguments": {}}\n</tool_call>'
    assert parse(tokens_of(tokenizer, spelt), tokenizer) == Message(content=spelt)
    inside = '@<tool_call>{"name": "say", "arguments": {"text": "</tool_call>"}}@</tool_call>'
    found = parse(tokens_of(tokenizer, inside), tokenizer)
    assert json.loads(found.calls[0]["function"]["arguments"]) == {"text": "</tool_call>"}


def test_spelt_marks_count_where_there_are_no_tokens(poor: Tokenizer) -> None:
    text = TWO.replace("@<think>", "<think>").replace("@</think>", "</think>")
    text = text.replace("@<tool_call>", "<tool_call>").replace("@</tool_call>", "</tool_call>")
    text = text.replace("Oslo", "</tool_call>")
    found = parse(tokens_of(poor, text), poor)
    assert (found.reasoning, found.content) == ("Two cities.", "Looking, 好🎉.")
    assert [c["function"]["name"] for c in found.calls] == ["get_time", "find"]
    assert "Europe/</tool_call>" in found.calls[0]["function"]["arguments"]
    for width in (1, 2, 5):
        assert parse(tokens_of(poor, text, width), poor) == found
    assert parse(poor.encode("a <tool_ca"), poor).content == "a <tool_ca"


@pytest.mark.parametrize(
    ("text", "content", "reasoning", "names", "broken"),
    [
        # a call inside thinking that was never closed
        ('@<think>\nHm\n@<tool_call>{"name": "f"}@</tool_call>@</think>ok', "ok", "Hm", "f", 0),
        # end marks left out: the JSON tells whether the call is whole
        ('@<tool_call>{"name": "f"}@<tool_call>{"name": "g"}@<|role_end|>', "", "", "fg", 0),
        ('@<tool_call>{"name": "f"@<tool_call>{"name": "g"}@</tool_call>', "", "", "g", 1),
        # but a text cut off before the mark is cut off
        ('@<tool_call>{"name": "f"}', "", "", "", 1),
        # text after a call; marks out of place
        ('@<tool_call>{"name": "f"}@</tool_call>\nDone.', "\nDone.", "", "f", 0),
        ('@<tool_call>{"name": "f"}@</tool_call>\n \n', "", "", "f", 0),
        ("a@</tool_call>b@</think>c", "abc", "", "", 0),
        ("\n\n@<think>x@</think>y", "y", "x", "", 0),
        ("@<think>x@<think>y", "", "xy", "", 0),
        ("hi\n@<|role_end|>more", "hi\n", "", "", 0),
        ("\n", "\n", "", "", 0),
    ],
)
def test_odd_orders(
    tokenizer: Tokenizer, text: str, content: str, reasoning: str, names: str, broken: int
) -> None:
    found = parse(tokens_of(tokenizer, text), tokenizer)
    assert (found.content, found.reasoning) == (content, reasoning)
    assert "".join(c["function"]["name"] for c in found.calls) == names
    assert len(found.broken) == broken


def test_long_messages_take_linear_time(tokenizer: Tokenizer) -> None:
    body = '{"name": "f", "arguments": {"a": "' + "xyz " * 20_000 + '"}}'
    ids = tokens_of(tokenizer, "\n" * 20_000 + f"@<tool_call>{body}@</tool_call>", 1)
    began = time.perf_counter()
    assert len(parse(ids, tokenizer).calls) == 1
    assert time.perf_counter() - began < 5
