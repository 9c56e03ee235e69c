"""`flashling connect`: have a client ask our server."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from pathlib import Path
from typing import Literal

from .terminal import note, paint

BACKUP = ".before-flashling"


def connect(
    client: Literal["opencode", "codex", "kilo", "hermes"],
    /,
    *,
    url: str = "http://127.0.0.1:8000/v1",
    model: str = "embedded",
    context: int = 65_536,
    undo: bool = False,
    yes: bool = False,
) -> int:
    """Write a client's configuration so that it asks flashling serve. What changes is shown first.

    The file as it was is kept beside it. With FLASHLING_KEY set, the client reads its key from it.
    Exit status 1: nothing was written.

    Parameters
    ----------
    url
        The server's address.
    model
        The name to ask for; the server accepts any.
    context
        Tokens of the model's context, for clients that cut their conversations.
    undo
        Put back the file as it was.
    yes
        Do not ask.
    """
    from .clients import CLIENTS, KEY, Server

    if not url.startswith(("http://", "https://")):
        raise ValueError(f"--url {url!r} must begin with http:// or https://")
    if context < 1:
        raise ValueError(f"--context {context} must be 1 or more")
    place, edit = CLIENTS[client]
    path = place().resolve()
    backup = path.with_name(path.name + BACKUP)
    if undo and not backup.exists():
        raise ValueError(f"nothing to undo: there is no {backup}")
    old, address = _read(path), url.rstrip("/").removesuffix("/v1") + "/v1"
    server = Server(address, model, context, min(4096, context), KEY in os.environ)
    new = _read(backup) if undo else edit(old, server)
    if not undo and old == new:
        note(f"{path} says so already")
        return 0
    if _agreed(path, old, new, yes):
        _restore(path, backup) if undo else _write(path, backup, new)
        return 0
    note("nothing was written")
    return 1


def _read(path: Path) -> str:
    return path.read_text("utf-8") if path.exists() else ""


def _agreed(path: Path, old: str, new: str, is_sure: bool) -> bool:
    """Show the change, and ask; no where nobody can answer."""
    styles = {"+": "green", "-": "red", "@": "cyan"}
    pair = old.splitlines(), new.splitlines()
    for line in difflib.unified_diff(*pair, str(path), str(path), lineterm=""):
        print(paint(line, styles[line[0]]) if line[0] in styles else line)
    if is_sure:
        return True
    if not sys.stdin.isatty():
        note("a person's y is needed, or --yes")
        return False
    try:
        return input("write it? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _write(path: Path, backup: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # the first one is the user's own; none is kept as an empty one
    if not backup.exists():
        shutil.copy2(path, backup) if path.exists() else backup.touch()
    draft = path.with_name(path.name + ".draft")
    if path.exists():
        shutil.copy2(path, draft)
    draft.write_text(text, "utf-8")
    draft.replace(path)
    note(f"written: {path}; as it was: {backup}; --undo puts it back")


def _restore(path: Path, backup: Path) -> None:
    if backup.stat().st_size:
        backup.replace(path)
        note(f"{path} is as it was")
    else:
        path.unlink(missing_ok=True)
        backup.unlink()
        note(f"{path} is gone, as before")
