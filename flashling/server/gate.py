"""The one gate before every route: who asks, from where, and how much."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from . import limits
from .errors import Refused, refusal, reply
from .hub import Hub
from .keys import ANYONE, Client

# answered without a key: they tell nothing but that the server lives
OPEN = frozenset({"/health", "/ready"})
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
CSP = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
SAFE = {
    b"content-security-policy": CSP.encode(),
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cross-origin-resource-policy": b"same-origin",
    b"cache-control": b"no-store",
}


class Gate:
    """Lets a request through to `app`, or answers it itself. What passes has its `Client` in the
    scope under "client_of"; every answer gets the safe headers that it does not set itself.

    pages: further paths that are open, of files that anyone may read.
    """

    def __init__(self, app: ASGIApp, hub: Hub, pages: Iterable[str] = ()) -> None:
        self.hub, self._app, self._settings = hub, app, hub.settings
        self._open = OPEN | frozenset(pages)
        self._hosts = LOCAL | {hub.settings.host}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI calls it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        has_begun = False

        async def answer(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                given = {name.lower() for name, _ in message["headers"]}
                own = [(name, value) for name, value in SAFE.items() if name not in given]
                message["headers"] = [*message["headers"], *own]
            await send(message)

        try:
            # under an app the router raises what it cannot serve, and here it is told
            scope["app"], scope["client_of"] = self, self._judge(scope)
            await self._app(scope, _counted(receive), answer)
        except ClientDisconnect:
            # nobody is left to be told
            return
        except Exception as error:
            refused = refusal(error)
            self.hub.metrics.count("refused_total", status=str(refused.status))
            if not has_begun:
                await reply(refused, scope["path"])(scope, receive, answer)

    def _judge(self, scope: Scope) -> Client:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > limits.NUM_HEADERS or size > limits.HEADERS:
            raise Refused(
                431,
                f"{len(headers)} headers of {size} bytes; at most {limits.NUM_HEADERS} of "
                f"{limits.HEADERS} bytes together are read",
            )
        self._check_origin(headers)
        length = _header(headers, b"content-length")
        if length.isdigit() and (len(length) > 15 or int(length) > limits.BODY):
            raise _too_large()
        if scope["path"] in self._open or not self._settings.keys:
            return ANYONE
        key = _header(headers, b"authorization")
        key = key[7:].strip() if key[:7].lower() == "bearer " else _header(headers, b"x-api-key")
        client = self._settings.keys.find(key)
        if client is None:
            raise Refused(401, "a valid key is needed: send it as Authorization: Bearer KEY")
        return client

    def _check_origin(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Refuse what a foreign page had its reader's browser send."""
        host = _header(headers, b"host")
        name = _name(f"http://{host}")
        # others are reached by whatever name their owner gave them, and need a key
        if self._settings.is_local and name not in self._hosts:
            raise Refused(403, f"the host {host[:99]!r} is not this server; ask localhost")
        origin = _header(headers, b"origin")
        if origin and origin.split("://")[-1].lower() != host.lower():
            raise Refused(403, "pages of other origins may not use this server")


def _name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _header(headers: list[tuple[bytes, bytes]], wanted: bytes) -> str:
    return next((v.decode("latin-1").strip() for n, v in headers if n == wanted), "")


def _too_large() -> Refused:
    return Refused(413, f"the body is larger than {limits.BODY} bytes; send less")


def _counted(receive: Receive) -> Receive:
    """Refuse a body while it comes, whatever its headers say."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limits.BODY:
            raise _too_large()
        return message

    return counted
