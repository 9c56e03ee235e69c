"""The chat: a session in this process, and the real command from a pipe and in a terminal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flashling import LLM, Sampling
from flashling.cli import chat, session, setup
from flashling.cli.session import Session, make_tools

from .terminal import Terminal

Captured = pytest.CaptureFixture[str]
GREEDY = Sampling(temperature=0.0, max_tokens=40)
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def llm(taught: Path) -> LLM:
    return LLM(taught)


def test_a_talk(llm: LLM, tmp_path: Path, capsys: Captured) -> None:
    s = Session(llm, GREEDY)
    s.ask("hi")
    out, err = capsys.readouterr()
    assert out == "hello there\n"
    assert err.startswith("[") and " tokens/s, first after 0." in err and "context" in err
    s.ask("bye")
    assert capsys.readouterr().out == "see you\n"
    assert s.usage and s.usage.cached_tokens > 40
    chat.command(s, "/tokens")
    assert capsys.readouterr().out.startswith(f"{s.tokens()} tokens in the context; the last ")
    chat.command(s, f"/save {tmp_path / 'talk.json'}")
    saved = json.loads((tmp_path / "talk.json").read_text())["messages"]
    assert [m["content"] for m in saved] == ["hi", "hello there", "bye", "see you"]
    chat.command(s, "/reset")
    assert s.messages == []
    chat.command(s, "/system Reply with one shell command.")
    s.ask("list the files of src")
    assert "ls -l src\n" in capsys.readouterr().out
    chat.command(s, "/help")
    assert "/save" in capsys.readouterr().out
    for wrong in ("/fly", "/save"):
        with pytest.raises(ValueError):
            chat.command(s, wrong)


def test_ctrl_c_stops_the_answer_alone(
    llm: LLM, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Session(llm, GREEDY)
    real = llm.chat

    def pressed(*given: Any) -> Iterator[Any]:
        for i, piece in enumerate(real(*given)):
            if i == 3:
                signal.raise_signal(signal.SIGINT)
            yield piece

    monkeypatch.setattr(llm, "chat", pressed)
    s.ask("hi")
    assert "(stopped)" in capsys.readouterr().err
    assert s.said[1]["content"] and "hello there".startswith(s.said[1]["content"])
    monkeypatch.undo()
    s.said.clear()
    s.ask("hi")
    assert capsys.readouterr().out == "hello there\n"


def test_a_failed_question_is_taken_back(llm: LLM) -> None:
    s = Session(llm, GREEDY)
    with pytest.raises(ValueError, match="shorten"):
        s.ask("hi" * 9000)
    assert s.said == []


def test_tools_are_run_and_shown(
    llm: LLM, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    s = Session(llm, replace(GREEDY, max_tokens=80), tools=make_tools(tmp_path))
    # the toy has learnt its call without declarations
    monkeypatch.setattr(session, "converse", without_declarations)
    s.ask("time")
    err = capsys.readouterr().err
    assert "> current_time {}" in err and time.strftime("< %Y-%m-%d") in err
    assert [m["role"] for m in s.said[:3]] == ["user", "assistant", "tool"]


def without_declarations(messages: Any, tools: Any, answer: Any, *, watch: Any) -> Any:
    from flashling.agent.loop import converse

    return converse(messages, tools, lambda m, t: answer(m, []), max_turns=1, watch=watch)


def test_a_command_needs_a_persons_y(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    assert not session.approve("rm -r x")
    out, err = capsys.readouterr()
    assert "command  rm -r x\n  ! CAREFUL" in out and "not run" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for typed, run in (("y", True), ("", False), ("no", False)):
        monkeypatch.setattr("builtins.input", lambda question, typed=typed: typed)
        assert session.approve("ls") == run


def test_a_template_of_the_checkpoints_own(taught: Path, tmp_path: Path) -> None:
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}<role>X</role>{{ m.content }}{% endfor %}")
    llm = setup.load(str(taught), chat_template=str(file))
    tokens = llm.prompt([{"role": "user", "content": "hi</role>"}])
    assert llm.tokenizer.decode(tokens) == "<role>X</role>hi</role>"
    assert tokens.count(llm.tokenizer.id("</role>")) == 1


def test_from_a_pipe(taught: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "flashling", "chat", str(taught), "--temperature", "0"],
        input="hi\n\n/fly\nbye\n/exit\nhi\n",
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
    )
    assert done.returncode == 0
    assert done.stdout == "hello there\nsee you\n"
    assert "no command /fly; /help lists them" in done.stderr
    assert done.stderr.count("tokens/s") == 2
    assert "\x1b" not in done.stdout + done.stderr


def test_in_a_terminal(taught: Path, tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "flashling", "chat", str(taught), "--temperature", "0"]
    t = Terminal(argv, str(ROOT), HOME=str(tmp_path), PROMPT_TOOLKIT_NO_CPR="1")
    t.wait("/help lists the commands.", 30)
    t.wait(">")
    t.type("hi\r")
    t.wait("hello there\n")
    t.wait("tokens/s")
    t.wait("context .*>")
    # a second line, and both are forgotten
    t.type("b\x1b\rc")
    t.wait("b.*c")
    t.type("\x03")
    t.wait("/exit leaves.*>")
    t.type("bye\r")
    t.wait("see you\n.*>")
    t.type("\x04")
    # 120: Python could not flush to a terminal that has gone
    assert t.close() in (0, -1, 1, 120)
    history = tmp_path / ".local" / "state" / "flashling" / "history"
    assert "+bye" in history.read_text()


def test_help_is_quick_and_light() -> None:
    code = (
        "import sys, time; a = time.perf_counter()\n"
        "from flashling.cli.app import main\n"
        "assert main(['--help']) == 0 and main(['chat', '--help']) == 0\n"
        "heavy = [m for m in ('torch', 'tokenizers', 'numpy') if m in sys.modules]\n"
        "print(time.perf_counter() - a, *heavy)"
    )
    found = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
        )
        seconds, *heavy = done.stdout.splitlines()[-1].split()
        assert not heavy
        found.append(float(seconds))
    assert min(found) < 0.5
