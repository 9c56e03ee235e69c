"""Clients from Python's package index: a turn with a call that really runs."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.server.conftest import KEYS, Served

from .conftest import Ledger, Table, clean, last_json, python_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(900)]
TURNS = Path(__file__).with_name("turns")
PACKAGES = {
    "langchain-openai": ("langchain-openai",),
    "smolagents": ("smolagents[openai]",),
    "instructor": ("instructor",),
    "litellm": ("litellm",),
    "inspect-ai": ("inspect-ai", "openai"),
}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_turn_with_a_call(name: str, served: Served, table: Table, tmp_path: Path) -> None:
    python, ledger = python_of(name, *PACKAGES[name]), Ledger(served)
    script = TURNS / f"{name.replace('-', '_')}_turn.py"
    run = subprocess.run(
        [python, script, served.url + "/v1", KEYS["ann"]],
        cwd=tmp_path,
        env=clean(tmp_path) | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = last_json(run.stdout) if not run.returncode else {"version": "?", "calls": 0}
    counted = ledger.since()
    own = {"input_tokens": told.get("input"), "output_tokens": told.get("output")}
    passed = not run.returncode and told["calls"] > 0 and own.items() <= counted.items()
    figures = counted["input_tokens"], counted["output_tokens"]
    table.add(name, told["version"], "chat", "yes" if passed else "no", told["calls"], *figures)
    assert run.returncode == 0, run.stderr[-2000:]
    assert told["calls"] > 0
    assert own.items() <= counted.items()
