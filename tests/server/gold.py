"""A server that says what it was told to: all of a request's path is real but the model, and only
one token may come next. The request's seed is the number of its answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from types import SimpleNamespace
from typing import Any

import torch
import uvicorn
from torch import Tensor

from flashling import nano
from flashling.batch import Batch
from flashling.config import TOY
from flashling.engine.compiler import Compiler
from flashling.engine.engine import Engine
from flashling.engine.grammar import Grammar
from flashling.engine.request import Continuation, Request
from flashling.llm.face import Face
from flashling.llm.prompts import Prompts
from flashling.llm.service import Service
from flashling.model.ling import Ling
from flashling.model.oracle import Guide
from flashling.model.past import Past
from flashling.server.app import make
from flashling.server.run import Listener
from flashling.server.settings import Settings
from flashling.text.tokenizer import Tokenizer


def written(calls: Sequence[tuple[str, dict]]) -> list[str]:
    """Calls, or an answer without any, in Ling's raw text: its pieces, of which those that are
    special tokens stand alone.
    """
    found: list[str] = []
    for name, arguments in calls:
        body = f'\n{{"name": {told(name)}, "arguments": {told(arguments)}}}\n'
        found += [*(["\n"] if found else []), "<tool_call>", body, "</tool_call>"]
    return [*(found or ["None of these functions fits."]), "<|role_end|>"]


def told(value: object) -> str:
    """A value as JSON, as the chat format writes it."""
    return json.dumps(value, ensure_ascii=False)


def tokens_of(
    pieces: Sequence[str], tokenizer: Tokenizer, cuts: random.Random | None = None
) -> list[int]:
    """The tokens of raw text. cuts: split what is not special at random, in the middle of words,
    of escapes and of characters.
    """
    found: list[int] = []
    single = _bytes(tokenizer) if cuts else {}
    for piece in pieces:
        if tokenizer.has(piece):
            found.append(tokenizer.id(piece))
        elif cuts is None:
            found += tokenizer.encode(piece)
        else:
            found += _cut(piece.encode(), tokenizer, single, cuts)
    return found


@cache
def _bytes(tokenizer: Tokenizer) -> dict[bytes, int]:
    """The tokens of single bytes, among others."""
    return {tokenizer.bytes_of(i): i for i in range(tokenizer.vocab_size)}


def _cut(
    text: bytes, tokenizer: Tokenizer, single: dict[bytes, int], cuts: random.Random
) -> Iterator[int]:
    at = 0
    while at < len(text):
        piece = text[at : at + cuts.randint(1, 8)]
        at += len(piece)
        try:
            yield from tokenizer.encode(piece.decode())
        except UnicodeDecodeError:
            yield from (single[bytes([b])] for b in piece)


class Mute(Ling):
    """A model that does not think, as nothing of it is heard."""

    def forward(self, batch: Batch, past: Past) -> Tensor:
        return self.embed(batch.tokens)


class Script:
    """A guide along which only `tokens` come. inner: what they are held to besides."""

    def __init__(self, tokens: list[int], tokenizer: Tokenizer, inner: Guide | None) -> None:
        self.tokens, self.tokenizer, self.inner, self.at = tokens, tokenizer, inner, 0

    @property
    def is_done(self) -> bool:
        return self.at == len(self.tokens)

    def mask(self) -> Tensor:
        token, decode = self.tokens[self.at], self.tokenizer.decode
        if self.inner is not None and not self.inner.mask()[token]:
            said = decode(self.tokens[: self.at])
            raise ValueError(f"the grammar refuses {decode([token])!r} after {said!r}")
        only = torch.zeros(self.tokenizer.vocab_size, dtype=torch.bool)
        only[token] = True
        return only

    def accept(self, token: int) -> None:
        if self.inner is not None:
            self.inner.accept(token)
        self.at += 1

    def draft_masks(self, drafts: Sequence[int]) -> list[Tensor]:
        return [self.mask()]


class Gold(Engine):
    """An engine whose requests get the answers of their seeds. is_held: under their grammars."""

    def __init__(
        self, model: Ling, tokenizer: Tokenizer, answers: Mapping[int, list[int]], is_held: bool
    ) -> None:
        super().__init__(model, slots=16, pages=2048, budget=1024)
        self.tokenizer, self.answers, self.is_held = tokenizer, answers, is_held

    def add_samples(self, request: Request, count: int) -> list[int]:
        if tokens := self.answers.get(request.sampling.seed):
            held = request.guide if self.is_held else None
            request = replace(request, guide=partial(self._script, tokens, held))
        return super().add_samples(request, count)

    def _script(self, tokens: list[int], held: Callable[[], Guide] | None) -> Script:
        return Script(tokens, self.tokenizer, held() if held else None)


class Near:
    """In place of a supervisor: an engine of this process, which tells the server's event loop."""

    trouble = ""

    def __init__(self, service: Service, compiler: Compiler) -> None:
        self.service, self.compiler = service, compiler

    def open(self, request: Continuation, samples: int, grammar: Grammar | None, tell: Any) -> Any:
        loop = asyncio.get_running_loop()
        taken = loop.create_future()
        taken.set_result([])
        guide = None if grammar is None else self.compiler.compile(grammar).start
        stream = self.service.open(
            Request(**vars(request), guide=guide),
            samples,
            lambda i, event: loop.call_soon_threadsafe(tell, i, event),
        )
        return SimpleNamespace(taken=taken, close=stream.close, stop=stream.stop)

    async def run(self) -> None:
        self.end = asyncio.Event()
        await self.end.wait()

    async def close(self) -> bool:
        self.end.set()
        return True


@contextlib.contextmanager
def serving(
    answers: Sequence[Sequence[str]], *, is_held: bool, cuts: random.Random | None = None
) -> Iterator[str]:
    """The address of a server that gives `answers` in raw text, to the seeds 1, 2, ..."""
    tokenizer = Tokenizer.read(nano.path())
    shape = TOY.with_(
        vocab_size=tokenizer.vocab_size,
        eos_token_ids=tokenizer.eos_ids,
        num_hidden_layers=2,
        num_nextn_predict_layers=0,
        max_position_embeddings=1 << 16,
    )
    model = Mute(shape).init_weights(0)
    tokens = {i: tokens_of(pieces, tokenizer, cuts) for i, pieces in enumerate(answers, 1)}
    service = Service(lambda: Gold(model, tokenizer, tokens, is_held))
    engine: Any = Near(service, Compiler(tokenizer, shape.vocab_size))
    app = make(Face(shape, tokenizer, Prompts(tokenizer), engine), Settings(port=0))
    config = uvicorn.Config(app, port=0, lifespan="off", log_config=None, access_log=False)
    listener = Listener(config, app)
    thread = threading.Thread(target=listener.run)
    thread.start()
    while not listener.started and thread.is_alive():
        time.sleep(0.01)
    try:
        host, port = listener.servers[0].sockets[0].getsockname()[:2]
        yield f"http://{host}:{port}/v1"
    finally:
        listener.should_exit = True
        thread.join()
