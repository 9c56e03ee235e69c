"""An engine and the thread that steps it: requests from any thread or task, events to each."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from ..engine.engine import Engine
from ..engine.request import Event, Request

T = TypeVar("T")
# told from the engine's thread: the number of the sample and its event, or what went wrong
Tell = Callable[[int, Event | Exception], object]


@dataclass(eq=False)
class Stream:
    """A request with its samples while the service runs it."""

    service: Service
    tell: Tell
    numbers: list[int] = field(default_factory=list)

    def stop(self, sample: int) -> None:
        """End one sample; its last event still comes."""
        self.service.ask(lambda: self.service.abort(self, sample))

    def close(self) -> None:
        """End what still runs, and tell nothing more."""
        self.service.ask(lambda: self.service.drop(self))


class Service:
    """Runs an engine in a thread that lives while there are requests. Only that thread touches the
    engine; what others want of it is done between steps.

    make: makes the engine, at the first request and again after a failure.
    """

    def __init__(self, make: Callable[[], Engine]) -> None:
        self._make = make
        self._engine: Engine | None = None
        self._lock = threading.Lock()
        self._asked: deque[Callable[[], None]] = deque()
        self._is_running = False
        self._streams: dict[int, tuple[Stream, int]] = {}

    def open(self, request: Request, samples: int, tell: Tell) -> Stream:
        """Queue a request. Refusals are told as well, as errors of sample 0."""
        stream = Stream(self, tell)
        self.ask(lambda: self._add(stream, request, samples))
        return stream

    def ask(self, what: Callable[[], None]) -> None:
        """Have something done by the engine's thread, soon."""
        with self._lock:
            self._asked.append(what)
            if self._is_running:
                return
            self._is_running = True
        threading.Thread(target=self._run, name="flashling-engine").start()

    def call(self, what: Callable[[Engine], T]) -> T:
        """What the engine's thread finds when it does something with the engine; not from there."""
        found: Future[T] = Future()

        def do() -> None:
            try:
                found.set_result(what(self._ready()))
            except Exception as error:
                found.set_exception(error)

        self.ask(do)
        return found.result()

    def _ready(self) -> Engine:
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def abort(self, stream: Stream, sample: int) -> None:
        """End a sample; in the engine's thread."""
        if self._engine is not None and sample < len(stream.numbers):
            self._engine.abort(stream.numbers[sample])

    def drop(self, stream: Stream) -> None:
        """End and forget a stream; in the engine's thread."""
        for number in stream.numbers:
            if self._streams.pop(number, None) and self._engine is not None:
                self._engine.abort(number)

    def _add(self, stream: Stream, request: Request, samples: int) -> None:
        try:
            stream.numbers = self._ready().add_samples(request, samples)
        except Exception as error:
            self._tell(stream, 0, error)
        else:
            self._streams |= {n: (stream, i) for i, n in enumerate(stream.numbers)}

    def _run(self) -> None:
        while self._goes_on():
            try:
                events = self._engine.step() if self._engine is not None else []
            except Exception as error:
                # what the engine holds may be half done: the next request gets another one
                self._engine, streams, self._streams = None, self._streams, {}
                for stream in {id(s): s for s, _ in streams.values()}.values():
                    self._tell(stream, 0, error)
                continue
            for event in events:
                self._pass(event)

    def _goes_on(self) -> bool:
        """Do what is asked; whether there is something to step."""
        while True:
            with self._lock:
                if not self._asked:
                    is_idle = self._engine is None or self._engine.is_idle
                    self._is_running = not is_idle
                    return not is_idle
                what = self._asked.popleft()
            what()

    def _pass(self, event: Event) -> None:
        if event.id not in self._streams:
            return
        stream, sample = self._streams[event.id]
        if event.finish:
            del self._streams[event.id]
        self._tell(stream, sample, event)

    def _tell(self, stream: Stream, sample: int, what: Event | Exception) -> None:
        try:
            stream.tell(sample, what)
        except RuntimeError:
            # its event loop is closed: nobody listens any more
            self.drop(stream)
