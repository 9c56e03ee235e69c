"""GET /v1/streams/ID: the rest of a stream whose client was cut off."""

from __future__ import annotations

from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response

from . import limits, sse
from .errors import Refused
from .hub import Hub, hub_of
from .tape import Tape
from .turn import Turn

# asks that a stream goes on without its reader, and tells under which id it can be found again
RESUMABLE, STREAM = "x-flashling-resumable", "x-flashling-stream"


def begin(request: Request, hub: Hub, turn: Turn, lines: AsyncIterator[bytes]) -> Response:
    """The events of a turn as they come, numbered. It ends when its client leaves, unless that
    asked for a resumable stream and there is room for one.
    """
    headers, numbered = {"x-request-id": turn.id}, sse.numbered(lines)
    if request.headers.get(RESUMABLE) != "1" or len(hub.tapes) >= limits.TAPES:
        return sse.Stream(numbered, turn.close, headers)

    def end() -> None:
        hub.tapes.pop(turn.id, None)

    tape = hub.tapes[turn.id] = Tape(turn.client, numbered, turn.close, end)
    return sse.Stream(tape.read(-1), tape.leave, {**headers, STREAM: turn.id})


async def resume(request: Request) -> Response:
    """The events after the one in Last-Event-ID, or all."""
    id = request.path_params["id"]
    tape = hub_of(request).tapes.get(id)
    if tape is None or tape.client != request.scope["client_of"]:
        raise Refused(404, f"no stream {id[:64]!r} of yours is kept; ask again from the start")
    given = request.headers.get("last-event-id", "-1")
    if given != "-1" and not (given.isascii() and given.isdecimal() and len(given) < 10):
        raise Refused(400, f"last-event-id: {given[:60]!r} is not the number of an event")
    return sse.Stream(tape.read(int(given)), tape.leave, {STREAM: id})
