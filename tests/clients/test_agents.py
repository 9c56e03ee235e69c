"""Coding agents from npm, pointed at the server by `flashling connect`, have a turn."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flashling.cli.app import main
from tests.server.conftest import KEYS, Served

from .conftest import Ledger, Table, clean, program_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
ASK = "list the files in src"
Events = list[dict[str, Any]]


def of_codex(events: Events) -> tuple[int, int, int]:
    """Calls, tokens in and out."""
    used = [e["usage"] for e in events if e["type"] == "turn.completed"]
    done = [e["item"]["type"] for e in events if e["type"] == "item.completed"]
    calls = sum(kind not in ("agent_message", "reasoning", "error") for kind in done)
    return calls, sum(u["input_tokens"] for u in used), sum(u["output_tokens"] for u in used)


def of_opencode(events: Events) -> tuple[int, int, int]:
    """Calls, tokens in and out; what was held is counted beside the rest."""
    used = [e["part"]["tokens"] for e in events if e["type"] == "step_finish"]
    calls = sum(e["type"] == "tool_use" for e in events)
    given = sum(u["input"] + u["cache"]["read"] + u["cache"]["write"] for u in used)
    return calls, given, sum(u["output"] + u["reasoning"] for u in used)


# package, its protocol, how a turn is asked for (a title of ours saves a request for one), and
# what its events say
AGENTS: dict[str, tuple[str, str, list[str], Callable[[Events], tuple[int, int, int]]]] = {
    "codex": (
        "@openai/codex@0.169.0",
        "responses",
        ["exec", "--json", "--skip-git-repo-check", "--dangerously-bypass-approvals-and-sandbox"],
        of_codex,
    ),
    "opencode": (
        "opencode-ai@1.18.33",
        "chat",
        ["run", "--format", "json", "--title", "a turn"],
        of_opencode,
    ),
    "kilo": (
        "@kilocode/cli@7.7.7",
        "chat",
        ["run", "--format", "json", "--auto", "--title", "a turn"],
        of_opencode,
    ),
}


@pytest.mark.parametrize("name", AGENTS)
def test_a_turn(
    name: str, served: Served, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, protocol, words, read = AGENTS[name]
    program = program_of(name, package)
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "src" / "a.txt").write_text("a")
    surroundings = clean(tmp_path) | {"FLASHLING_KEY": KEYS["bob"]}
    for variable in ("XDG_CONFIG_HOME", "CODEX_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "FLASHLING_KEY"):
        monkeypatch.setenv(variable, surroundings[variable])
    assert main(["connect", name, "--yes", "--url", served.url]) == 0
    for config in (tmp_path / ".config").rglob("*.json"):
        # what a small model says here need not be long
        config.write_text(config.read_text().replace('"output": 4096', '"output": 128'))
    ledger = Ledger(served, "bob")
    run = subprocess.run(
        [program, *words, ASK],
        cwd=work,
        env=surroundings | {"PWD": os.fspath(work)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    calls, *own = read(events)
    counted = ledger.since()
    figures = [counted["input_tokens"], counted["output_tokens"]]
    passed = run.returncode == 0 and own == figures and own[1] > 0
    version = package.rpartition("@")[2]
    table.add(name, version, protocol, "yes" if passed else "no", calls, *figures)
    assert run.returncode == 0, run.stderr[-2000:]
    assert own == figures and own[1] > 0, run.stdout[-2000:]
