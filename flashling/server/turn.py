"""A request while the engine runs it, as the event loop sees it."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass

from ..engine.request import Event as Drawn
from ..engine.request import Usage
from ..llm import Answer, Event, Reasoning, calls
from ..llm.answer import Reading
from ..llm.face import Face
from . import limits
from .asked import Asked
from .errors import Refused
from .keys import Client

# seconds within which a request must have begun
DEADLINE = "x-request-deadline"


@dataclass(frozen=True)
class News:
    """What one token of one sample tells. drawn: the token with its log-probabilities, if it is
    part of the answer.
    """

    sample: int
    drawn: Drawn | None
    events: list[Event]


class Turn:
    """One request of a client, from its acceptance to its end. After `begin` the engine has it;
    `news` tells it; `close`, which must be called, ends what still runs. on_end: is told once.
    """

    def __init__(
        self, llm: Face, asked: Asked, client: Client, prefix: str, on_end: Callable[[Turn], None]
    ) -> None:
        self.id = f"{prefix}-{secrets.token_hex(12)}"
        self.client, self.asked = client, asked
        self.began, self.first, self.ended = time.time(), 0.0, 0.0
        self.prompt_tokens = len(asked.request.prompt)
        self.output_tokens = self.reasoning_tokens = 0
        self.finishes: dict[int, str] = {}
        self.answers: dict[int, Answer] = {}
        # the engine's account of the sample that read the prompt
        self.cost: Usage | None = None
        # what it ended with, if not in order
        self.failure: Exception | None = None
        self._llm, self._on_end = llm, on_end
        self._queue: asyncio.Queue[tuple[int, Drawn] | None] = asyncio.Queue()
        self._readings: dict[int, Reading] = {}
        self._heard = asyncio.Event()
        self._is_closed = self._is_silent = False

    async def begin(self) -> None:
        """Give the request to the engine. Raises what refuses it: ValueError, Overloaded, Lost."""
        request, samples = self.asked.request, self.asked.samples
        tokenizer = self._llm.tokenizer
        self._readings = {i: Reading(tokenizer, request.sampling) for i in range(samples)}
        try:
            self._stream = self._llm.engine.open(request, samples, self.asked.grammar, self._hear)
        except Exception:
            # nothing runs that could be ended
            self._is_closed = True
            self._on_end(self)
            raise
        try:
            await self._stream.taken
            if self.failure is not None:
                raise self.failure
        except BaseException:
            self.close()
            raise

    async def start(self, seconds: float) -> None:
        """Wait until the engine has begun with it. Refused, and ended, if it has not after so many
        seconds; what it fails with is raised too.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._heard.wait()
        engine, numbers = self._llm.engine, self._stream.numbers
        try:
            if not self._heard.is_set() and await engine.call(calls.is_waiting, numbers):
                told = f"it could not be begun within {seconds:g} s; try again later"
                self.failure = Refused(503, told, DEADLINE, retry_after=seconds)
            if self.failure is not None:
                raise self.failure
        except Exception:
            self.close()
            raise

    def _hear(self, sample: int, event: Drawn | Exception) -> None:
        if isinstance(event, Exception):
            self.fail(event)
            return
        self._heard.set()
        self._is_silent = False
        self._queue.put_nowait((sample, event))
        if self._queue.qsize() == limits.PENDING:
            self.fail(Refused(503, "the reader is too slow; read faster or ask for less"))

    def fail(self, error: Exception) -> None:
        """End it with an error, whatever has not been read yet."""
        self.failure = self.failure or error
        self._stream.close()
        # wakes those who wait for it
        self._heard.set()
        self._queue.put_nowait(None)

    def cancel(self) -> None:
        """End all samples where they stand; what they said so far is their answer."""
        for sample in self._readings:
            self._stream.stop(sample)

    async def news(self) -> AsyncIterator[News | None]:
        """All that the samples tell, until each has ended; None where there is none for a while.
        Raises what the request fails with.
        """
        left = set(self._readings)
        # one clock for all of the answer: a timeout for each token costs a tenth of its time
        self._tick()
        try:
            while left:
                found = await self._queue.get()
                if self.failure is not None:
                    raise self.failure
                if found is None:
                    yield None
                    continue
                sample, event = found
                yield self._read(sample, event)
                if event.finish:
                    left.discard(sample)
        finally:
            self._clock.cancel()

    def _tick(self) -> None:
        """Wake `news` if nothing has come since the last tick."""
        if self._is_silent and self._queue.empty():
            self._queue.put_nowait(None)
        self._is_silent = True
        self._clock = asyncio.get_running_loop().call_later(limits.KEEP_ALIVE / 2, self._tick)

    def _read(self, sample: int, drawn: Drawn) -> News:
        reading = self._readings[sample]
        if drawn.finish == "error":
            self.failure = Refused(500, f"the answer could not be finished: {drawn.error}")
            raise self.failure
        was_over = reading.is_over
        is_said = drawn.token is not None and not was_over
        events = list(reading.push(drawn))
        if is_said:
            self.first = self.first or time.time()
            self.output_tokens += 1
            self.reasoning_tokens += any(isinstance(e, Reasoning) for e in events)
        if reading.is_over and not was_over:
            self._stream.stop(sample)
        if drawn.finish:
            if sample == 0:
                self.cost = drawn.usage
            answer = next(e for e in events if isinstance(e, Answer))
            self.answers[sample] = answer
            if self.asked.talk is not None:
                # it renders the conversation: a long one takes milliseconds
                request, record = self.asked.request, self.asked.talk.record
                whose = request.namespace, request.session
                asyncio.get_running_loop().run_in_executor(None, record, answer, *whose)
            self.finishes[sample] = answer.finish
        return News(sample, drawn if is_said else None, events)

    def close(self) -> None:
        """End what still runs."""
        if self._is_closed:
            return
        self._is_closed, self.ended = True, time.time()
        if len(self.finishes) < self.asked.samples:
            self._stream.close()
        self._on_end(self)
