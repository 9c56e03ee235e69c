"""What an LLM tells: events while it writes, and the whole answer at the end."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ..engine.request import Event as Drawn
from ..engine.request import Usage as Cost
from ..sampling import Sampling
from ..text.tokenizer import Tokenizer
from ..text.toolcalls import Event as Said
from ..text.toolcalls import Parser, Text, gather
from .stops import Stops

Message = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """What an answer cost: tokens of the prompt, those of them that were still held from before,
    tokens of the answer, seconds to the first token, and tokens per second after it. restored_from:
    where the held ones were (device, host, disk). miss_reason: why not more of them.
    """

    prompt_tokens: int
    cached_tokens: int
    output_tokens: int
    first_seconds: float
    tokens_per_second: float
    restored_from: str = ""
    miss_reason: str = ""


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
        return message(self.content, self.reasoning, self.calls)


# what streams; the whole answer is the last
Event = Said | Answer


@dataclass(frozen=True)
class Alternative:
    """One of several possible answers, and its log-probability."""

    message: Message
    logprob: float
    tokens: list[int]


def message(content: str, reasoning: str, calls: list[dict[str, Any]]) -> Message:
    """What the assistant said in the form of OpenAI's messages."""
    said: Message = {"role": "assistant", "content": content}
    if reasoning:
        said["reasoning"] = reasoning
    if calls:
        said["tool_calls"] = calls
    return said


class Reading:
    """One request's tokens, read into text as they come. Stop strings are looked for in what is
    said, neither in reasoning nor in calls.
    """

    def __init__(self, tokenizer: Tokenizer, sampling: Sampling) -> None:
        self._parser, self._stops = Parser(tokenizer), Stops(sampling.stop)
        self._said: list[Said] = []
        self._tokens: list[int] = []
        self._logprobs: list[float] = []
        self._began = self._first = time.perf_counter()

    @property
    def is_over(self) -> bool:
        """Whether a stop string has come: further tokens say nothing."""
        return self._stops.is_hit

    def push(self, drawn: Drawn) -> Iterator[Event]:
        """What a token tells; after the last one the whole answer. ValueError says why the request
        failed.
        """
        if drawn.finish == "error":
            raise ValueError(drawn.error)
        if drawn.token is not None and not self.is_over:
            self._first = self._first if self._tokens else time.perf_counter()
            self._tokens.append(drawn.token)
            self._logprobs.append(drawn.logprob)
            yield from self._told(self._parser.push(drawn.token))
        if drawn.finish:
            assert drawn.usage is not None
            if not self.is_over:
                yield from self._told([*self._parser.close(), None])
            yield self._answer("stop" if self.is_over else drawn.finish, drawn.usage)

    def _told(self, events: Iterable[Said | None]) -> Iterator[Said]:
        """Events up to a stop string; None ends the text."""
        for event in events:
            if self.is_over:
                return
            is_text = isinstance(event, Text)
            text = self._stops.push(event.text) if is_text else self._stops.close()
            told: list[Said] = [Text(text)] if text else []
            told += [event] if event is not None and not is_text else []
            self._said += told
            yield from told

    def _answer(self, finish: str, cost: Cost) -> Answer:
        count, spent = len(self._tokens), time.perf_counter() - self._first
        usage = Usage(
            cost.prompt,
            cost.cached,
            count,
            self._first - self._began,
            (count - 1) / spent if count > 1 and spent > 0 else 0.0,
            cost.restored_from,
            cost.miss_reason,
        )
        said = gather(self._said)
        return Answer(
            content=said.content,
            reasoning=said.reasoning,
            calls=said.calls,
            broken=said.broken,
            tokens=self._tokens,
            logprobs=self._logprobs,
            finish=finish,
            usage=usage,
        )
