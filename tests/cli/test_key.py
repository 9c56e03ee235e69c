"""The key that turns words into a command, in real shells; a script stands in for the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flashling.cli.app import main
from flashling.cli.shell import FILES, SNIPPETS

from .terminal import Terminal

FAKE = """
import sys
kind, rest = sys.argv[3], sys.argv[4:]
words = rest[-1]
with open("log", "a") as log: log.write(f"{kind} {words}\\n")
if kind == "explain":
    print("EXPLAINED", words)
elif "nonsense" in words:
    sys.exit("flashling: no command found")
else:
    print("touch made-it\\necho 'a  b' | cat\\nls")
"""
STARTS = {
    "bash": ["bash", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}


def snippet(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """The printed snippet, with the fake in place of flashling."""
    fake = tmp_path / "fake.py"
    fake.write_text(FAKE)
    assert main(["shell", kind]) == 0
    text = capsys.readouterr().out
    assert "@FLASHLING@" not in text and "@KEY@" not in text
    (tmp_path / "key").write_text(text.replace(f"{sys.executable} ", f"{sys.executable} {fake} "))
    return tmp_path / "key"


def opened(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Terminal:
    if not shutil.which(kind):
        pytest.skip(f"no {kind} here")
    path = snippet(kind, tmp_path, capsys)
    terminal = Terminal(STARTS[kind], str(tmp_path), HOME=str(tmp_path))
    terminal.type(f". {path.name}; echo re''ady\n" if kind != "zsh" else ". ./key; echo re''ady\n")
    terminal.wait("ready\n")
    return terminal


@pytest.mark.parametrize("kind", STARTS)
def test_the_line_becomes_a_command_and_is_not_run(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    t = opened(kind, tmp_path, capsys)
    t.type("make it $(touch ran) 'so")
    t.type("\x1bj")
    t.wait("EXPLAINED touch made-it")
    t.type("\x1bj")
    t.wait(r"EXPLAINED echo 'a  b' \| cat")
    assert not (tmp_path / "made-it").exists() and not (tmp_path / "ran").exists()
    t.type("\n")
    t.wait("a  b\n")
    t.type("nonsense\x1bj")
    t.wait("no command found")
    # the line is as it was
    t.type("\x15echo st''ill\n")
    t.wait("still\n")
    t.type("exit\n")
    t.close()
    log = (tmp_path / "log").read_text().splitlines()
    asked = [line for line in log if line.startswith("suggest")]
    assert asked == ["suggest make it $(touch ran) 'so", "suggest nonsense"]
    assert not (tmp_path / "made-it").exists() and not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", STARTS)
def test_snippets_are_right_shell(kind: str) -> None:
    if not shutil.which(kind):
        pytest.skip(f"no {kind} here")
    file = SNIPPETS / FILES[kind]
    done = subprocess.run([kind, "-n", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_another_key(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["shell", "bash", "--key", "k"]) == 0
    assert '"\\ek"' in capsys.readouterr().out
    assert main(["shell", "bash", "--key", "Enter"]) == 1
    assert "one letter" in capsys.readouterr().err
