"""Tools for a chat: each a name, a JSON schema and a function. None changes anything by itself."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from . import calc, files

MOST_OUTPUT, MOST_SECONDS = 4_000, 60
SCHEMA_TYPES: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
}


class ToolError(ValueError):
    """A call that the model got wrong; the message goes back to it."""


@dataclass(frozen=True)
class Tool:
    """What a model may call. properties: JSON schema of each argument; required: their names."""

    name: str
    description: str
    properties: Mapping[str, dict[str, Any]]
    run: Callable[..., str]
    required: tuple[str, ...] = field(default=())

    def schema(self) -> dict[str, Any]:
        """The declaration in the form that chat requests carry."""
        parameters = {
            "type": "object",
            "properties": dict(self.properties),
            "required": list(self.required),
        }
        told = {"name": self.name, "description": self.description, "parameters": parameters}
        return {"type": "function", "function": told}

    def call(self, arguments: str | Mapping[str, Any]) -> str:
        """The result as text; ToolError when the arguments do not fit or the tool refuses them."""
        given = self._checked(arguments)
        try:
            return self.run(**given)
        except (ValueError, OSError) as error:
            raise ToolError(str(error)) from None

    def _checked(self, arguments: str | Mapping[str, Any]) -> dict[str, Any]:
        try:
            given = json.loads(arguments or "{}") if isinstance(arguments, str) else arguments
        except ValueError as error:
            raise ToolError(f"the arguments are not JSON: {error}") from None
        if not isinstance(given, Mapping):
            raise ToolError("the arguments must be an object")
        missing = [n for n in self.required if n not in given]
        extra = [n for n in given if n not in self.properties]
        if missing or extra:
            known = ", ".join(self.properties)
            what = f"lacks {missing}" if missing else f"has no arguments {extra}"
            raise ToolError(f"{self.name} {what}; it takes: {known}")
        return {n: _fit(n, v, self.properties[n]) for n, v in given.items()}


def _fit(name: str, value: Any, schema: dict[str, Any]) -> Any:
    kind = schema.get("type", "string")
    if kind != "string" and isinstance(value, str):
        # small models quote their numbers
        try:
            value = int(value) if kind == "integer" else float(value)
        except ValueError:
            raise ToolError(f"{name} must be a {kind}, not {value!r}") from None
    if kind == "string" and isinstance(value, (int, float)) and not isinstance(value, bool):
        value = str(value)
    if isinstance(value, bool) or not isinstance(value, SCHEMA_TYPES[kind]):
        raise ToolError(f"{name} must be a {kind}, not {value!r}")
    if "enum" in schema and value not in schema["enum"]:
        raise ToolError(f"{name} must be one of {schema['enum']}, not {value!r}")
    return value


def _text(told: str, **more: Any) -> dict[str, Any]:
    return {"type": "string", "description": told, **more}


def _whole(told: str) -> dict[str, Any]:
    return {"type": "integer", "description": told}


def calculator() -> Tool:
    """Arithmetic."""
    return Tool(
        "calculate",
        "Compute an arithmetic expression.",
        {"expression": _text("for example 12.5 * (3 + 4) or sqrt(2)")},
        lambda expression: calc.shown(calc.evaluate(expression)),
        ("expression",),
    )


def dates() -> list[Tool]:
    """The time now, a date some time away, the time between two dates."""
    units = [*calc.SECONDS, *calc.DAYS, *calc.MONTHS]

    def now() -> str:
        return datetime.now().strftime(f"{calc.CLOCK} (%A)")

    def shift(amount: int, unit: str, start: str = "now") -> str:
        return calc.shift(start, amount, unit)

    return [
        Tool("current_time", "The date, time and weekday now.", {}, now),
        Tool(
            "date_add",
            "The date some time after (or before, if negative) a start.",
            {
                "start": _text("a date such as 2026-03-14, or now, today, tomorrow"),
                "amount": _whole("how many units; negative for the past"),
                "unit": _text("the unit of time", enum=units),
            },
            shift,
            ("amount", "unit"),
        ),
        Tool(
            "date_difference",
            "The time between two dates.",
            {"start": _text("the first date"), "end": _text("the second date")},
            calc.between,
            ("start", "end"),
        ),
    ]


def converter() -> Tool:
    """Units of measure."""
    return Tool(
        "convert_units",
        "Convert a value from one unit to another.",
        {
            "value": {"type": "number", "description": "the value"},
            "from": _text("its unit, for example km, lb, fahrenheit"),
            "to": _text("the wanted unit"),
        },
        lambda **given: calc.convert(given["value"], given["from"], given["to"]),
        ("value", "from", "to"),
    )


def file_tools(folder: Path) -> list[Tool]:
    """Listing and reading below `folder` alone."""
    return [
        Tool(
            "list_files",
            "List a folder below the current one.",
            {"path": _text("the folder; empty for the current one")},
            lambda path=".": files.list_files(folder, path),
        ),
        Tool(
            "read_file",
            "Read a text file below the current folder.",
            {
                "path": _text("the file"),
                "first_line": _whole("line to begin with, from 1"),
                "lines": _whole("how many lines"),
            },
            lambda path, **span: files.read_file(folder, path, **span),
            ("path",),
        ),
    ]


def shell(folder: Path, approve: Callable[[str], bool]) -> Tool:
    """A command that is shown to the person by `approve`, and run only when that returns True."""

    def run(command: str) -> str:
        if not approve(command):
            return "The user did not allow this command. Do not try it again."
        text, status = _run(command, folder)
        if len(text) > MOST_OUTPUT:
            text = f"{text[:MOST_OUTPUT]}\n... (cut; {len(text)} characters)"
        note = f"\n(exit status {status})" if status else ""
        return (text or "(no output)") + note

    told = "Suggest a shell command; the user sees it and decides whether it runs."
    return Tool("shell", told, {"command": _text("one command line")}, run, ("command",))


def _run(command: str, folder: Path) -> tuple[str, int]:
    """Output and exit status of a command that gets no input and a minute."""
    with subprocess.Popen(
        ["bash", "-c", command],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    ) as process:
        try:
            out, _ = process.communicate(timeout=MOST_SECONDS)
        except BaseException as error:
            # its children too: they would hold the pipe open
            os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ValueError(f"the command ran over {MOST_SECONDS} s and was ended") from None
            raise
    return out.decode("utf-8", "replace").rstrip(), process.returncode


def builtin(folder: Path, approve: Callable[[str], bool]) -> dict[str, Tool]:
    """The tools of `flashling chat --tools`, by name."""
    found = [calculator(), *dates(), converter(), *file_tools(folder), shell(folder, approve)]
    return {t.name: t for t in found}
