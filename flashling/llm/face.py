"""A model as those see it who do not hold it: all of an LLM but the weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ..config import ModelConfig
from ..text.tokenizer import Tokenizer
from .folder import folder_of
from .prompts import Prompts
from .supervisor import Supervisor


@dataclass(frozen=True, eq=False)
class Face:
    """What makes requests of messages and text of tokens, and the engine elsewhere that runs the
    requests.
    """

    config: ModelConfig
    tokenizer: Tokenizer
    prompts: Prompts
    engine: Supervisor

    @classmethod
    def read(cls, engine: Supervisor, template: Path | None = None) -> Face:
        """The face of the model that `engine` is to load; with a Jinja file in place of the
        built-in chat format when `template` is given. ValueError names what is wrong.
        """
        folder = folder_of(engine.setup.model)
        tokenizer = Tokenizer.read(folder)
        prompts = Prompts(tokenizer)
        if template is not None:
            from ..text.jinja import template as read

            prompts.template = read(template, tokenizer)
        return cls(ModelConfig.read(folder), tokenizer, prompts, engine)
