"""Colours where a person looks, none elsewhere; and stopping an answer without leaving."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TextIO

CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


def paint(text: str, style: str, out: TextIO | None = None) -> str:
    """`text` in a colour when `out` (stdout) is a terminal and NO_COLOR is not set."""
    out = out or sys.stdout
    assert out is not None
    plain = not out.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return text if plain else f"\x1b[{CODES[style]}m{text}\x1b[0m"


def note(text: str, style: str = "dim") -> None:
    """A line beside the answer: on stderr, so that pipes carry the answer alone."""
    sys.stdout.flush()
    print(paint(text, style, sys.stderr), file=sys.stderr, flush=True)


def table(rows: list[list[str]], indent: str = "  ") -> str:
    """Rows in columns: the first flush left, the others flush right."""
    widths = [max(len(r[i]) for r in rows if i < len(r)) for i in range(max(map(len, rows)))]
    lines = []
    for row in rows:
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths))]  # noqa: B905
        lines.append((indent + "  ".join(cells)).rstrip())
    return "\n".join(lines)


def progress(what: str) -> Callable[[int, int], None]:
    """A function (done, all) that keeps one line on stderr up to date, where a person looks."""
    shown = -1

    def show(done: int, total: int) -> None:
        nonlocal shown
        percent = 100 * done // max(total, 1)
        if percent == shown or not sys.stderr.isatty():
            return
        shown = percent
        end = "\r\x1b[K" if done == total else ""
        print(f"\r{what} {percent:3d} %{end}", end="", file=sys.stderr, flush=True)

    return show


@contextmanager
def stoppable() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets; the second interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, on)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGINT, before)
