"""Coding agents, pointed at the server by `flashling connect` or their own files, have a turn."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flashling.cli.app import main
from tests.server.conftest import KEYS, Served

from .conftest import Ledger, Table, clean, program_of, python_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
ASK = "list the files in src"
Events = list[dict[str, Any]]


def of_codex(events: Events, home: Path) -> tuple[int, int, int]:
    """Calls that Codex answered, tokens in and out."""
    used = [e["usage"] for e in events if e["type"] == "turn.completed"]
    kept = "".join(f.read_text() for f in (home / ".codex" / "sessions").rglob("*.jsonl"))
    kinds = [json.loads(line)["payload"].get("type", "") for line in kept.splitlines()]
    calls = kinds.count("function_call_output") + kinds.count("custom_tool_call_output")
    return calls, sum(u["input_tokens"] for u in used), sum(u["output_tokens"] for u in used)


def of_pi(events: Events, home: Path) -> tuple[int, int, int]:
    """Calls, tokens in and out; what was held is counted beside the rest."""
    said = [e["message"] for e in events if e["type"] == "message_end"]
    used = [m["usage"] for m in said if m["role"] == "assistant"]
    given = sum(u["input"] + u["cacheRead"] + u["cacheWrite"] for u in used)
    calls = sum(m["role"] == "toolResult" for m in said)
    return calls, given, sum(u["output"] for u in used)


def of_hermes(events: Events, home: Path) -> tuple[int, int, int]:
    """Calls, tokens in and out: each request but the last is made for a call's result."""
    used = json.loads((home / "usage.json").read_text())
    given = used["input_tokens"] + used["cache_read_tokens"] + used["cache_write_tokens"]
    return used["api_calls"] - 1, given, used["output_tokens"]


def of_aider(events: Events, home: Path) -> tuple[int, int, int]:
    """No calls: it has no tools; tokens in and out."""
    told = [json.loads(line) for line in (home / "log.jsonl").read_text().splitlines()]
    used = [e["properties"] for e in told if e["event"] == "message_send"]
    given, said = (sum(u[f"{kind}_tokens"] for u in used) for kind in ("prompt", "completion"))
    return 0, given, said


def of_opencode(events: Events, home: Path) -> tuple[int, int, int]:
    """Calls, tokens in and out; what was held is counted beside the rest."""
    used = [e["part"]["tokens"] for e in events if e["type"] == "step_finish"]
    calls = sum(e["type"] == "tool_use" for e in events)
    given = sum(u["input"] + u["cache"]["read"] + u["cache"]["write"] for u in used)
    return calls, given, sum(u["output"] + u["reasoning"] for u in used)


def of_qwen(events: Events, home: Path) -> tuple[int, int, int]:
    """Calls that Qwen Code answered, tokens in and out."""
    told = [e["message"] for e in events if e["type"] in ("assistant", "user")]
    used = [m["usage"] for m in told if m["role"] == "assistant"]
    parts = [part for m in told for part in m["content"] if isinstance(part, dict)]
    calls = sum(part["type"] == "tool_result" for part in parts)
    return calls, sum(u["input_tokens"] for u in used), sum(u["output_tokens"] for u in used)


AIDER = ["--model", "openai/embedded", "--no-stream", "--yes-always", "--no-git", "--no-analytics"]
AIDER += ["--no-check-update", "--no-show-model-warnings", "--map-tokens", "0"]
# package, its protocol, how a turn is asked for (a title of ours saves a request for one), and
# what its events say
AGENTS: dict[str, tuple[str, str, list[str], Callable[[Events, Path], tuple[int, int, int]]]] = {
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
    "pi": (
        "@mariozechner/pi-coding-agent@0.73.1",
        "chat",
        ["--print", "--mode", "json", "--provider", "flashling", "--model", "embedded"],
        of_pi,
    ),
    "hermes": (
        "hermes-agent==0.19.0",
        "chat",
        ["--toolsets", "todo", "--ignore-rules", "--usage-file", "../usage.json", "-z"],
        of_hermes,
    ),
    "aider": (
        "aider-chat==0.86.2",
        "chat",
        [*AIDER, "--analytics-log", "../log.jsonl", "--message"],
        of_aider,
    ),
    "qwen": (
        "@qwen-code/qwen-code@0.15.10",
        "chat",
        ["--bare", "--auth-type", "openai", "--yolo", "--output-format", "stream-json"],
        of_qwen,
    ),
    "kilo": (
        "@kilocode/cli@7.7.7",
        "chat",
        ["run", "--format", "json", "--auto", "--title", "a turn"],
        of_opencode,
    ),
}


