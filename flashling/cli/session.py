"""A conversation in a terminal: what was said, what is sent, and how an answer is shown."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..agent.explain import danger
from ..agent.loop import converse
from ..agent.tools import Tool, builtin
from .explained import lines
from .terminal import note, paint, stoppable

if TYPE_CHECKING:
    from ..llm import LLM, Answer, Usage
    from ..sampling import Sampling

Message = dict[str, Any]


class Stopped(Exception):
    """The person stopped the answer; what was said so far is kept."""


@dataclass
class Session:
    """One conversation with a model. tools: none, or those of `builtin`."""

    llm: LLM
    sampling: Sampling
    system: str | None = None
    tools: dict[str, Tool] = field(default_factory=dict)
    said: list[Message] = field(default_factory=list)
    usage: Usage | None = None

    @property
    def messages(self) -> list[Message]:
        """The conversation with its system message."""
        first = [{"role": "system", "content": self.system}] if self.system else []
        return [*first, *self.said]

    def ask(self, text: str) -> None:
        """Send a message, print the answer as it comes, and keep both."""
        self.said.append({"role": "user", "content": text})
        try:
            added = converse(self.messages, self.tools, self._answer, watch=_show_result)
        except Stopped as stop:
            partial = str(stop)
            # with nothing said the question is taken back
            if partial:
                self.said.append({"role": "assistant", "content": partial})
            else:
                self.said.pop()
            note("(stopped)")
            return
        except BaseException:
            self.said.pop()
            raise
        self.said += added
        if self.usage:
            note(_told(self.usage))

    def _answer(self, messages: list[Message], tools: list[dict[str, Any]]) -> Message:
        """One answer of the model, printed as it streams."""
        from ..llm import Answer, Reasoning, Text

        shown = ""
        with stoppable() as asked:
            for event in self.llm.chat(messages, tools or None, self.sampling):
                if asked.is_set():
                    print(flush=True)
                    raise Stopped(shown)
                if isinstance(event, Answer):
                    self.usage = event.usage
                    print(flush=True) if shown else None
                    _show_calls(event)
                    return event.message
                if isinstance(event, Text):
                    shown += event.text
                    print(event.text, end="", flush=True)
                elif isinstance(event, Reasoning):
                    print(paint(event.text, "dim"), end="", flush=True)
        raise AssertionError("an answer ends with its whole")

    def tokens(self) -> int:
        """Tokens that the conversation takes in the model's context."""
        return len(self.llm.prompt(self.messages, [t.schema() for t in self.tools.values()]))

    def save(self, file: Path) -> None:
        """Write the conversation as JSON."""
        told = {"messages": self.messages}
        file.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")


def make_tools(folder: Path) -> dict[str, Tool]:
    """The built-in tools; a suggested command is shown, and run only on the person's y."""
    return builtin(folder, approve)


def approve(command: str) -> bool:
    """Show a command and what it does, and ask; False where nobody can answer."""
    print(f"{paint('command', 'bold')}  {command}")
    for line in lines(command):
        print(f"  {line}")
    if not sys.stdin.isatty():
        note("not run: a command needs a person's y")
        return False
    question = "run it? [y/N] " if not danger(command) else "this can destroy; run it? [y/N] "
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _show_calls(answer: Answer) -> None:
    for call in answer.calls:
        f = call["function"]
        given = f["arguments"]
        text = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        note(f"> {f['name']} {text}")
    for raw in answer.broken:
        note(f"> a malformed call: {' '.join(raw.split())}", "red")


def _show_result(message: Message) -> None:
    first, *rest = message["content"].splitlines() or [""]
    note(f"< {first}{' ...' if rest else ''}")


def _told(usage: Usage) -> str:
    # one token has no rate
    rate = f", {usage.tokens_per_second:.1f} tokens/s" if usage.output_tokens > 1 else ""
    return (
        f"[{usage.output_tokens} tokens{rate}, first after {usage.first_seconds:.2f} s; "
        f"context {usage.prompt_tokens + usage.output_tokens}]"
    )
