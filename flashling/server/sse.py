"""Answers that stream, and requests whose client may leave."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

T = TypeVar("T")
HEADERS = {"cache-control": "no-store", "x-accel-buffering": "no"}
# a comment alone: behind numbered events some clients take an empty line for an empty event
ALIVE = b": still here\n"
DONE = b"data: [DONE]\n\n"
ENCODER = msgspec.json.Encoder()


def event(value: Any, name: str = "") -> bytes:
    """One server-sent event."""
    head = b"event: %s\n" % name.encode() if name else b""
    return head + b"data: %s\n\n" % ENCODER.encode(value)


def answer(value: Any, headers: dict[str, str] | None = None, status: int = 200) -> Response:
    """A JSON response."""
    return Response(ENCODER.encode(value), status, headers, "application/json")


async def numbered(lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same events with their numbers, from 0, as ids. An item of `lines` is one event."""
    given: Any = lines
    number = 0
    async with aclosing(given):
        async for text in given:
            if text == ALIVE:
                yield text
                continue
            yield b"id: %d\n%s" % (number, text)
            number += 1


class Stream(Response):
    """Sends what an async generator yields as it comes. When the client leaves, the generator is
    closed where it stands. close: called at the end, also where nothing was sent.
    """

    def __init__(
        self, lines: AsyncIterator[bytes], close: Callable[[], None], headers: dict[str, str]
    ) -> None:
        super().__init__(None, 200, {**HEADERS, **headers}, "text/event-stream")
        del self.headers["content-length"]
        self._lines: Any = lines
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        try:
            await until_gone(receive, self._send(send))
        finally:
            self._close()

    async def _send(self, send: Send) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        async with aclosing(self._lines) as lines:
            async for text in lines:
                await send({"type": "http.response.body", "body": text, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def until_gone(receive: Receive, work: Awaitable[T]) -> T | None:
    """What `work` comes to; it is cancelled when the client leaves, and then None."""

    async def leave() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    task, watch = asyncio.ensure_future(work), asyncio.ensure_future(leave())
    try:
        await asyncio.wait({task, watch}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        is_left = not task.done()
        for each in (task, watch):
            each.cancel()
        await asyncio.wait({task, watch})
    return None if is_left and task.cancelled() else task.result()


async def while_there(
    request: Request, work: Awaitable[Response], close: Callable[[], None]
) -> Response:
    """The response that `work` makes, as long as its client waits for it; `close` is called at the
    end, also where the work was never begun.
    """
    try:
        # nobody reads the status of one who has left
        return await until_gone(request.receive, work) or Response(status_code=499)
    finally:
        close()
