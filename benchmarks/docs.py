"""`make docs`: the pages in docs/ that are made from the code and from results."""

from __future__ import annotations

import inspect
import io
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from flashling.ops.cases import OPS, all_cases

from . import full_size, kernels, served

DOCS = Path(__file__).parents[1] / "docs"
# of the help texts: as a terminal of this many columns shows them
WIDTH = 88
NOTE = "Made by `make docs`; change the code, not this page."


def main() -> int:
    """Write the pages that differ from what the code says."""
    for name, make in PAGES.items():
        path, text = DOCS / name, make()
        is_new = not path.exists() or path.read_text("utf-8") != text
        if is_new:
            path.write_text(text, "utf-8")
        print(f"docs/{name}: {'written' if is_new else 'up to date'}")
    return 0


def commands() -> list[str]:
    """Names of the command line's commands, in its order."""
    from flashling.cli.app import app

    return [name for name in app if not name.startswith("-")]


def every_command() -> Iterator[list[str]]:
    """The words of each command, those of a group's commands after it."""
    from flashling.cli.app import app

    for name in commands():
        yield [name]
        yield from ([name, inner] for inner in app[name] if not inner.startswith("-"))


def help_of(*words: str) -> str:
    """What `flashling WORDS --help` shows, without colours."""
    from rich.console import Console

    from flashling.cli.app import app

    shown = io.StringIO()
    console = Console(file=shown, width=WIDTH, color_system=None, force_terminal=False)
    app.help_print(list(words), console=console)
    return "\n".join(line.rstrip() for line in shown.getvalue().strip().splitlines())


def cli() -> str:
    """The page of the command line: every help text."""
    parts = ["# The command line", NOTE]
    for words in ([], *every_command()):
        called = " ".join(["flashling", *words])
        parts += [f"## {called}", f"```text\n{help_of(*words)}\n```"]
    return "\n\n".join(parts) + "\n"


def all_ops() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Every op with the name of its folder, in the order of the ops list and of its file."""
    for folder in OPS:
        module = import_module(f"flashling.ops.{folder}")
        # a copy: loading the cases adds a name to the module
        for found in list(vars(module).values()):
            if hasattr(found, "kernels") and found.__module__ == module.__name__:
                yield folder, found


def ops() -> str:
    """The page of the ops: what each means, its kernels, its cases."""
    rows = ["| op | what it is | kernels | cases |", "| --- | --- | --- | --- |"]
    for folder, op in all_ops():
        name = f"[`{op.__name__}`](../flashling/ops/{folder}/__init__.py)"
        # an index before a bracket would be read as a link
        meaning = _meaning(op).replace("|", "\\|").replace("](", "]\\(")
        rows.append(f"| {name} | {meaning} | {_kernels(op)} | {_cases(op)} |")
    about = (
        "Every op has a plain body, its meaning, which runs on every device; a kernel runs in its "
        "place on\none. Cases are the shapes that tests and `make bench` use; the full ones want "
        "a GPU."
    )
    return "\n\n".join(["# Ops", NOTE, about, "\n".join(rows)]) + "\n"


def _meaning(op: Callable[..., Any]) -> str:
    """The first paragraph of the docstring: its first line where that ends a sentence."""
    text = inspect.getdoc(op) or ""
    return " ".join(text.split("\n\n")[0].split())


def _kernels(op: Callable[..., Any]) -> str:
    found = []
    for kind, kernel in vars(op)["kernels"].items():
        shown = "the body, compiled" if kernel == "compile" else f"`{kernel.lstrip('.')}`"
        found.append(f"{kind}: {shown}")
    return "; ".join(found) or "none"


def _cases(op: Callable[..., Any]) -> str:
    small, full = ([c.name for c in all_cases(s) if c.op is op] for s in ("small", "full"))
    parts = [", ".join(small), f"full: {', '.join(full)}" if full else ""]
    return "; ".join(filter(None, parts)) or "none"


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli,
    "full-size.md": full_size.page,
    "kernels.md": kernels.page,
    "ops.md": ops,
    "served.md": served.page,
}

if __name__ == "__main__":
    sys.exit(main())
