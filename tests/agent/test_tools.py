"""The built-in tools: what they compute, and what they refuse."""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from flashling.agent import calc
from flashling.agent.files import inside, list_files, read_file
from flashling.agent.loop import converse
from flashling.agent.shell import Candidate, suggest
from flashling.agent.tools import ToolError, builtin, shell


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2+3*4", "14"),
        ("(1 + 2) ^ 3", "27"),
        ("0.1+0.2", "0.3"),
        ("7 // 2 + 7 % 4", "6"),
        ("15% * 200", "30"),
        ("sqrt(2)**2", "2"),
        ("-max(3, 8) + abs(-2)", "-6"),
        ("6 × 7 =", "42"),
        ("2**200 / 2**199", "2"),
    ],
)
def test_arithmetic(text: str, value: str) -> None:
    if "2**200" in text:
        with pytest.raises(ValueError, match="too large"):
            calc.evaluate(text)
        return
    assert calc.shown(calc.evaluate(text)) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('id')",
        "(1).__class__",
        "[1]*9",
        "'a'*9",
        "lambda: 1",
        "x",
        "1/0",
        "9**9**9",
        "(-8)**0.5",
        "1" * 400,
        "-" * 200 + "1",
        "True + 1",
        "sqrt(-1)",
        "round(1.5, ndigits=1)",
        "1 if 1 else 2",
        "1e300*1e300",
        "",
    ],
)
def test_nothing_but_arithmetic(text: str) -> None:
    with pytest.raises(ValueError):
        calc.evaluate(text)


def test_dates() -> None:
    now = datetime(2026, 1, 31, 9, 30)
    assert calc.shift("today", 1, "months", now) == "2026-02-28 (Saturday)"
    assert calc.shift("2024-02-29", 1, "year") == "2025-02-28 (Friday)"
    assert calc.shift("2026-12-31", 2, "month") == "2027-02-28 (Sunday)"
    assert calc.shift("now", -90, "minutes", now) == "2026-01-31 08:00:00 (Saturday)"
    assert calc.between("2026-01-01", "2026-03-01") == "59 days"
    assert calc.between("2026-01-02", "2026-01-01T12:00") == "-0 days 12 hours 0 minutes"
    for bad in (("soon", 1, "day"), ("today", 1, "fortnight"), ("today", 10**9, "year")):
        with pytest.raises(ValueError):
            calc.shift(*bad)


def test_units() -> None:
    assert calc.convert(10, "miles", "km") == "16.09344 km"
    assert calc.convert(212, "F", "celsius") == "100 celsius"
    assert calc.convert(12, "inches", "foot") == "1 foot"
    assert calc.convert(3, "公里", "米") == "3000 米"
    assert calc.convert(1, "GiB", "MB") == "1073.741824 MB"
    for bad in (("kg", "km"), ("kg", "florin"), ("s", "")):
        with pytest.raises(ValueError):
            calc.convert(1, *bad)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "a.txt").write_text("one\ntwo\nthree\n")
    (here / ".secret").write_text("key")
    (tmp_path / "outside.txt").write_text("no")
    (here / "out").symlink_to(tmp_path)
    (here / "sly.txt").symlink_to(here / ".secret")
    (here / "sub" / "blob").write_bytes(b"\0\1")
    os.mkfifo(here / "pipe")
    return here


def test_files_below_the_folder(folder: Path) -> None:
    assert list_files(folder).splitlines()[0] == "a.txt  14 bytes"
    assert "secret" not in list_files(folder)
    assert read_file(folder, "a.txt") == "one\ntwo\nthree"
    assert read_file(folder, "sub/../a.txt", 2, 1) == "two\n... (cut; go on with first_line=3)"
    assert read_file(folder, "a.txt", 9) == "(nothing from line 9; the file has 3 lines)"
    (folder / "big").write_text("x" * 50 + "\n" * 1)
    (folder / "big").write_text(("y" * 999 + "\n") * 200)
    assert len(read_file(folder, "big")) < 65_000


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "out/outside.txt",
        "/etc/passwd",
        "~/x",
        ".secret",
        "sly.txt",
        "sub/blob",
        "pipe",
        "sub",
        "a\0b",
        "none",
    ],
)
def test_nothing_escapes(folder: Path, name: str) -> None:
    with pytest.raises((ValueError, OSError)):
        read_file(folder, name)
    assert inside(folder, "a.txt") == (folder / "a.txt").resolve()


