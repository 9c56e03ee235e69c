"""Requests of many at once to a server with OpenAI's chats, each timed by who waits for it."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from .work import TOOLS, Message, Trace

# told after each request: how many are over, of how many
Watch = Callable[[int, int], None]
# a long prompt may wait behind others
PATIENCE = httpx.Timeout(1800, connect=30)


@dataclass
class Sample:
    """One request. Times in seconds of one clock: `due` when it should have been sent, `first` when
    its first text or call came, `ended`. error: why it failed, else empty.
    """

    due: float
    first: float = 0.0
    ended: float = 0.0
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str = ""

    @property
    def ttft(self) -> float:
        """Seconds to the first token; a late start counts."""
        return self.first - self.due

    @property
    def tpot(self) -> float | None:
        """Seconds for each token after the first, if there is one."""
        more = self.output_tokens - 1
        return (self.ended - self.first) / more if more > 0 else None

    @property
    def total(self) -> float:
        """Seconds to the end."""
        return self.ended - self.due


@dataclass
class Said:
    """An answer while its stream is read."""

    text: str = ""
    calls: dict[int, dict[str, Any]] = field(default_factory=dict)

    def take(self, delta: dict[str, Any]) -> bool:
        """Add what a chunk says; whether it says anything."""
        self.text += delta.get("content") or ""
        for part in delta.get("tool_calls") or []:
            called = {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
            call = self.calls.setdefault(part["index"], called)
            call["id"] = part.get("id") or call["id"]
            for name, value in (part.get("function") or {}).items():
                call["function"][name] += value or ""
        said = ("content", "reasoning_content", "tool_calls")
        return any(delta.get(name) for name in said)

    @property
    def message(self) -> Message:
        """The answer as the next request sends it back; a call that was cut off is left out."""
        calls = [c for c in self.calls.values() if _is_json(c["function"]["arguments"])]
        said: Message = {"role": "assistant", "content": self.text}
        return said | {"tool_calls": calls} if calls else said


class Load:
    """A server under load. url: its address with or without /v1; key: sent as a bearer token."""

    def __init__(self, url: str, key: str = "", model: str = "any") -> None:
        root = url.rstrip("/").removesuffix("/v1")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        # a connection is left before a server hangs up, which it may do after seconds
        limits = httpx.Limits(
            max_connections=None, max_keepalive_connections=None, keepalive_expiry=2.0
        )
        # what the environment says of proxies is not for the server under test
        self._client = httpx.AsyncClient(
            base_url=root, headers=headers, limits=limits, timeout=PATIENCE, trust_env=False
        )
        self._model = model

    async def __aenter__(self) -> Load:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def closed(
        self, traces: Sequence[Trace], streams: int, watch: Watch | None = None
    ) -> list[Sample]:
        """Run traces, so many at any time: one that ends makes room for the next."""
        waiting, samples = iter(traces), list[Sample]()

        async def stream() -> None:
            for trace in waiting:
                await self._run(trace, time.perf_counter(), samples, traces, watch)

        await asyncio.gather(*(stream() for _ in range(min(streams, len(traces)))))
        return samples

    async def open(
        self, traces: Sequence[Trace], rate: float, seed: int = 0, watch: Watch | None = None
    ) -> list[Sample]:
        """Begin `rate` traces a second with gaps as chance has them (Poisson), however many still
        run.
        """
        draw, due, samples = random.Random(seed), time.perf_counter(), list[Sample]()
        tasks = []
        for trace in traces:
            await asyncio.sleep(due - time.perf_counter())
            tasks.append(asyncio.create_task(self._run(trace, due, samples, traces, watch)))
            due += draw.expovariate(rate)
        await asyncio.gather(*tasks)
        return samples

    async def _run(
        self,
        trace: Trace,
        due: float,
        samples: list[Sample],
        traces: Sequence[Trace],
        watch: Watch | None,
    ) -> None:
        messages = list(trace.messages)
        for result in trace.turns:
            has_tools = bool(trace.results) and not trace.is_free
            sample, said = await self.ask(messages, trace.tokens, has_tools, due)
            samples.append(sample)
            if watch:
                watch(len(samples), sum(len(t.turns) for t in traces))
            if sample.error:
                return
            messages += [said.message, *_results(said.message, result)]
            due = time.perf_counter()

    async def ask(
        self, messages: list[Message], tokens: int, has_tools: bool = False, due: float = 0.0
    ) -> tuple[Sample, Said]:
        """One streamed chat: exactly `tokens` long, or with tools a call of at most so many."""
        more = {"tools": TOOLS, "tool_choice": "required"} if has_tools else {"ignore_eos": True}
        body = {
            "model": self._model,
            "messages": messages,
            "max_tokens": tokens,
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        sample, said = Sample(due or time.perf_counter()), Said()
        try:
            async for chunk in self._chunks(body | more):
                _read(chunk, sample, said)
            if not sample.output_tokens:
                sample.error = "the stream ended without its usage"
        except (httpx.HTTPError, ValueError) as error:
            sample.error = str(error) or type(error).__name__
        sample.ended = time.perf_counter()
        sample.first = sample.first or sample.ended
        return sample, said

    async def _chunks(self, body: dict[str, Any]) -> AsyncIterator[dict[str, Any]]:
        async with self._client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code != 200:
                told = (await answer.aread()).decode("utf-8", "replace")
                raise ValueError(f"status {answer.status_code}: {told[:200]}")
            async for line in answer.aiter_lines():
                if line.startswith("data: {"):
                    yield json.loads(line[6:])


def _read(chunk: dict[str, Any], sample: Sample, said: Said) -> None:
    if "error" in chunk:
        raise ValueError(f"the stream ended with {chunk['error'].get('message')}")
    for choice in chunk.get("choices") or []:
        if said.take(choice.get("delta") or {}) and not sample.first:
            sample.first = time.perf_counter()
    usage = chunk.get("usage")
    if usage:
        sample.input_tokens = usage["prompt_tokens"]
        sample.output_tokens = usage["completion_tokens"]
        details = usage.get("prompt_tokens_details") or {}
        sample.cached_tokens = details.get("cached_tokens") or 0


def _results(answer: Message, text: str) -> list[Message]:
    """What comes back to an answer: a result for each of its calls, else the user's next words."""
    calls = answer.get("tool_calls") or []
    found = [{"role": "tool", "tool_call_id": c["id"], "content": text} for c in calls]
    return found or [{"role": "user", "content": text}]


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True
