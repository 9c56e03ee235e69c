"""`flashling run`, `suggest` and `explain`: one answer, one command, one look at a command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from .explained import lines
from .terminal import note, paint, stoppable

if TYPE_CHECKING:
    from ..llm import LLM

Model = Annotated[str, Parameter(name=["--model", "-m"])]
# below this total log-probability other commands are offered too: about one in two
UNSURE = -0.7


def run(
    *prompt: str,
    model: Model = "embedded",
    system: str | None = None,
    temperature: float | None = None,
    seed: int = 0,
    max_tokens: int = 1024,
    dtype: str | None = None,
    exact: bool = False,
    drafts: int | None = None,
) -> None:
    """Answer once and leave. What is piped in is added below the prompt.

    Parameters
    ----------
    prompt
        What to ask; words are joined.
    model
        A model's folder; the small one that comes with the package when left out.
    system
        A system message.
    temperature
        0 always takes the likeliest token; the default is 0 for the embedded model, else 0.7.
    seed
        The same seed and words give the same answer.
    max_tokens
        The longest answer.
    dtype
        float32, bfloat16 or float64; float32 on a CPU when left out.
    exact
        The same bits whatever the engine does beside it; slower.
    drafts
        Tokens guessed ahead at each step, as long as enough of them are right: for speed, and
        answers differ by rounding alone. When left out, 1 on a GPU if the model has an MTP layer.
    """
    text = _question(prompt)
    from . import setup

    settings = setup.sampling(model, temperature, seed, max_tokens)
    llm = setup.load(model, dtype, exact=exact, drafts=drafts)
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": text})
    _print(llm, messages, settings)


def _question(prompt: tuple[str, ...]) -> str:
    piped = "" if sys.stdin is None or sys.stdin.isatty() else sys.stdin.read().strip()
    text = "\n\n".join(t for t in (" ".join(prompt).strip(), piped) if t)
    if not text:
        raise ValueError('nothing to answer; give a prompt: flashling run "..."')
    return text


def _print(llm: LLM, messages: list[dict[str, Any]], settings: Any) -> None:
    from ..llm import Answer, Text

    with stoppable() as asked:
        for event in llm.chat(messages, None, settings):
            if asked.is_set():
                print(flush=True)
                raise KeyboardInterrupt
            if isinstance(event, Answer):
                # calls cannot be run here: they are shown as they are
                if event.calls or event.broken:
                    print(llm.tokenizer.decode(event.tokens, skip_special=True), end="")
                print(flush=True)
            elif isinstance(event, Text):
                print(event.text, end="", flush=True)


def suggest(
    *request: str,
    count: int = 1,
    explain: bool | None = None,
    model: Model = "embedded",
) -> None:
    """Print the shell command for a request, and run nothing.

    Parameters
    ----------
    request
        What to do, in English or Chinese; words are joined.
    count
        Print so many different commands, one per line, the likeliest first.
    explain
        Say on stderr what each flag does, what is not installed or destroys something, and offer
        others when unsure; by default when stdout is a terminal.
    model
        A model's folder; the small one that comes with the package when left out.
    """
    text = " ".join(request).strip()
    if not text:
        raise ValueError('nothing to suggest; say what to do: flashling suggest "list big files"')
    if count < 1:
        raise ValueError(f"count {count} must be 1 at least")
    from . import setup

    wants = sys.stdout.isatty() if explain is None else explain
    llm = setup.load(model)
    found = llm.commands(text, count)
    if not found:
        raise ValueError(f"no command found for {text!r}; say it in other words")
    print("\n".join(s.command for s in found), flush=True)
    if wants:
        _explain(found[0].command)
        unsure = count == 1 and found[0].logprob < UNSURE
        for other in llm.commands(text, 4) if unsure else []:
            if other.command != found[0].command:
                note(f"or: {other.command}")


def explain(*command: str) -> None:
    """Say what each flag of a command does, whether its programs are installed, and whether it
    destroys something. Nothing is run.

    Parameters
    ----------
    command
        The command line; quote it.
    """
    text = " ".join(command).strip()
    if not text:
        raise ValueError("nothing to explain; give a command: flashling explain 'tar -xzf a.tgz'")
    for line in lines(text) or ["cannot be read: is a quote left open?"]:
        print(paint(line, "red") if line.startswith("!") else line)


def _explain(command: str) -> None:
    for line in lines(command):
        note(f"  {line}", "red" if line.startswith("!") else "dim")
