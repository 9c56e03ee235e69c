"""The shell generator: its notation, and requests that fit their commands."""

from __future__ import annotations

import random
import subprocess
from itertools import islice

import pytest

from flashling.tasks import shell
from flashling.tasks.shell import SYSTEM, intents, samples
from flashling.tasks.shell.grammar import expand, fill, parse
from flashling.tasks.shell.kinds import MAKERS
from flashling.tasks.shell.values import Value, Values, listed, quoted

TINY = """
@ look = find|search for
= one 2
$ grep {word'} {file} {to:file}
en
<look> [the ]{word} in {file}( and|,) {to}
~ {file} {to} {word}
zh
在{file}和{to}里找{word}
+$ wc -l {file}
+en
? how long is it
+zh
? 有多少行
"""


@pytest.fixture(scope="module")
def drawn() -> list[dict]:
    return list(islice(samples(11), 3000))


def test_the_notation_unfolds():
    [intent] = parse(TINY, "tiny")
    assert (intent.name, intent.weight, len(intent.turns)) == ("one", 2.0, 2)
    slots = {"word": Value("x"), "file": Value("a"), "to": Value("b")}
    _, tree = intent.turns[0].phrases["en"][0]
    rng = random.Random(0)
    said = {expand(tree, slots, "en", rng) for _ in range(200)}
    verbs, ends = ("find", "search for"), (" and", ",")
    assert said == {f"{v} {t}x in a{e} b" for v in verbs for t in ("", "the ") for e in ends}


def test_values_are_quoted_where_the_command_asks():
    slots = {"word": Value("a b"), "file": Value("my notes.txt"), "to": Value("~/x y")}
    command = fill("grep {word'} {file} {to:file} {word!}", slots, Values(random.Random(0)))
    assert command == "grep 'a b' 'my notes.txt' ~/'x y' a b"
    assert quoted("it's") == "'it'\\''s'"
    assert quoted("报告.txt") == "报告.txt"


@pytest.mark.parametrize(
    "change, what",
    [
        (("<look>", "<loo>"), "no macro"),
        (("[the ]", "[the "), "missing"),
        (("{to}\n", "{from}\n"), "not in its command"),
        (("? 有多少行", ""), "needs commands"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(change, what):
    with pytest.raises(ValueError, match=f"tiny.*{what}"):
        parse(TINY.replace(*change), "tiny")


def test_every_slot_has_values():
    values, rng = Values(random.Random(1)), random.Random(2)
    for kind in [*MAKERS, *listed()]:
        for lang in ("en", "zh"):
            assert values.draw(kind).said(lang, rng)
    with pytest.raises(ValueError, match="no kind of value"):
        values.draw("nothing")


def test_same_seed_same_samples(drawn):
    assert list(islice(samples(11), 100)) == drawn[:100]
    assert list(islice(samples(12), 100)) != drawn[:100]


def test_every_intent_can_be_asked_in_both_languages():
    values = Values(random.Random(3))
    for intent in intents():
        for lang in ("en", "zh"):
            slots: dict[str, Value] = {}
            for turn in intent.turns:
                request, command = shell.ask(turn, slots, values, lang)
                assert request and command, intent.name
                assert "{" not in request or "{" in str(slots), (intent.name, request)


def test_commands_are_bash(drawn):
    commands = [
        m["content"] for s in drawn[:1500] for m in s["messages"] if m["role"] == "assistant"
    ]
    # one shell checks them all: each in a function of its own that is never called
    script = "\n".join(f"f{i}() {{\n{c}\n}}" for i, c in enumerate(commands))
    found = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr[:500]
    assert all("\n" not in c and c == c.strip() for c in commands)


def test_form_and_shares(drawn):
    assert 0.38 < sum(s["lang"] == "en" for s in drawn) / len(drawn) < 0.48
    headed = [s for s in drawn if s["messages"][0] == {"role": "system", "content": SYSTEM}]
    assert 0.8 < len(headed) / len(drawn) < 0.9
    for s in drawn:
        turns = [m["role"] for m in s["messages"] if m["role"] != "system"]
        assert turns == ["user", "assistant"] * (len(turns) // 2)


def test_requests_are_diverse(drawn):
    asked = {m["content"] for s in drawn for m in s["messages"] if m["role"] == "user"}
    assert len(asked) > 0.9 * len(drawn)
