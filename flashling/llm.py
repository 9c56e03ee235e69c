"""LLM: messages in, text out. One face for the command line, the server and the evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import torch

from . import nano
from .agent.shell import NUM_PAGES, Candidate, Suggestion, suggest
from .model import weights
from .model.decode import Decoder, likeliest, score
from .model.ling import Ling
from .model.oracle import Guide
from .sampling import Sampling
from .text.template import render
from .text.tokenizer import Tokenizer
from .text.toolcalls import CallArgs, CallEnd, CallStart, Parser, Reasoning, Text, parse

if TYPE_CHECKING:
    from .engine.compiler import Compiler

Message = dict[str, Any]
Tools = Sequence[dict[str, Any]] | None
# messages, tools and the thinking switch to prompt tokens: as `text.jinja.template` returns it
Template = Callable[[Sequence[Message], Tools, bool | None], list[int]]
GREEDY = Sampling(temperature=0.0, max_tokens=1024)
# how many answers to a looked-up page are weighed
READINGS = 3


@dataclass(frozen=True)
class Usage:
    """What an answer cost: tokens of the prompt, those of them that were still held from before,
    tokens of the answer, seconds to the first token, and tokens per second after it.
    """

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_seconds: float
    tokens_per_second: float


@dataclass(frozen=True)
class Answer:
    """A whole answer: text, reasoning, tool calls in the form of messages, the text of calls that
    are malformed, the tokens with the model's log-probabilities, why it ended ("stop", "length")
    and what it cost.
    """

    content: str
    reasoning: str
    calls: list[dict[str, Any]]
    broken: list[str]
    tokens: list[int]
    logprobs: list[float]
    finish: str
    usage: Usage

    @property
    def logprob(self) -> float:
        """The log-probability of the whole answer."""
        return sum(self.logprobs)

    @property
    def message(self) -> Message:
        """The answer as the next message of the conversation."""
        return _message(self.content, self.reasoning, self.calls)


# what streams; the whole answer is the last
Event = Text | Reasoning | CallStart | CallArgs | CallEnd | Answer


@dataclass(frozen=True)
class Alternative:
    """One of several possible answers, and its log-probability."""

    message: Message
    logprob: float
    tokens: list[int]


class LLM:
    """A model with its tokenizer. One conversation at a time; its past is kept between turns."""

    def __init__(self, model: Ling, tokenizer: Tokenizer, *, template: Template | None = None):
        self.model, self.tokenizer = model, tokenizer
        self.template = template
        self.decoder = Decoder(model)
        self._compiler: Compiler | None = None

    @classmethod
    def load(
        cls,
        path: str | Path | None = "embedded",
        dtype: torch.dtype | str | None = None,
        device: torch.device | str | None = None,
    ) -> LLM:
        """The model in the folder `path` (config.json, tokenizer.json, safetensors), or the
        embedded one.

        dtype: torch's or its name; by default float32 on the CPU and bfloat16 elsewhere. device:
        by default the CPU for the embedded model, else a GPU where there is one. ValueError names
        what is wrong with the folder and how to go on.
        """
        is_embedded = path in (None, "embedded")
        folder = nano.path() if is_embedded else Path(str(path))
        if not folder.is_dir():
            raise ValueError(f"no folder {folder}: give a model's folder, or leave it out")
        tokenizer = Tokenizer.read(folder)
        has_gpu = torch.cuda.is_available() and not is_embedded
        place = torch.device(device or ("cuda" if has_gpu else "cpu"))
        usual = torch.float32 if place.type == "cpu" else torch.bfloat16
        model = weights.read(folder, _dtype(dtype) or usual).to(place)
        if tokenizer.vocab_size > model.config.vocab_size:
            raise ValueError(
                f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, config.json "
                f"{model.config.vocab_size}; fetch both from the same release"
            )
        return cls(model, tokenizer)

    def prompt(
        self, messages: Sequence[Message], tools: Tools = None, thinking: bool | None = None
    ) -> list[int]:
        """The tokens that ask for the assistant's next message."""
        if self.template is not None:
            return self.template(messages, tools, thinking)
        return render(messages, tools, tokenizer=self.tokenizer, thinking=thinking).tokens

    @overload
    def chat(
        self,
        messages: Sequence[Message],
        tools: Tools = ...,
        sampling: Sampling = ...,
        *,
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
        stream: Literal[False],
        thinking: bool | None = ...,
    ) -> Answer: ...
    def chat(
        self,
        messages: Sequence[Message],
        tools: Tools = None,
        sampling: Sampling = GREEDY,
        *,
        stream: bool = True,
        thinking: bool | None = None,
    ) -> Iterator[Event] | Answer:
        """The assistant's answer to a conversation: events as they come and the whole `Answer` at
        the end, or with stream=False that alone.

        messages, tools: in the form of OpenAI's requests. Calls are held to the declared tools and
        their schemas where llguidance is installed. Closing the iterator stops the answer; the past
        stays usable. Empty texts may come while a long prompt is read.
        """
        prompt = self.prompt(messages, tools, thinking)
        events = self.complete(prompt, sampling, guide=self._guide(tools))
        return events if stream else _last(events)

    def complete(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling = GREEDY,
        *,
        guide: Guide | None = None,
    ) -> Iterator[Event]:
        """Continue a text or tokens as they are, without the chat format; as `chat`. `guide` holds
        the answer to a grammar.
        """
        tokens = self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)
        settings = self._settings(sampling)
        parser = Parser(self.tokenizer)
        out: list[int] = []
        logprobs: list[float] = []
        began = time.perf_counter()
        first = began
        for step in self.decoder.steps(tokens, settings, guide=guide):
            if step is None:
                yield Text("")
                continue
            first = first if out else time.perf_counter()
            out.append(step.token)
            logprobs.append(step.logprob)
            yield from parser.push(step.token)
        yield from parser.close()
        spent = time.perf_counter() - first
        usage = Usage(
            len(tokens),
            self.decoder.reused,
            len(out),
            first - began,
            (len(out) - 1) / spent if len(out) > 1 and spent > 0 else 0.0,
        )
        finish = "stop" if out and out[-1] in self._stops(settings) else "length"
        found = parse(out, self.tokenizer)
        yield Answer(
            content=found.content,
            reasoning=found.reasoning,
            calls=found.calls,
            broken=found.broken,
            tokens=out,
            logprobs=logprobs,
            finish=finish,
            usage=usage,
        )

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
            message = _message(m.content, m.reasoning, m.calls)
            text = self.tokenizer.decode(g.tokens, skip_special=False).strip()
            best.setdefault(text, Alternative(message, sum(g.logprobs), g.tokens))
        return list(best.values())[:n]

    def commands(self, request: str, count: int = 1) -> list[Suggestion]:
        """Up to `count` distinct shell commands for a request in any words, the likeliest first.

        The model may look a request up in the tldr index before it answers.
        """
        from .tasks.shell.tldr import Index

        def answers(messages: list[Message]) -> list[Candidate]:
            # of the pages several readings are weighed
            several = messages[-1]["role"] == "tool"
            found = self.alternatives(messages, max(count, READINGS) if several else count)
            return [Candidate(a.message, a.logprob, len(a.tokens)) for a in found]

        def look_up(query: str) -> list[tuple[str, str]]:
            return [(e.ask, e.command) for e in Index.load().search(query, NUM_PAGES)]

        return suggest(request, answers, look_up, count)

    def _guide(self, tools: Tools) -> Guide | None:
        """What holds calls to the declared tools; None where llguidance is not installed."""
        if not tools or find_spec("llguidance") is None:
            return None
        from .engine.compiler import Compiler
        from .engine.grammar import Grammar

        if self._compiler is None:
            self._compiler = Compiler(self.tokenizer, self.model.config.vocab_size)
        return self._compiler.compile(Grammar.tools(tools)).start()

    def _settings(self, sampling: Sampling) -> Sampling:
        # a config may leave the ends of an answer to the tokenizer
        stops = dict.fromkeys([*sampling.stop_ids, *self.tokenizer.eos_ids])
        return replace(sampling, stop_ids=tuple(stops))

    def _stops(self, settings: Sampling) -> set[int]:
        return {*self.model.config.eos_token_ids, *settings.stop_ids}


def _dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    if given is None or isinstance(given, torch.dtype):
        return given
    known = {"float64", "float32", "bfloat16"}
    if given not in known:
        raise ValueError(f"dtype {given!r} is not one of {', '.join(sorted(known))}")
    return getattr(torch, given)


def _message(content: str, reasoning: str, calls: list[dict[str, Any]]) -> Message:
    message: Message = {"role": "assistant", "content": content}
    if reasoning:
        message["reasoning"] = reasoning
    if calls:
        message["tool_calls"] = calls
    return message


def _last(events: Iterator[Event]) -> Answer:
    *_, answer = events
    assert isinstance(answer, Answer)
    return answer
