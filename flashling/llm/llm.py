"""The LLM: a model with its tokenizer, and the engine that answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, Literal, overload

import torch

from ..agent.shell import NUM_PAGES, Candidate, Suggestion, suggest
from ..engine.bits import check_exact
from ..engine.request import Event as Drawn
from ..engine.request import Request
from ..engine.warm import prepare, record
from ..model.decode import likeliest, score
from ..model.ling import Ling
from ..model.stage import Progress
from ..sampling import Sampling
from ..text.template import Rendered
from ..text.tokenizer import Tokenizer
from ..text.toolcalls import Text, parse
from .answer import Alternative, Answer, Event, Message, Reading, message
from .guides import Guides, Schema, Tools
from .load import drafts_of, load
from .prompts import Prompts, Talk
from .service import Service
from .sizes import engine_for

GREEDY = Sampling(temperature=0.0, max_tokens=1024)
# how many answers to a looked-up page are weighed
READINGS = 3
# seconds without news after which a caller may look whether it is to stop
PATIENCE = 0.1


class LLM:
    """A model that answers. Requests of all threads and tasks run together on one engine, which is
    made at the first of them; the past of a conversation is kept for its next turn. startup: what
    reading it onto a GPU took.
    """

    def __init__(
        self,
        path: str | Path | None = "embedded",
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
        exact: bool = False,
        drafts: int | None = None,
    ) -> None:
        """The model in the folder `path` (config.json, tokenizer.json, safetensors), or the
        embedded one.

        dtype: torch's or its name; by default float32 on the CPU and bfloat16 elsewhere. device:
        by default the CPU for the embedded model, else a GPU where there is one. exact: the same
        bits whatever runs beside a request and was cached before it (docs/numerics.md); slower.
        drafts: tokens guessed ahead at each step while that pays; by default one on a GPU if there
        is an MTP layer. ValueError names what is wrong and how to go on.
        """
        model, tokenizer, self.startup = load(path, dtype, device, exact, drafts)
        self._set(model, tokenizer, exact, drafts_of(model, drafts))

    @classmethod
    def of(cls, model: Ling, tokenizer: Tokenizer) -> LLM:
        """An LLM of parts that are there already."""
        llm = cls.__new__(cls)
        llm.startup = None
        llm._set(model, tokenizer)
        return llm

    def _set(self, model: Ling, tokenizer: Tokenizer, exact: bool = False, drafts: int = 0) -> None:
        if exact:
            check_exact(model)
        self.model, self.tokenizer = model, tokenizer
        self.service = Service(lambda: engine_for(self.model, exact=exact, drafts=drafts))
        self.prompts = Prompts(tokenizer)
        self._guides = Guides(tokenizer, model.config.vocab_size)

    def warm(self, progress: Progress | None = None) -> float:
        """Compile the GPU kernels that its requests will run, if that was not done while weights
        were read, and record its steps, so that none waits for that: the seconds it took.
        progress(done, all) is called.
        """
        if self.model.head.device.type != "cuda":
            return 0.0
        make = prepare if self.startup is None else record
        return self.service.call(lambda engine: make(engine, progress))

    def prompt(
        self, messages: Sequence[Message], tools: Tools = None, thinking: bool | None = None
    ) -> list[int]:
        """The tokens that ask for the assistant's next message."""
        return self.prompts.of(messages, tools, thinking).prompt.tokens

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        tools: Tools = ...,
        sampling: Sampling = ...,
        *,
        schema: Schema = ...,
        stream: Literal[True] = ...,
        thinking: bool | None = ...,
    ) -> Iterator[Event]: ...
    @overload
    def chat(
        self,
        messages: Sequence[Message],
        tools: Tools = ...,
        sampling: Sampling = ...,
        *,
        schema: Schema = ...,
        stream: Literal[False],
        thinking: bool | None = ...,
    ) -> Answer: ...
    def chat(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        sampling: Sampling = GREEDY,
        *,
        schema: Schema = None,
        stream: bool = True,
        thinking: bool | None = None,
    ) -> Iterator[Event] | Answer:
        """The assistant's answer to a conversation: events as they come and the whole `Answer` at
        the end, or with stream=False that alone.

        messages, tools: in the form of OpenAI's requests. Calls are held to the declared tools and
        their schemas where llguidance is installed. schema: a JSON schema, in place of tools, that
        the answer is held to. Closing the iterator stops the answer; the past stays usable. Empty
        texts may come while there is no news.
        """
        talk = self.prompts.of(messages, tools, thinking)
        events = self._stream(self._request(talk.prompt, sampling, tools, schema), talk)
        return events if stream else _last(events)

    async def achat(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        sampling: Sampling = GREEDY,
        *,
        schema: Schema = None,
        thinking: bool | None = None,
    ) -> Answer:
        """As `chat` with stream=False, for asyncio; cancelling the task stops the answer."""
        events = self.astream(messages, tools, sampling, schema=schema, thinking=thinking)
        found = [e async for e in events if isinstance(e, Answer)]
        return found[0]

    async def astream(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        sampling: Sampling = GREEDY,
        *,
        schema: Schema = None,
        thinking: bool | None = None,
    ) -> AsyncIterator[Event]:
        """As `chat` with stream=True, for `async for`."""
        talk = self.prompts.of(messages, tools, thinking)
        # a grammar may take seconds to compile
        request = await asyncio.to_thread(self._request, talk.prompt, sampling, tools, schema)
        loop, told = asyncio.get_running_loop(), asyncio.Queue[Drawn | Exception]()
        stream = self.service.open(
            request, 1, lambda _, event: loop.call_soon_threadsafe(told.put_nowait, event)
        )
        reading, is_last = Reading(self.tokenizer, request.sampling), False
        try:
            while not is_last:
                event = await told.get()
                if isinstance(event, Exception):
                    raise event
                is_last = bool(event.finish)
                for e in reading.push(event):
                    if isinstance(e, Answer):
                        talk.record(e)
                    yield e
                if reading.is_over:
                    stream.stop(0)
        finally:
            stream.close()

    def complete(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling = GREEDY,
        *,
        schema: Schema = None,
    ) -> Iterator[Event]:
        """Continue a text or tokens as they are, without the chat format; as `chat`."""
        request = self._request(self._tokens(prompt), sampling, schema=schema)
        yield from self._stream(request)

    def generate(
        self,
        prompts: str | Sequence[int] | Sequence[str] | Sequence[Sequence[int]],
        sampling: Sampling = GREEDY,
        *,
        n: int = 1,
        schema: Schema = None,
    ) -> list[Answer]:
        """Continue one prompt or several, texts or tokens, as they are: `n` answers to each, one
        prompt's after the other's. All run together.
        """
        if n < 1:
            raise ValueError(f"{n} samples are asked for; ask for 1 at least")
        is_one = isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int))
        several: Any = [prompts] if is_one else prompts
        requests = [self._request(self._tokens(p), sampling, schema=schema) for p in several]
        found: dict[tuple[int, int], Answer] = {}
        for place, event in self._run(requests, n):
            if isinstance(event, Answer):
                found[place] = event
        return [found[place] for place in sorted(found)]

    def _tokens(self, prompt: str | Sequence[int]) -> Rendered:
        is_text = isinstance(prompt, str)
        return Rendered(self.tokenizer.encode(prompt) if is_text else list(prompt))

    def _request(
        self,
        prompt: Rendered,
        sampling: Sampling,
        tools: Tools = None,
        schema: Schema = None,
    ) -> Request:
        # a config may leave the ends of an answer to the tokenizer
        stops = dict.fromkeys([*sampling.stop_ids, *self.tokenizer.eos_ids])
        settings = replace(sampling, stop_ids=tuple(stops))
        guide = self._guides.of(tools, schema)
        # other conversations go on from the end of the system message
        borders = tuple(prompt.borders[:1])
        return Request(tuple(prompt.tokens), settings, boundaries=borders, guide=guide)

    def _stream(self, request: Request, talk: Talk | None = None) -> Iterator[Event]:
        for _, event in self._run([request], 1):
            if talk and isinstance(event, Answer):
                talk.record(event)
            yield event

    def _run(
        self, requests: Sequence[Request], samples: int
    ) -> Iterator[tuple[tuple[int, int], Event]]:
        """The events of all samples of all requests, each with the numbers of both."""
        told: SimpleQueue[tuple[tuple[int, int], Drawn | Exception]] = SimpleQueue()
        settings = [r.sampling for r in requests for _ in range(samples)]
        places = [(r, i) for r in range(len(requests)) for i in range(samples)]
        reading = {p: Reading(self.tokenizer, s) for p, s in zip(places, settings, strict=True)}
        streams = [
            self.service.open(request, samples, lambda i, event, r=r: told.put(((r, i), event)))
            for r, request in enumerate(requests)
        ]
        try:
            while reading:
                try:
                    place, event = told.get(timeout=PATIENCE)
                except Empty:
                    yield next(iter(reading)), Text("")
                    continue
                if isinstance(event, Exception):
                    raise event
                for e in reading[place].push(event):
                    yield place, e
                if reading[place].is_over:
                    streams[place[0]].stop(place[1])
                if event.finish:
                    del reading[place]
        finally:
            for stream in streams:
                stream.close()

    def score(self, tokens: Sequence[int]) -> list[float]:
        """The log-probability of each token after the first, given those before it."""
        return score(self.model, tokens)

    def alternatives(
        self,
        messages: Sequence[Message],
        n: int = 3,
        *,
        tools: Tools = None,
        max_tokens: int = 128,
    ) -> list[Alternative]:
        """Up to `n` answers that differ as text, the likeliest first; with n = 1 the greedy one."""
        found = likeliest(
            self.model,
            self.prompt(messages, tools),
            # a little wider than asked: tokens that differ may spell the same text
            n if n == 1 else n + 1,
            width=1 if n == 1 else n + 2,
            stop_ids=self.tokenizer.eos_ids,
            max_tokens=max_tokens,
        )
        best: dict[str, Alternative] = {}
        for g in found:
            m = parse(g.tokens, self.tokenizer)
            said = message(m.content, m.reasoning, m.calls)
            text = self.tokenizer.decode(g.tokens, skip_special=False).strip()
            best.setdefault(text, Alternative(said, sum(g.logprobs), g.tokens))
        return list(best.values())[:n]

    def commands(self, request: str, count: int = 1) -> list[Suggestion]:
        """Up to `count` distinct shell commands for a request in any words, the likeliest first.

        The model may look a request up in the tldr index before it answers.
        """
        from ..tasks.shell.tldr import Index

        def answers(messages: list[Message]) -> list[Candidate]:
            # of the pages several readings are weighed
            several = messages[-1]["role"] == "tool"
            found = self.alternatives(messages, max(count, READINGS) if several else count)
            return [Candidate(a.message, a.logprob, len(a.tokens)) for a in found]

        def look_up(query: str) -> list[tuple[str, str]]:
            return [(e.ask, e.command) for e in Index.load().search(query, NUM_PAGES)]

        return suggest(request, answers, look_up, count)


def _last(events: Iterator[Event]) -> Answer:
    *_, answer = events
    assert isinstance(answer, Answer)
    return answer
