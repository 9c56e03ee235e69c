"""What the commands share: a model and its settings from the flags."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..llm import LLM
    from ..sampling import Sampling


def load(
    model: str,
    dtype: str | None = None,
    chat_template: str | None = None,
    exact: bool = False,
    drafts: int | None = None,
) -> LLM:
    """The LLM in the folder `model` or the embedded one; with a Jinja file in place of our
    renderer when `chat_template` is given.
    """
    from ..llm import LLM
    from .terminal import note, progress

    llm = LLM(model, dtype, exact=exact, drafts=drafts)
    llm.warm(progress("kernels and steps"))
    if llm.startup is not None:
        note(str(llm.startup))
    if chat_template is not None:
        from ..text.jinja import template

        llm.prompts.template = template(Path(chat_template), llm.tokenizer)
    return llm


def sampling(model: str, temperature: float | None, seed: int, max_tokens: int) -> Sampling:
    """Settings of a chat: greedy for the embedded model, a mild draw for others."""
    from ..sampling import Sampling

    if temperature is None:
        temperature = 0.0 if model == "embedded" else 0.7
    top_p = 0.95 if temperature > 0 else 1.0
    return Sampling(temperature=temperature, top_p=top_p, seed=seed, max_tokens=max_tokens)


def state_folder() -> Path:
    """Where histories are kept: flashling's folder in the XDG state folder; made when missing."""
    root = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    folder = Path(root) / "flashling"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
