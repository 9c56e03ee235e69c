"""Keeps an engine running in a process of its own."""

from __future__ import annotations

import asyncio
import logging
from asyncio import Future
from collections.abc import Callable
from dataclasses import replace
from hashlib import blake2b
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from ..engine.grammar import Grammar
from ..engine.request import Continuation, Event
from .frames import ENCODER, Setup
from .link import Link, Lost, Stream, Tell

if TYPE_CHECKING:
    from ..engine.engine import Engine

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
LOG = logging.getLogger("flashling.server")
# engines that end in a row before it is given up; one that answered for `SOUND` seconds begins a
# new row
MOST, SOUND = 5, 600.0
# ends at which a request must have been there to be taken for their cause, for `SOUND` seconds, and
# how many requests are remembered for that
CAUSE, SUSPECTS = 2, 10_000
# seconds before the second engine of a row, doubled for each after it
PAUSE = 0.5
# seconds without a word in which an engine that has work is dead, and for its last writes
PATIENCE, CLOSING = 180.0, 120.0


class Hopeless(RuntimeError):
    """There will be no engine. has_run: whether there has been one."""

    def __init__(self, why: str, has_run: bool) -> None:
        super().__init__(why)
        self.has_run = has_run


class Supervisor:
    """One engine after the other, each in its process. Only one event loop may use it.

    trouble: why there is no engine at this moment, else empty. restarts: engines after the first.
    """

    def __init__(self, setup: Setup) -> None:
        self.setup, self.trouble, self.restarts = setup, "is starting", 0
        self._link: Link | None = None
        self._task: asyncio.Task[None] | None = None
        self._is_closing = False
        # requests that ran when engines ended: at how many ends, when last, and what it was told
        self._suspects: dict[bytes, tuple[int, float, Lost | None]] = {}

    def open(
        self, request: Continuation, samples: int, grammar: Grammar | None, tell: Tell
    ) -> Stream:
        """Have a request run; as `Link.open`. Lost if there is no engine; ValueError if `CAUSE`
        engines have ended while they ran this same request.
        """
        link = self._there()
        self._check(request, grammar)

        def told(sample: int, event: Event | Exception) -> None:
            if isinstance(event, Lost):
                self._suspect(_name(request, grammar), event)
            tell(sample, event)

        return link.open(request, samples, grammar, told)

    def call(self, what: Callable[[Engine, *Ts], T], *args: *Ts) -> Future[T]:
        """What comes of one of `CALLS`; as `Link.call`. Lost if there is no engine."""
        return self._there().call(what, *args)

    async def run(self) -> None:
        """Keep an engine until `close`. Hopeless when the first does not get ready, or too many
        have ended.
        """
        self._task = asyncio.current_task()
        row = 0
        while True:
            link = await Link.start(self.setup)
            seconds, why = await self._keep(link)
            if self._is_closing:
                return
            if seconds is None and self.restarts == 0:
                raise Hopeless(link.refusal or f"the engine {why} while it loaded", False)
            row = 1 if seconds and seconds > SOUND else row + 1
            LOG.error("the engine %s", f"{why}: {link.refusal}" if link.refusal else why)
            if row == MOST:
                raise Hopeless(f"{MOST} engines ended in a row; the last {why}", True)
            await asyncio.sleep(PAUSE * 2 ** (row - 1))
            self.restarts += 1

    async def _keep(self, link: Link) -> tuple[float | None, str]:
        """Use an engine as long as it lives: how many seconds it answered, None if it never did,
        and how it ended.
        """
        clock, since = asyncio.get_running_loop().time, None
        try:
            if await link.ready():
                self._link, self.trouble, since = link, "", clock()
                await link.listen(PATIENCE)
        except asyncio.CancelledError:
            link.process.kill()
            raise
        finally:
            self._link, self.trouble = None, "has ended and is started again"
            why = await link.end()
        return (None if since is None else clock() - since), why

    async def close(self) -> bool:
        """End the engine, after it has written what waits for the disk; False if that failed."""
        self._is_closing, link = True, self._link
        if self._task is None or self._task.done():
            return True
        if link is None:
            self._task.cancel()
        else:
            link.hang_up()
        done, _ = await asyncio.wait({self._task}, timeout=CLOSING)
        if not done:
            self._task.cancel()
            await asyncio.wait({self._task})
        return link is None or link.process.returncode == 0

    def _suspect(self, name: bytes, end: Lost) -> None:
        count, _, before = self._suspects.pop(name, (0, 0.0, None))
        # one end is told to all that ran, and several of them may be the same request
        count += end is not before
        self._suspects[name] = count, asyncio.get_running_loop().time(), end
        if len(self._suspects) > SUSPECTS:
            del self._suspects[next(iter(self._suspects))]

    def _check(self, request: Continuation, grammar: Grammar | None) -> None:
        """A client that sends it again and again would end engine after engine for all others."""
        if not self._suspects:
            return
        count, last, _ = self._suspects.get(_name(request, grammar), (0, 0.0, None))
        left = last + SOUND - asyncio.get_running_loop().time()
        if count >= CAUSE and left > 0:
            raise ValueError(
                f"the engine ended {count} times while it ran this request; change it, or send it "
                f"again in {left:.0f} s"
            )

    def _there(self) -> Link:
        if self._link is None:
            raise Lost(self.trouble)
        return self._link


def _name(request: Continuation, grammar: Grammar | None) -> bytes:
    """The same for a request that is sent again: its seed may be another one."""
    sampling = replace(request.sampling, seed=0)
    return blake2b(ENCODER.encode((request.prompt, sampling, grammar)), digest_size=16).digest()
