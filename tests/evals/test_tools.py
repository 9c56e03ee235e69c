"""Scores of function calling: what counts as right, and what the word-counting baseline reaches."""

from __future__ import annotations

import pytest

from flashling.evals.tools import baseline, fitted, load, same_calls, score, terms


def item(expected, kind="simple", names=("f", "g"), text="say red to Ann", **fields):
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name in names]
    messages = [{"role": "user", "content": text}]
    base = {"id": "x", "lang": "en", "kind": kind, "unseen": False, "tools": tools}
    return base | {"messages": messages, "expected": expected} | fields


def call(name, accept=None, **arguments):
    return {"name": name, "arguments": arguments} | ({"accept": accept} if accept else {})


def answer(*calls, content="", **fields):
    return {"calls": list(calls), "content": content} | fields


def test_the_expected_calls_score_full():
    for name in ("tools", "copy"):
        items = load(name)
        told = [answer(*i["expected"], content="No tool can do that.", tokens=9) for i in items]
        whole = score(items, told)["all"]["all"]
        assert whole["exact"] == whole["choice"] == whole["copied"] == 1
        assert whole["missed"] == whole["hallucinated"] == 0
        assert whole["tokens"] == 9 and whole["items"] == len(items)


def test_saying_nothing_scores_nothing():
    whole = score(load("tools"), [answer()] * 300)
    assert whole["all"]["all"]["exact"] == 0
    assert whole["all"]["all"]["missed"] == 1
    assert whole["all"]["all"]["hallucinated"] is None
    assert whole["all"]["all"]["tokens"] is None
    assert set(whole["lang"]) == {"en", "zh"}
    assert whole["kind"]["irrelevance"]["items"] == 70
    assert whole["tools"]["seen"]["items"] + whole["tools"]["unseen"]["items"] == 300


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (call("f", a="x", n=5), True),
        (call("f", a="x", n=5.0), True),
        (call("f", a="y", n=5), True),
        (call("f", a="x", n=5, o="z"), True),
        (call("f", a="x", n=5, o="w"), False),
        (call("f", a="x", n="5"), False),
        (call("f", a="x", n=True), False),
        (call("f", a="x"), False),
        (call("g", a="x", n=5), False),
        ({"name": "f", "arguments": "{broken"}, False),
    ],
)
def test_arguments(given, right):
    want = call("f", {"a": ["y"], "o": ["z"]}, a="x", n=5)
    assert same_calls([want], [given]) == right


def test_order_is_free_and_the_count_is_not():
    one, two = call("f", a="x"), call("f", a="y")
    assert same_calls([one, two], [two, one])
    assert not same_calls([one, two], [one, one])
    assert not same_calls([one], [one, two])
    # either of two calls may fit loosely; the pairing must still work out
    assert same_calls([call("f", {"a": ["y"]}, a="x"), two], [call("f", a="y"), two])


def test_what_is_counted():
    items = [
        item([call("f", a="red", b="Ann")]),
        item([], kind="irrelevance"),
        item([], kind="irrelevance"),
        item([], kind="missing"),
    ]
    answers = [
        answer(call("f", a="red", b="Anne"), call("h")),
        answer(content="No."),
        answer(call("g")),
        answer(content="Which?"),
    ]
    whole = score(items, answers)["all"]["all"]
    assert whole["exact"] == 0.5
    assert whole["copied"] == 0.5
    assert whole["hallucinated"] == pytest.approx(1 / 3)
    assert whole["irrelevance"] == 0.5
    assert whole["missing"] == 1


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="choose one of tools, copy"):
        load("nothing")
    with pytest.raises(ValueError, match="1 answers for 0 items"):
        score([], [answer()])


def test_terms_take_names_apart():
    assert terms("get_weatherNow") == ["get", "weather", "now", "get weather", "weather now"]
    assert terms("查天气") == ["查", "天", "气", "查天", "天气"]


def test_baseline_is_better_than_chance_and_poor():
    items = load("tools")
    whole = score(items, [baseline(i) for i in items])
    assert 0 <= fitted().threshold < 1
    assert 0.25 < whole["all"]["all"]["choice"] < 0.75
    assert whole["all"]["all"]["hallucinated"] == 0
