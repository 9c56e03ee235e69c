"""Conversations to the tokens of a prompt, with the assistant's turns as they were drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..text.template import Rendered, render
from ..text.tokenizer import Tokenizer
from .answer import Answer, Message
from .guides import Tools
from .turn_files import TurnFiles
from .turns import Turns

# messages, tools and the thinking switch to prompt tokens: as `text.jinja.template` returns it
Template = Callable[[Sequence[Message], Tools, bool | None], list[int]]
# what ends the assistant's message
ROLE_END = "<|role_end|>"


@dataclass(frozen=True)
class Talk:
    """A conversation that awaits an answer. prompt: its tokens; without borders if a template of
    the checkpoint's own made them. turns: those of its turns that were recorded.
    """

    prompts: Prompts
    messages: list[Message]
    tools: Tools
    thinking: bool | None
    prompt: Rendered
    turns: Mapping[bytes, list[int]] = field(default_factory=dict)

    def record(self, answer: Answer, namespace: str = "", session: str = "") -> None:
        """Keep the ids of an answer that has come to its own end, for when it is sent again; and
        with a session for as long as that is parked.
        """
        tokenizer = self.prompts.tokenizer
        is_whole = tokenizer.has(ROLE_END) and answer.tokens[-1:] == [tokenizer.id(ROLE_END)]
        if not is_whole or answer.broken or not self.prompt.borders:
            return
        whole = render(
            [*self.messages, answer.message],
            self.tools,
            tokenizer=tokenizer,
            add_generation_prompt=False,
            thinking=self.thinking,
        )
        tokens, start = self.prompt.tokens, self.prompt.borders[-1]
        reread, drawn = whole.tokens[whole.borders[-2] :], tokens[start:] + answer.tokens
        turns = {**self.turns, **self.prompts.turns.record(tokens[:start], reread, drawn)}
        files = self.prompts.files
        if files is not None and session and turns:
            files.write(namespace, session, turns)


class Prompts:
    """Makes prompts for one tokenizer. template: in place of the built-in chat format."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.turns = tokenizer, Turns()
        self.template: Template | None = None
        self.files: TurnFiles | None = None

    def keep_in(self, folder: Path) -> None:
        """Have the turns of sessions outlive the process, beside their pasts in `folder`; those
        that are there are known from now on.
        """
        self.files = TurnFiles(folder, self.tokenizer.source.encode())
        self.turns.add(self.files.read())

    def of(self, messages: Sequence[Message], tools: Tools, thinking: bool | None) -> Talk:
        """A conversation and its prompt."""
        if self.template is not None:
            prompt, turns = Rendered(self.template(messages, tools, thinking)), {}
        else:
            found = render(messages, tools, tokenizer=self.tokenizer, thinking=thinking)
            prompt, turns = self.turns.splice(found)
        return Talk(self, list(messages), tools, thinking, prompt, turns)
