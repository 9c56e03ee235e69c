"""/v1/sessions: the parked ends of conversations, by the names that clients gave them."""

from __future__ import annotations

import asyncio
from typing import Any

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from ..engine.records import Session as Parked
from ..llm import calls
from . import sse
from .errors import Refused
from .hub import hub_of
from .wire import Session, read


class Fork(Struct):
    """POST /v1/sessions/NAME/fork"""

    to: Session


async def listed(request: Request) -> Response:
    """The sessions of this key, the last used first."""
    space = request.scope["client_of"].namespace
    found = await hub_of(request).llm.engine.call(calls.sessions, space)
    return sse.answer({"object": "list", "data": [_told(session) for session in found]})


async def fork(request: Request) -> Response:
    """Go on from a session under another name as well."""
    body, (space, name) = await read(request, Fork), _asked(request)
    hub = hub_of(request)
    if not await hub.llm.engine.call(calls.fork, space, name, body.to):
        raise _missing(name)
    if (files := hub.llm.prompts.files) is not None:
        await asyncio.to_thread(files.copy, space, name, body.to)
    return sse.answer({"id": body.to, "forked_from": name})


async def park(request: Request) -> Response:
    """Move a session out of memory, to the disk alone."""
    space, name = _asked(request)
    if not await hub_of(request).llm.engine.call(calls.park, space, name):
        told = f"no session {name[:64]!r} of yours is on a disk; the server needs --disk-cache"
        raise Refused(404, told, "id")
    return sse.answer({"id": name, "parked": True})


async def delete(request: Request) -> Response:
    """Forget a session in all tiers."""
    space, name = _asked(request)
    hub = hub_of(request)
    if not await hub.llm.engine.call(calls.delete, space, name):
        raise _missing(name)
    if (files := hub.llm.prompts.files) is not None:
        await asyncio.to_thread(files.delete, space, name)
    return sse.answer({"id": name, "deleted": True})


def _asked(request: Request) -> tuple[str, str]:
    return request.scope["client_of"].namespace, request.path_params["id"]


def _missing(name: str) -> Refused:
    return Refused(404, f"no session {name[:64]!r} of yours is parked; see /v1/sessions", "id")


def _told(session: Parked) -> dict[str, Any]:
    tiers = session.nbytes
    return {
        "id": session.name,
        "object": "session",
        "tokens": session.tokens,
        "tier": next(iter(tiers)),
        "bytes": tiers,
        "last_used": int(session.used),
    }
