"""`flashling chat`: a conversation in the terminal."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from .terminal import note, paint

if TYPE_CHECKING:
    from .reader import Read
    from .session import Session

COMMANDS = {
    "/help": "this list",
    "/reset": "forget the conversation",
    "/system": "TEXT: set the system message (empty: none) and forget the conversation",
    "/save": "FILE: write the conversation as JSON",
    "/tokens": "tokens in the context, and those of the last answer",
    "/exit": "leave (also Ctrl-D)",
}
KEYS = "Enter sends, Alt-Enter begins a new line, Ctrl-C stops an answer."


def chat(
    model: str = "embedded",
    /,
    *,
    system: str | None = None,
    tools: bool = False,
    temperature: float | None = None,
    seed: int = 0,
    max_tokens: int = 1024,
    dtype: str | None = None,
    chat_template: str | None = None,
    drafts: int | None = None,
) -> None:
    """Talk to a model. From a pipe, every line is a message.

    Parameters
    ----------
    model
        A model's folder; the small one that comes with the package when left out.
    system
        A system message.
    tools
        Let it use a calculator, dates, units, and files below this folder, and suggest shell
        commands; none is run without your y.
    temperature
        0 always takes the likeliest token; the default is 0 for the embedded model, else 0.7.
    seed
        The same seed and words give the same answer.
    max_tokens
        The longest answer.
    dtype
        float32, bfloat16 or float64; float32 on a CPU when left out.
    chat_template
        A Jinja file to use in place of the built-in chat format.
    drafts
        Tokens guessed ahead at each step, as long as enough of them are right: for speed, and
        answers differ by rounding alone. When left out, 1 on a GPU if the model has an MTP layer.
    """
    from . import setup
    from .reader import reader
    from .session import Session, make_tools

    settings = setup.sampling(model, temperature, seed, max_tokens)
    llm = setup.load(model, dtype, chat_template, drafts=drafts)
    offered = make_tools(Path.cwd()) if tools else {}
    session = Session(llm, settings, system, offered)
    if sys.stdin.isatty():
        print(f"{paint('flashling', 'bold')} {model}. /help lists the commands.")
    _talk(session, reader(setup.state_folder() / "history", list(COMMANDS)))


def _talk(session: Session, read: Read) -> None:
    while True:
        try:
            text = read().strip()
        except EOFError:
            return
        except KeyboardInterrupt:
            note("(Ctrl-D or /exit leaves)")
            continue
        if text == "/exit":
            return
        if not text:
            continue
        try:
            command(session, text) if text.startswith("/") else session.ask(text)
        except (ValueError, OSError) as error:
            # a bad path or an over-long message ends neither the chat nor its past
            note(f"flashling: {error}", "red")


def command(session: Session, text: str) -> None:
    """Do what a line that begins with / asks for; ValueError for an unknown one."""
    name, _, rest = text.partition(" ")
    rest = rest.strip()
    if name == "/help":
        print("\n".join(f"{c.ljust(8)} {told}" for c, told in COMMANDS.items()))
        print(KEYS)
    elif name == "/reset":
        session.said.clear()
        note("(forgotten)")
    elif name == "/system":
        session.system = rest or None
        session.said.clear()
        note("(the conversation begins anew)")
    elif name == "/save":
        if not rest:
            raise ValueError("/save needs a file name: /save talk.json")
        session.save(Path(rest).expanduser())
        note(f"(saved in {rest})")
    elif name == "/tokens":
        print(f"{session.tokens()} tokens in the context{_last(session)}")
    else:
        raise ValueError(f"no command {name}; /help lists them")


def _last(session: Session) -> str:
    used = session.usage
    if used is None:
        return ""
    return (
        f"; the last answer read {used.prompt_tokens} ({used.cached_tokens} of them kept from "
        f"before) and wrote {used.output_tokens}"
    )