def test_tools_check_their_arguments(folder: Path) -> None:
    tools = builtin(folder, lambda command: False)
    assert tools["calculate"].call('{"expression": "1+1"}') == "2"
    assert tools["date_add"].call({"start": "2026-01-01", "amount": "3", "unit": "day"})
    assert tools["convert_units"].call({"value": "3", "from": "kg", "to": "g"}) == "3000 g"
    assert tools["read_file"].call({"path": "a.txt", "lines": 1}).startswith("one")
    for name, wrong in [
        ("calculate", "{"),
        ("calculate", "[]"),
        ("calculate", {}),
        ("calculate", {"expression": "1", "more": 2}),
        ("calculate", {"expression": ["1"]}),
        ("date_add", {"amount": "many", "unit": "day"}),
        ("date_add", {"amount": 1, "unit": "aeon"}),
        ("read_file", {"path": "../outside.txt"}),
        ("read_file", {"path": "none.txt"}),
    ]:
        with pytest.raises(ToolError):
            tools[name].call(wrong)
    for tool in tools.values():
        json.dumps(tool.schema())


def test_the_shell_asks_first(folder: Path) -> None:
    seen: list[str] = []
    deny = shell(folder, lambda c: bool(seen.append(c)))
    assert "did not allow" in deny.call({"command": "touch made"})
    assert seen == ["touch made"] and not (folder / "made").exists()
    allow = shell(folder, lambda c: True)
    assert allow.call({"command": "head -1 a.txt; exit 3"}) == "one\n(exit status 3)"
    assert allow.call({"command": "cat"}) == "(no output)"


def test_a_long_command_is_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashling.agent.tools.MOST_SECONDS", 0.2)
    with pytest.raises(ToolError, match="over 0.2 s"):
        shell(folder, lambda c: True).call({"command": "sleep 30 | cat"})


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": "",
        "tool_calls": [
            {"id": "1", "type": "function", "function": {"name": name, "arguments": arguments}}
        ],
    }


def test_the_loop_hands_results_and_errors_back(folder: Path) -> None:
    said = [call("calculate", expression="6*7"), call("fly"), call("read_file", path="/etc/x")]
    script = iter([*said, {"role": "assistant", "content": "42"}])
    added = converse(
        [{"role": "user", "content": "?"}],
        builtin(folder, lambda c: False),
        lambda messages, tools: next(script),
    )
    results = [m["content"] for m in added if m["role"] == "tool"]
    assert results[0] == "42"
    assert "there is no tool 'fly'" in results[1] and "outside" in results[2]
    assert added[-1]["content"] == "42"


def test_the_loop_ends(folder: Path) -> None:
    offered: list[int] = []

    def stubborn(messages: list, tools: list) -> dict:
        offered.append(len(tools))
        return call("current_time")

    added = converse([], builtin(folder, lambda c: False), stubborn, max_turns=2)
    assert len(offered) == 3 and offered[-1] == 0
    assert [m["role"] for m in added] == ["assistant", "tool", "assistant", "tool", "assistant"]


def test_the_shell_driver_looks_up() -> None:
    asked: list[list[dict]] = []

    def answers(messages: list[dict]) -> list[Candidate]:
        asked.append(messages)
        if messages[-1]["role"] == "tool":
            return [Candidate({"content": "foo --bar x"}, -0.5), Candidate(call("lookup"), -1.0)]
        return [
            Candidate(call("lookup", query="do bar"), -0.1),
            Candidate({"content": "ls -l\nmore"}, -2.0),
            Candidate({"content": "foo --bar x"}, -3.0),
        ]

    found = suggest(" do bar ", answers, lambda q: [("Do bar", "foo --bar {{file}}")], 3)
    assert [(s.command, s.logprob) for s in found] == [("foo --bar x", -0.6), ("ls -l", -2.0)]
    assert found[0].looked_up and not found[1].looked_up
    assert asked[1][-1]["content"] == "1. Do bar :: foo --bar {{file}}"
    assert asked[0][1] == {"role": "user", "content": "do bar"}
    # one answer wanted: only the likeliest first step is followed
    assert [s.command for s in suggest("do bar", answers, lambda q: [])] == ["foo --bar x"]


def test_a_guess_is_looked_up_and_the_first_page_weighs_more() -> None:
    found = [("Do bar", "foo --bar {{file}}"), ("Do baz", "foo --baz {{file}}")]
    guess = [Candidate({"role": "assistant", "content": "guess"}, -1.5)]
    read = [
        Candidate({"role": "assistant", "content": c}, p)
        for c, p in (("foo --baz x", -0.3), ("foo --bar x", -1.2))
    ]

    def answers(messages: list[dict]) -> list[Candidate]:
        return read if messages[-1]["role"] == "tool" else guess

    [best] = suggest("do bar to x", answers, lambda q: found)
    assert (best.command, best.looked_up) == ("foo --bar x", True)
    sure = [Candidate({"role": "assistant", "content": "sure"}, -0.9)]
    [best] = suggest("do bar to x", lambda messages: sure, lambda q: found)
    assert (best.command, best.looked_up) == ("sure", False)