def configure(name: str, home: Path, url: str) -> list[str]:
    """Have an agent ask the server; more words of its command."""
    if name == "pi":
        # with a key of its own variable, as its documentation has it
        model = {"id": "embedded", "contextWindow": 65_536, "maxTokens": 128}
        told = {"baseUrl": f"{url}/v1", "api": "openai-completions", "apiKey": "FLASHLING_KEY"}
        config = home / ".pi" / "agent" / "models.json"
        config.parent.mkdir(parents=True)
        config.write_text(json.dumps({"providers": {"flashling": {**told, "models": [model]}}}))
        return []
    if name == "qwen":
        # all of its tools and instructions are 32,000 tokens, bare 5,000
        told = {"name": "embedded", "generationConfig": {"samplingParams": {"max_tokens": 128}}}
        config = home / ".qwen" / "settings.json"
        config.parent.mkdir()
        config.write_text(json.dumps({"model": told}))
        return ["--openai-base-url", f"{url}/v1", "--openai-api-key", KEYS["bob"]]
    if name == "aider":
        (home / ".env").write_text(f"OPENAI_API_BASE={url}/v1\nOPENAI_API_KEY={KEYS['bob']}\n")
        return []
    assert main(["connect", name, "--yes", "--url", url]) == 0
    for config in (home / ".config").rglob("*.json"):
        # what a small model says here need not be long
        config.write_text(config.read_text().replace('"output": 4096', '"output": 128'))
    if name != "codex":
        return []
    # Codex cannot bound an answer, and behind 8,000 tokens of its own instructions this model does
    # not end by itself; its tools stay as they are
    words = home / "instructions.md"
    words.write_text("You are a shell helper. Call a tool.")
    return ["-c", f"model_instructions_file={json.dumps(str(words))}"]


@pytest.mark.parametrize("name", AGENTS)
def test_a_turn(
    name: str, served: Served, table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package, protocol, words, read = AGENTS[name]
    is_python = "==" in package
    program = python_of(name, package).with_name(name) if is_python else program_of(name, package)
    work = tmp_path / "work"
    (work / "src").mkdir(parents=True)
    (work / "src" / "a.txt").write_text("a")
    surroundings = clean(tmp_path) | {"FLASHLING_KEY": KEYS["bob"]}
    for variable in ("XDG_CONFIG_HOME", "CODEX_HOME"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "FLASHLING_KEY"):
        monkeypatch.setenv(variable, surroundings[variable])
    more = configure(name, tmp_path, served.url)
    ledger = Ledger(served, "bob")
    run = subprocess.run(
        [program, *more, *words, ASK],
        cwd=work,
        env=surroundings | {"PWD": os.fspath(work)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    events = [json.loads(line) for line in run.stdout.splitlines() if line.startswith("{")]
    calls, *own = read(events, tmp_path)
    counted = ledger.since()
    figures = [counted["input_tokens"], counted["output_tokens"]]
    passed = run.returncode == 0 and own == figures and own[1] > 0
    version = re.split("@|==", package)[-1]
    table.add(name, version, protocol, "yes" if passed else "no", calls, *figures)
    assert run.returncode == 0, run.stderr[-2000:]
    assert own == figures and own[1] > 0, run.stdout[-2000:]
