"""The engine's process: does what it is asked over a socket, and tells what each step yields."""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from msgspec import Raw

from ..engine.compiler import Compiled, Compiler
from ..engine.request import Overloaded, Request
from ..engine.warm import record
from ..model.ling import Ling
from ..sampling import Sampling
from ..text.tokenizer import Tokenizer
from .calls import ARGUMENTS, CALLS
from .frames import ASKED, ENCODER, SETUP, Add, Answer, Call, Failure, Setup, Told, frame, taken
from .load import Startup, drafts_of, load
from .parking import tiers_for
from .sizes import engine_for

LOG = logging.getLogger("flashling.engine")
# seconds that the last writes get when the server is gone, and between looks at a grammar
LAST, LOOK = 10.0, 0.002


class Worker:
    """A model, its engine, and the socket to the server. One thread does all of it, but for the
    compiling of grammars.
    """

    def __init__(self, channel: socket.socket) -> None:
        self._channel, self._buffer = channel, bytearray()
        self._is_over = False
        self._answers: list[Answer] = []
        self._compiling: list[tuple[Add, Future[Compiled]]] = []

    def run(self) -> int:
        """Load, serve until the server hangs up, and write what waits for the disk; the exit
        status.
        """
        while not (setup := taken(self._buffer)):
            if not self._receive():
                return 1
        try:
            self._load(SETUP.decode(setup[0]))
        except Exception as error:
            if not isinstance(error, (ValueError, OSError)):
                LOG.exception("the model cannot answer")
            self._send(Told([], [], str(error) or type(error).__name__))
            return 1
        self._send(Told([], []))
        while self._goes_on():
            self._step()
        self._engine.close()
        return 0

    def _load(self, setup: Setup) -> None:
        began = time.perf_counter()
        self._model, tokenizer, startup = self._parts(setup.model, setup.drafts)
        self._drafts = drafts_of(self._model, setup.drafts)
        disk = Path(setup.disk) if setup.disk else None
        self._tiers = tiers_for(self._model, setup.host_bytes, disk, setup.disk_bytes)
        self._queue, self._ends = setup.queue, tuple(tokenizer.eos_ids)
        self._running = setup.running
        self._compiler = Compiler(tokenizer, self._model.config.vocab_size)
        read = time.perf_counter()
        self._make(0)
        if startup is not None:
            now = time.perf_counter()
            said = f"{startup}, first answer {now - read:.1f} s, ready {now - began:.1f} s after"
            print(f"flashling: {said}", file=sys.stderr, flush=True)

    def _parts(self, model: str, drafts: int | None) -> tuple[Ling, Tokenizer, Startup | None]:
        """What the name or folder of a model stands for."""
        return load(model, None, None, drafts=drafts)

    def _make(self, number: int) -> None:
        """An engine that has answered once, its steps recorded; requests count from `number`."""
        sizes = self._running, self._drafts
        self._engine = engine_for(self._model, self._tiers, False, *sizes)
        self._engine.queue, self._engine.number = self._queue, number
        self._engine.add(Request(self._ends, Sampling(max_tokens=1)))
        if errors := [event.error for event in self._engine.run() if event.error]:
            raise RuntimeError(errors[0])
        record(self._engine)

    def _goes_on(self) -> bool:
        """Do what is asked, and wait for it while there is nothing else to do; False when the
        server has hung up.
        """
        wait = (LOOK if self._compiling else None) if self._engine.is_idle else 0.0
        if select.select([self._channel], [], [], wait)[0] and self._receive():
            for message in taken(self._buffer):
                self._take(ASKED.decode(message))
        for add, compiled in [c for c in self._compiling if c[1].done()]:
            self._compiling.remove((add, compiled))
            self._add(add, compiled)
        return not self._is_over

    def _take(self, asked: Add | Call) -> None:
        if isinstance(asked, Call):
            what, arguments = CALLS[asked.name], ARGUMENTS[asked.name].decode(asked.arguments)
            self._answer(asked.id, lambda: what(self._engine, *arguments))
        elif asked.grammar is not None:
            self._compiling.append((asked, self._compiler.submit(asked.grammar)))
        else:
            self._add(asked)

    def _add(self, asked: Add, compiled: Future[Compiled] | None = None) -> None:
        def add() -> list[int]:
            guide = compiled.result().start if compiled else None
            request = Request(**vars(asked.request), guide=guide)
            return self._engine.add_samples(request, asked.samples)

        self._answer(asked.id, add)

    def _answer(self, id: int, work: Callable[[], Any]) -> None:
        try:
            self._answers.append(Answer(id, Raw(ENCODER.encode(work()))))
        except Exception as error:
            if not isinstance(error, (ValueError, Overloaded)):
                LOG.error("a request failed", exc_info=error)
            self._answers.append(Answer(id, failure=_failure(error)))

    def _step(self) -> None:
        """One step, and one message with all that it tells: while there is work each step is a
        sign of life.
        """
        events, lost = [], ""
        try:
            events = self._engine.step()
        except Exception:
            LOG.exception("a step of the engine failed")
            lost = "failed in the middle of a step"
            # what it holds may be half done, and takes the room of the next one
            number = self._engine.number
            del self._engine
            self._make(number)
        if events or self._answers or lost or not self._engine.is_idle:
            self._send(Told(events, self._answers, lost))
            self._answers = []

    def _receive(self) -> bool:
        try:
            more = self._channel.recv(1 << 20)
        except ConnectionError:
            more = b""
        self._buffer += more
        self._is_over = not more
        return bool(more)

    def _send(self, told: Told) -> None:
        try:
            self._channel.sendall(frame(told))
        except ConnectionError:
            self._is_over = True


def _failure(error: Exception) -> Failure:
    wait = error.retry_after if isinstance(error, Overloaded) else 0.0
    return Failure(f"{error}", isinstance(error, ValueError), wait)


def _end_with(channel: socket.socket) -> None:
    """End some time after the server, whatever the engine is at."""
    gone = select.poll()
    # that the other side has closed is told without being asked for
    gone.register(channel, 0)
    gone.poll()
    time.sleep(LAST)
    os._exit(1)


def main() -> int:
    """Serve the other end of the socket whose number is the first argument."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    # the server says when it is time to end
    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as channel:
        threading.Thread(target=_end_with, args=[channel], daemon=True).start()
        return Worker(channel).run()


if __name__ == "__main__":
    sys.exit(main())
