"""A stream that outlives its reader for a while."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any

from . import limits, sse
from .errors import Refused, body_of
from .keys import Client


class Tape:
    """Reads events from `lines` as they come, whether somebody listens or not, and keeps the last
    `limits.TAPE` bytes of them. When nobody has listened for `limits.GRACE` seconds it ends, and
    calls `on_end`; `close` is called as soon as no more events come.
    """

    def __init__(
        self,
        client: Client,
        lines: AsyncIterator[bytes],
        close: Callable[[], None],
        on_end: Callable[[], None],
    ) -> None:
        self.client, self.is_over = client, False
        self._lines: Any = lines
        self._close, self._on_end = close, on_end
        self._kept: deque[bytes] = deque()
        self._first = self._nbytes = self._readers = 0
        self._news = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._task = asyncio.create_task(self._record())

    async def _record(self) -> None:
        try:
            async with aclosing(self._lines) as lines:
                async for text in lines:
                    if text != sse.ALIVE:
                        self._keep(text)
        finally:
            self._close()
            self.is_over = True
            self._news.set()

    def _keep(self, text: bytes) -> None:
        self._kept.append(text)
        self._nbytes += len(text)
        while self._nbytes > limits.TAPE:
            self._nbytes -= len(self._kept.popleft())
            self._first += 1
        self._news.set()
        self._news = asyncio.Event()

    def read(self, after: int) -> AsyncIterator[bytes]:
        """The events behind number `after`, until the last; `leave` must be called at the end.
        Refused if they are not kept any more.
        """
        if not self._first <= after + 1 <= self._first + len(self._kept):
            raise Refused(
                410, f"events behind number {after} are not kept; ask again from the start"
            )
        self._readers += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return self._read(after + 1)

    async def _read(self, at: int) -> AsyncIterator[bytes]:
        while True:
            if at < self._first:
                told = "the reader is too slow; read faster or ask for less"
                yield sse.event(body_of(Refused(503, told)))
                return
            if at < self._first + len(self._kept):
                yield self._kept[at - self._first]
                at += 1
            elif self.is_over:
                return
            else:
                try:
                    async with asyncio.timeout(limits.KEEP_ALIVE):
                        await self._news.wait()
                except TimeoutError:
                    yield sse.ALIVE

    def leave(self) -> None:
        """A reader has gone."""
        self._readers -= 1
        if not self._readers:
            self._timer = asyncio.get_running_loop().call_later(limits.GRACE, self.end)

    def end(self) -> None:
        """End it where it stands."""
        self._task.cancel()
        self._on_end()

    async def ended(self) -> None:
        """Wait until no more events come."""
        with suppress(asyncio.CancelledError):
            await self._task
