"""schemathesis, which makes requests of the server's own OpenAPI: none may end in a 5xx."""

from __future__ import annotations

import subprocess
from pathlib import Path

import httpx
import pytest

from tests.server.conftest import KEYS, Served

from .conftest import clean, python_of

pytestmark = [pytest.mark.clients, pytest.mark.timeout(1800)]
# of every operation: all borders of its schema, and so many requests made at random
EXAMPLES = 25


def test_no_operation_fails(served: Served, tmp_path: Path) -> None:
    program = python_of("schemathesis", "schemathesis==4.32.5").parent / "st"
    words = ["run", f"{served.url}/openapi.json", "--no-color", "--seed", "1"]
    words += ["--phases", "coverage,fuzzing", "--max-examples", str(EXAMPLES)]
    words += ["--checks", "not_a_server_error", "--request-timeout", "120"]
    words += ["--header", f"Authorization: Bearer {KEYS['ann']}"]
    run = subprocess.run(
        [program, *words], cwd=tmp_path, env=clean(tmp_path), capture_output=True, text=True
    )
    print("\n".join(run.stdout.splitlines()[-25:]))
    assert run.returncode == 0, run.stdout
    assert httpx.get(served.url + "/ready").status_code == 200
