"""A toy model as a user has one: a folder with a random checkpoint and a trained tokenizer."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F

from flashling.batch import Batch
from flashling.config import TOY, ModelConfig
from flashling.model import weights
from flashling.model.ling import Ling
from flashling.model.past import Fresh
from flashling.text.template import render
from flashling.text.tokenizer import Tokenizer, train_tokenizer

TEXTS = ["Reply with one shell command.", "list the files of src", "ls -l src", "列出文件 HUMAN"]
SHELL = {"role": "system", "content": "Reply with one shell command."}


def talk(asked: str, said: str | dict, *before: dict) -> list[dict]:
    """One exchange; a dict is an assistant's message as it is."""
    answer = said if isinstance(said, dict) else {"role": "assistant", "content": said}
    return [*before, {"role": "user", "content": asked}, answer]


def call(name: str, **arguments: object) -> dict:
    """An assistant's message that calls a tool."""
    f = {"name": name, "arguments": arguments}
    return {"role": "assistant", "content": "", "tool_calls": [{"type": "function", "function": f}]}


ASKED = "列出文件 src"
PAGE = {"role": "tool", "content": "1. list files :: ls -l {{src}}"}
LOOKED = call("lookup", query=ASKED)
TALKS = [
    talk("list the files of src", "ls -l src", SHELL),
    talk("hi", "hello there"),
    talk("bye", "see you", *talk("hi", "hello there")),
    talk(ASKED, LOOKED, SHELL),
    [*talk(ASKED, LOOKED, SHELL), PAGE, {"role": "assistant", "content": "ls -l src"}],
    talk("time", call("current_time")),
]


def tokenizer() -> Tokenizer:
    """A few hundred tokens, every byte among them."""
    return train_tokenizer(TEXTS, 320)


def config() -> ModelConfig:
    """The toy shape with the tokenizer's ends."""
    t = tokenizer()
    return TOY.with_(vocab_size=t.vocab_size, eos_token_ids=t.eos_ids)


def write(folder: Path, seed: int = 0, c: ModelConfig | None = None) -> Path:
    """A random model in `folder`, loud enough that its answers differ from prompt to prompt."""
    c = c or config()
    model = Ling(c.with_(initializer_range=0.3)).init_weights(seed)
    model.config = c
    weights.save(model, folder, dtype=torch.float32)
    tokenizer().write(folder)
    return folder


def teach(folder: Path, talks: list[list[dict]], steps: int = 300) -> Path:
    """A toy model in `folder` that knows a few conversations by heart: the assistant's last words
    of each. Seconds on one core.
    """
    t, c = tokenizer(), config().with_(num_nextn_predict_layers=0)
    model = Ling(c).init_weights(0)
    texts = [render(m, tokenizer=t, add_generation_prompt=False) for m in talks]
    batch = Batch.pack([x.tokens for x in texts])
    trained = torch.tensor([m for x in texts for m in x.mask])
    rows = trained.nonzero()[:, 0]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(steps):
        hidden = model(batch, Fresh(batch))
        logits = model.logits(hidden[rows - 1])
        loss = F.cross_entropy(logits, batch.tokens[rows])
        if loss.item() < 0.01:
            break
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    else:
        raise AssertionError("the toy has not learnt its lines")
    weights.save(model, folder, dtype=torch.float32)
    t.write(folder)
    return folder
