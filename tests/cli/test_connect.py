"""`flashling connect` on homes of its own: what it writes, shows, refuses and undoes."""

from __future__ import annotations

import io
import json
import sys
import tomllib
from pathlib import Path

import pytest

from flashling.cli import clients
from flashling.cli.app import main
from flashling.cli.clients import CLIENTS, Server

PLACES = {
    "opencode": ".config/opencode/opencode.json",
    "codex": ".codex/config.toml",
    "kilo": ".config/kilo/kilo.json",
    "hermes": ".hermes/config.yaml",
}
OLD = {
    "opencode": '{"theme": "dark", "model": "a/b", "provider": {"a": {"name": "é"}}}',
    "codex": """# mine
model = "o4"
approval_policy = "never"

[model_providers.flashling]
base_url = "http://old/v1"

[model_providers.other]
name = "other"

[profiles.x]
model = "kept"
""",
    "kilo": '{"autoupdate": false}\n',
    "hermes": """# mine
toolsets: [all]
model:
  default: a/b

  provider: openrouter
# of the terminal
terminal:
  model: kept
""",
}
SERVER = Server("http://box:9/v1", "ling", 1000)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is set."""
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CODEX_HOME", "HERMES_HOME", "FLASHLING_KEY"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def files(home: Path) -> dict[str, str]:
    return {str(f.relative_to(home)): f.read_text() for f in home.rglob("*") if f.is_file()}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("old", [True, False], ids=["over a file", "a new file"])
def test_what_is_written_can_be_undone(
    client: str, old: bool, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / PLACES[client]
    if old:
        path.parent.mkdir(parents=True)
        path.write_text(OLD[client])
        path.chmod(0o600)
    before = files(home)
    assert main(["connect", client, "--yes", "--url", "http://box:9/"]) == 0
    text, shown = path.read_text(), capsys.readouterr()
    assert "http://box:9/v1" in text and "+" in shown.out and "http://box:9/v1" in shown.out
    assert not old or path.stat().st_mode & 0o777 == 0o600
    # again, from another address, and the same once more
    assert main(["connect", client, "--yes"]) == 0
    assert "box" not in path.read_text() and "127.0.0.1:8000/v1" in path.read_text()
    assert main(["connect", client]) == 0
    assert "says so already" in capsys.readouterr().err
    assert main(["connect", client, "--undo", "--yes"]) == 0
    assert files(home) == before
    assert main(["connect", client, "--undo", "--yes"]) == 1
    assert "nothing to undo" in capsys.readouterr().err


@pytest.mark.parametrize(("said", "status"), [("y\n", 0), ("n\n", 1), ("", 1), (None, 1)])
def test_a_person_is_asked(
    said: str | None, status: int, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = io.StringIO(said or "y\n")
    typed.isatty = lambda: said is not None  # type: ignore[method-assign]
    if said == "":
        typed = io.StringIO()
        typed.isatty = lambda: True  # type: ignore[method-assign]
    monkeypatch.setattr(sys, "stdin", typed)
    assert main(["connect", "codex"]) == status
    assert bool(files(home)) == (status == 0)


def test_a_link_stays_one(home: Path) -> None:
    real = home / "dotfiles" / "codex.toml"
    real.parent.mkdir()
    real.write_text(OLD["codex"])
    link = home / PLACES["codex"]
    link.parent.mkdir()
    link.symlink_to(real)
    assert main(["connect", "codex", "--yes"]) == 0
    assert link.is_symlink() and "8000" in real.read_text()
    assert main(["connect", "codex", "--yes", "--undo"]) == 0
    assert link.is_symlink() and real.read_text() == OLD["codex"]


def test_a_key_is_named_and_not_written(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLASHLING_KEY", "sk-secret-1234")
    for client in CLIENTS:
        assert main(["connect", client, "--yes"]) == 0
    for name, text in files(home).items():
        assert "sk-secret" not in text, name
        assert "FLASHLING_KEY" in text or name.endswith(".before-flashling"), name


def test_the_rest_of_a_file_is_kept() -> None:
    told = json.loads(clients.opencode(OLD["opencode"], SERVER))
    assert told["theme"] == "dark" and told["model"] == "flashling/ling"
    assert told["provider"]["a"] == {"name": "é"}
    assert told["provider"]["flashling"]["models"]["ling"]["limit"]["context"] == 1000
    text = clients.codex(OLD["codex"], SERVER)
    told = tomllib.loads(text)
    assert "# mine" in text and told["approval_policy"] == "never"
    assert (told["model"], told["model_provider"]) == ("ling", "flashling")
    assert told["profiles"] == {"x": {"model": "kept"}}
    assert told["model_providers"]["other"] == {"name": "other"}
    assert told["model_providers"]["flashling"]["base_url"] == SERVER.url
    head, _, rest = clients.hermes(OLD["hermes"], SERVER).partition("# mine\n")
    assert head.startswith('model:\n  default: "ling"\n') and SERVER.url in head
    assert rest == "toolsets: [all]\n# of the terminal\nterminal:\n  model: kept\n"


@pytest.mark.parametrize(
    ("client", "old", "said"),
    [
        ("opencode", "// mine\n{}", "no plain JSON object"),
        ("kilo", "[]", "no plain JSON object"),
        ("codex", "model = ", "cannot be read"),
        ("codex", 'model_providers = {flashling = {name = "a"}}', "add this by hand"),
        ("codex", 'note = """\nmodel = "in a text"\n"""', "unusual way"),
        ("hermes", "{model: a}", "not written in blocks"),
    ],
)
def test_what_cannot_be_edited_is_left_alone(
    client: str, old: str, said: str, home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = home / PLACES[client]
    path.parent.mkdir(parents=True)
    path.write_text(old)
    assert main(["connect", client, "--yes"]) == 1
    assert said in capsys.readouterr().err
    assert list(files(home).values()) == [old]


def test_what_no_address_is(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["connect", "codex", "--yes", "--url", "box"]) == 1
    assert main(["connect", "codex", "--yes", "--context", "0"]) == 1
    assert "must begin with http" in capsys.readouterr().err
    assert not files(home)
