"""A server, clients in environments of their own, and the table of what they did."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.conftest import ROOT, Served, start

PAGE = ROOT / "docs" / "clients.md"
HEAD = """# Clients

Made by `make clients`: clients that nobody here wrote, each with the embedded model behind a real
server. One passes if its run ends well, its calls really ran, and the server's ledger has the
tokens that the client counted itself. Python's clients are made to call a tool (`tool_choice`);
the agents choose for themselves, and what a model of 29M parameters says to thousands of tokens
of instructions makes no sense: their turns prove the protocol. A client that cannot be had keeps
its row.

| client | version | protocol | passed | calls | tokens in | tokens out |
|---|---|---|---|---|---|---|
"""
# seconds for an installation; an index that does not answer is told of sooner
PATIENT = 600


def cache() -> Path:
    """Where environments are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "flashling" / "clients"


def _install(folder: Path, commands: list[list[str]]) -> None:
    """Run commands that fill `folder`, once for all runs; skips where they fail."""
    done = folder / "installed"
    if done.exists():
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for command in commands:
        try:
            run = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=PATIENT
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"{command[0]}: {error}")
        if run.returncode:
            pytest.skip(f"{folder.name} cannot be had: {run.stderr.strip()[-200:]}")
    done.touch()


def python_of(name: str, *packages: str) -> Path:
    """The Python of an environment with `packages`."""
    folder = cache() / name
    python = folder / "bin" / "python"
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _install(folder, [[sys.executable, "-m", "venv", "."], [*pip, *packages]])
    return python


def program_of(name: str, package: str) -> Path:
    """A program of a package of npm."""
    folder = cache() / name
    _install(folder, [["npm", "install", "--prefix", ".", "--no-audit", "--no-fund", package]])
    return folder / "node_modules" / ".bin" / name


def clean(home: Path) -> dict[str, str]:
    """An environment whose home is `home`, and in which no key or proxy of ours is seen."""
    kept = {n: v for n, v in os.environ.items() if n in ("PATH", "LANG", "SSL_CERT_FILE")}
    return kept | {"HOME": str(home), "NO_COLOR": "1", "CI": "1"}


class Table:
    """Rows of docs/clients.md by client; written as they come."""

    def __init__(self, page: Path) -> None:
        self._page = page

    def add(self, client: str, version: str, protocol: str, *cells: object) -> None:
        """A row: passed, calls, tokens in, tokens out. The rows of other clients stay."""
        text = self._page.read_text("utf-8") if self._page.exists() else ""
        rows = {r.split(" ")[1]: r for r in re.findall(r"^\| (?!client ).*$", text, re.M)}
        shown = [f"{c:,}" if isinstance(c, int) else str(c) for c in cells]
        rows[client] = f"| {client} | {version} | {protocol} | {' | '.join(shown)} |"
        self._page.write_text(HEAD + "\n".join(rows[c] for c in sorted(rows)) + "\n", "utf-8")


@pytest.fixture(scope="session")
def table() -> Table:
    """The page's table."""
    return Table(PAGE)


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """One server for all clients."""
    found = start(tmp_path_factory.mktemp("clients"))
    yield found
    found.process.terminate()
    found.process.wait(30)
    assert found.process.stdout is not None
    found.process.stdout.close()


class Ledger:
    """What the server has counted for a key since this was made."""

    def __init__(self, served: Served, key: str = "ann") -> None:
        self._served, self._key = served, key
        self._before = self._now()

    def _now(self) -> dict[str, Any]:
        with self._served.client(self._key) as client:
            return client.get("/v1/usage").json()

    def since(self) -> dict[str, int]:
        """Sums since then."""
        return {n: v - self._before[n] for n, v in self._now().items() if n.endswith("_tokens")}


def last_json(text: str) -> dict[str, Any]:
    """The last line that is a JSON object."""
    return json.loads([line for line in text.splitlines() if line.startswith("{")][-1])
