"""A process with an engine, as the event loop of a server sees it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from asyncio import Future
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from msgspec import Raw
from msgspec.msgpack import Decoder

from ..engine.grammar import Grammar
from ..engine.request import Continuation, Event
from .calls import RESULTS, abort
from .frames import ENCODER, TOLD, Add, Answer, Call, Setup, Told, frame, taken

if TYPE_CHECKING:
    from ..engine.engine import Engine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
# told in the event loop: the number of the sample and its event, or what ended all of them
Tell = Callable[[int, Event | Exception], object]
# what an engine's process runs
WORKER = "flashling.llm.worker"
NUMBERS = Decoder(list[int])
# seconds in which a process must be gone that has hung up
GONE = 10.0


class Lost(RuntimeError):
    """There is no engine any more, or not yet; after so many seconds there may be one."""

    def __init__(self, why: str, retry_after: float = 5.0) -> None:
        super().__init__(f"the engine {why}; try again soon")
        self.retry_after = retry_after


@dataclass(eq=False)
class Stream:
    """A request with its samples while an engine runs it. taken: the numbers that the engine gave
    them, or what refuses the request.
    """

    link: Link
    tell: Tell
    taken: Future[list[int]]
    numbers: list[int] = field(default_factory=list)
    # samples that were ended before the engine had them
    _ended: set[int] = field(default_factory=set)
    _is_closed: bool = False

    def stop(self, sample: int) -> None:
        """End one sample; its last event still comes."""
        self._ended.add(sample)
        self.link.abort(self.numbers[sample : sample + 1])

    def close(self) -> None:
        """End what still runs, and tell nothing more."""
        self._is_closed = True
        self.link.drop(self.numbers)

    def begin(self, numbers: list[int]) -> None:
        """The engine has it, under these numbers."""
        self.numbers = numbers
        if self._is_closed:
            self.close()
        for sample in self._ended:
            self.stop(sample)


class Link(asyncio.Protocol):
    """One process with an engine, from its start to its end; `Link.start` makes it. Only the event
    loop may use it, and calls it as soon as something has come: a task that reads would cost
    another round of the loop for each token.

    refusal: what it said in place of getting ready.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process, self.refusal = process, ""
        self._writer: Any = None
        self._buffer = bytearray()
        self._streams: dict[int, tuple[Stream, int]] = {}
        # what has not been answered yet: who waits, and what is to be done with the result
        self._asked: dict[int, tuple[Future[Any], Callable[[Raw], Any]]] = {}
        self._loop = asyncio.get_running_loop()
        # whether it got ready, and its end
        self._ready: Future[bool] = self._loop.create_future()
        self._gone: Future[None] = self._loop.create_future()
        self._count, self._heard, self._stuck = 0, 0.0, 0.0

    @classmethod
    async def start(cls, setup: Setup) -> Link:
        """A process that begins to load."""
        ours, theirs = socket.socketpair()
        with theirs:
            number = theirs.fileno()
            # this package, and nothing else of the folder that we happen to be in
            path = [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, str(number)],
                stdin=subprocess.DEVNULL,
                pass_fds=[number],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path))},
                # Ctrl-C is for the server alone
                process_group=0,
            )
        loop = asyncio.get_running_loop()
        writer, link = await loop.create_unix_connection(lambda: cls(process), sock=ours)
        link._writer = writer
        writer.write(frame(setup))
        return link

    def data_received(self, data: bytes) -> None:
        """As asyncio calls it."""
        self._buffer += data
        for message in taken(self._buffer):
            self._tell(TOLD.decode(message))

    def connection_lost(self, exc: Exception | None) -> None:
        """As asyncio calls it."""
        if not self._ready.done():
            self._ready.set_result(False)
        if not self._gone.done():
            self._gone.set_result(None)

    def open(
        self, request: Continuation, samples: int, grammar: Grammar | None, tell: Tell
    ) -> Stream:
        """Have a request run; `tell` is told its events, and the exception that ends all of it."""
        stream = Stream(self, tell, self._loop.create_future())

        def begin(result: Raw) -> list[int]:
            numbers = NUMBERS.decode(result)
            self._streams |= {n: (stream, i) for i, n in enumerate(numbers)}
            stream.begin(numbers)
            return numbers

        id = self._ask(stream.taken, begin)
        self._writer.write(frame(Add(id, request, samples, grammar)))
        return stream

    def call(self, what: Callable[[Engine, *Ts], T], *args: *Ts) -> Future[T]:
        """What comes of one of `CALLS`, done between two steps."""
        found: Future[T] = self._loop.create_future()
        id = self._ask(found, RESULTS[what.__name__].decode)
        self._writer.write(frame(Call(id, what.__name__, Raw(ENCODER.encode(args)))))
        return found

    def abort(self, numbers: list[int]) -> None:
        """End samples that run."""
        if numbers and not self._writer.is_closing():
            # nobody waits for it
            self.call(abort, numbers).cancel()

    def drop(self, numbers: list[int]) -> None:
        """End samples that run, and tell nothing more of them."""
        self.abort([n for n in numbers if self._streams.pop(n, None)])

    async def ready(self) -> bool:
        """Whether it has loaded and answered once; waits for it."""
        return await self._ready

    async def listen(self, patience: float) -> None:
        """Tell what the engine tells until its process ends. With work to do and silent for
        `patience` seconds it is killed.
        """
        watch = asyncio.create_task(self._watch(patience))
        try:
            await self._gone
        finally:
            watch.cancel()

    def hang_up(self) -> None:
        """Let it write what it holds, and end."""
        self._writer.write_eof()

    async def end(self) -> str:
        """See it gone, and tell all who wait; how it ended."""
        self._writer.close()
        code = await asyncio.to_thread(self._wait)
        why = f"ended with status {code}"
        if self._stuck:
            why = f"did not answer for {self._stuck:g} s"
        elif code < 0:
            why = f"was killed by {signal.Signals(-code).name}"
        self._lose(Lost(why))
        for found, _ in self._asked.values():
            if not found.done():
                found.set_exception(Lost(why))
        return why

    def _ask(self, found: Future[Any], read: Callable[[Raw], Any]) -> int:
        self._count += 1
        self._asked[self._count] = found, read
        return self._count

    def _tell(self, told: Told) -> None:
        self._heard = self._loop.time()
        if not self._ready.done():
            self.refusal = told.lost
            self._ready.set_result(not told.lost)
            return
        for answer in told.answers:
            self._answer(answer)
        for event in told.events:
            self._pass(event)
        if told.lost:
            self._lose(Lost(told.lost))

    def _answer(self, answer: Answer) -> None:
        found, read = self._asked.pop(answer.id)
        result = None if answer.failure else read(answer.result)
        # who asked may have left
        if found.done():
            return
        if answer.failure:
            found.set_exception(answer.failure.error())
        else:
            found.set_result(result)

    def _pass(self, event: Event) -> None:
        if event.id not in self._streams:
            return
        stream, sample = self._streams[event.id]
        if event.finish:
            del self._streams[event.id]
        stream.tell(sample, event)

    def _lose(self, error: Lost) -> None:
        streams, self._streams = self._streams, {}
        for stream in {id(s): s for s, _ in streams.values()}.values():
            stream.tell(0, error)

    async def _watch(self, patience: float) -> None:
        while True:
            if not (self._streams or self._asked):
                self._heard = self._loop.time()
            elif self._loop.time() - self._heard > patience:
                self._stuck = patience
                self.process.kill()
                return
            await asyncio.sleep(patience / 4)

    def _wait(self) -> int:
        try:
            return self.process.wait(GONE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()
