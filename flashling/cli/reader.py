"""Reading what a person types: several lines, with a history; or lines from a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

Read = Callable[[], str]


def reader(history: Path, commands: list[str]) -> Read:
    """A function that returns the next message, and raises EOFError at the end.

    With a terminal and prompt_toolkit: Enter sends, Alt-Enter begins a new line, the arrows go
    through the history. Without prompt_toolkit: one line at a time. From a pipe: its lines.
    """
    if not sys.stdin.isatty():
        return _line
    try:
        return _editor(history, commands)
    except ImportError:
        with suppress(ImportError):
            # editing of the line and the arrows, where the system has it
            import readline  # noqa: F401
        return lambda: input("> ")


def _line() -> str:
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line.rstrip("\n")


def _editor(history: Path, commands: list[str]) -> Read:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def send(event: Any) -> None:
        event.current_buffer.validate_and_handle()

    @keys.add("escape", "enter")
    def new_line(event: Any) -> None:
        event.current_buffer.insert_text("\n")

    session: PromptSession[str] = PromptSession(
        history=FileHistory(str(history)),
        key_bindings=keys,
        multiline=True,
        completer=WordCompleter(commands, sentence=True),
        complete_while_typing=False,
        prompt_continuation="  ",
    )
    return lambda: session.prompt("> ")
