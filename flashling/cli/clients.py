"""What each client's configuration says so that it asks our server."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# where clients find a key, if the server wants one: it is named, never written
KEY = "FLASHLING_KEY"


@dataclass(frozen=True)
class Server:
    """Where a client is to ask. url: with /v1; context and output: in tokens."""

    url: str
    model: str = "embedded"
    context: int = 65_536
    output: int = 4096
    has_key: bool = False


def opencode(old: str, server: Server) -> str:
    """opencode.json with the server as a provider and its model in use; ValueError if it is no JSON
    without comments. Kilo reads the same form.
    """
    told = _json(old)
    limits = {"context": server.context, "output": server.output}
    options = {"baseURL": server.url, "apiKey": f"{{env:{KEY}}}" if server.has_key else "any"}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "flashling",
        "options": options,
        "models": {server.model: {"name": server.model, "limit": limits}},
    }
    providers = {**told.get("provider", {}), "flashling": provider}
    told |= {"model": f"flashling/{server.model}", "provider": providers}
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def codex(old: str, server: Server) -> str:
    """config.toml with the server as a provider of responses; what else it says stays as it is."""
    before = _toml(old)
    head, tables = re.match(r"(.*?)(?=^\s*\[|\Z)(.*)", old, re.M | re.S).groups()  # pyright: ignore
    head = re.sub(r"^(model|model_provider|model_context_window)\s*=.*\n?", "", head, flags=re.M)
    own = r"^\[model_providers\.flashling\].*?(?=^\s*\[|\Z)"
    tables = re.sub(own, "", tables, flags=re.M | re.S)
    # a text in quotes is the same in JSON and TOML
    model, url = json.dumps(server.model), json.dumps(server.url)
    first = f'model = {model}\nmodel_provider = "flashling"\n'
    first += f"model_context_window = {server.context}\n"
    last = f'[model_providers.flashling]\nname = "flashling"\nbase_url = {url}\n'
    last += 'wire_api = "responses"\n' + (f'env_key = "{KEY}"\n' if server.has_key else "")
    parts = [first + head.strip("\n"), tables.strip("\n"), last]
    new = "\n\n".join(p.strip("\n") for p in parts if p) + "\n"
    try:
        is_kept = _rest(tomllib.loads(new)) == _rest(before)
    except tomllib.TOMLDecodeError:
        is_kept = False
    if not is_kept:
        raise ValueError(f"config.toml is written in an unusual way; add this by hand:\n{last}")
    return new


def hermes(old: str, server: Server) -> str:
    """config.yaml whose model is that of the server; its other settings stay as they are.
    ValueError if it is not written in blocks.
    """
    if old.lstrip().startswith(("{", "%", "---")):
        raise ValueError("config.yaml is not written in blocks; set model.base_url by hand")
    lines = [
        "model:",
        f"  default: {json.dumps(server.model)}",
        "  provider: custom",
        f"  base_url: {json.dumps(server.url)}",
        f"  api_key: {'${' + KEY + '}' if server.has_key else 'any'}",
        f"  context_length: {server.context}",
    ]
    # the block ends where a line begins at the left again; comments belong to what follows
    rest = re.sub(r"^model:.*\n?(?:[ \t]+.*\n?|\n(?=[ \t]))*", "", old, flags=re.M)
    return "\n".join(lines) + "\n" + rest


def _json(text: str) -> dict[str, Any]:
    try:
        told = json.loads(text or "{}")
    except ValueError:
        told = None
    if not isinstance(told, dict) or not isinstance(told.get("provider", {}), dict):
        raise ValueError("it is no plain JSON object (comments?); make it one, or add it by hand")
    return told


def _toml(text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"config.toml cannot be read: {error}; mend it first") from None


def _rest(told: dict[str, Any]) -> dict[str, Any]:
    """What a config.toml says beside our part."""
    ours = ("model", "model_provider", "model_context_window", "model_providers")
    providers = {n: v for n, v in told.get("model_providers", {}).items() if n != "flashling"}
    return {n: v for n, v in told.items() if n not in ours} | {"": providers}


def _config(*parts: str) -> Path:
    root = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(root).joinpath(*parts)


def _home(variable: str, folder: str, name: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / folder) / name


# of each client: where its file is, and how its text becomes ours
CLIENTS: dict[str, tuple[Callable[[], Path], Callable[[str, Server], str]]] = {
    "opencode": (lambda: _config("opencode", "opencode.json"), opencode),
    "codex": (lambda: _home("CODEX_HOME", ".codex", "config.toml"), codex),
    "kilo": (lambda: _config("kilo", "kilo.json"), opencode),
    "hermes": (lambda: _home("HERMES_HOME", ".hermes", "config.yaml"), hermes),
}
