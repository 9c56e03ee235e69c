"""The small routes: models, health, counts, tokens."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from .. import __version__
from ..llm import calls
from ..llm.link import Lost
from . import sse
from .errors import Refused
from .hub import hub_of
from .said import messages_of
from .tools import functions
from .wire import Chat, Detokenize, Tokenize, read

STARTED = int(time.time())


async def health(request: Request) -> Response:
    """Whether the server lives."""
    return sse.answer({"status": "ok"})


async def ready(request: Request) -> Response:
    """Whether it takes requests: 503 until an engine has answered once, after it has
    ended, and while the server stops.
    """
    hub = hub_of(request)
    trouble = hub.llm.engine.trouble
    if hub.is_draining:
        return sse.answer({"status": "stopping"}, {"retry-after": "1"}, 503)
    if trouble:
        told = {"status": "starting", "reason": f"the engine {trouble}"}
        return sse.answer(told, {"retry-after": "1"}, 503)
    return sse.answer({"status": "ready"})


async def version(request: Request) -> Response:
    """The version."""
    return sse.answer({"version": __version__})


async def models(request: Request) -> Response:
    """The model, under each of its names."""
    names = hub_of(request).settings.names
    return sse.answer({"object": "list", "data": [_model(request, name) for name in names]})


async def model(request: Request) -> Response:
    """The model."""
    name = request.path_params["name"]
    if name not in hub_of(request).settings.names:
        raise Refused(404, f"no model {name[:60]!r} is served; see /v1/models", "model")
    return sse.answer(_model(request, name))


def _model(request: Request, name: str) -> dict[str, object]:
    hub = hub_of(request)
    most = hub.llm.config.max_position_embeddings
    told = {"id": name, "object": "model", "created": STARTED, "owned_by": "flashling"}
    return {**told, "root": hub.settings.model, "max_model_len": most, "context_length": most}


async def metrics(request: Request) -> Response:
    """The counts, for Prometheus."""
    hub = hub_of(request)
    engine = hub.llm.engine
    found = {
        "requests_open": len(hub.turns),
        "start_time_seconds": STARTED,
        "engine_up": int(not engine.trouble),
        "engine_restarts": engine.restarts,
        "requests_running": 0,
        "requests_waiting": 0,
    }
    with suppress(Lost):
        found |= await engine.call(calls.gauges)
    text = hub.metrics.text(found)
    return PlainTextResponse(text, media_type="text/plain; version=0.0.4; charset=utf-8")


async def usage(request: Request) -> Response:
    """What the requests of this key came to."""
    client = request.scope["client_of"]
    return sse.answer({"key": client.name, **hub_of(request).ledger.of(client.name)})


async def cancel(request: Request) -> Response:
    """End a running request, by its id or the one that its X-Request-Id gave it."""
    id = request.path_params["id"]
    if not hub_of(request).cancel(request.scope["client_of"], id):
        raise Refused(404, f"no request {id[:60]!r} of yours runs", "id")
    return sse.answer({"id": id, "cancelled": True})


async def tokenize(request: Request) -> Response:
    """The tokens of a text, or of a conversation with the positions at which its messages end."""
    hub, body = hub_of(request), await read(request, Tokenize)
    if (body.prompt is None) == (body.messages is None):
        raise Refused(400, "give a prompt or messages, one of them", "prompt")
    borders: tuple[int, ...] = ()
    if body.prompt is not None:
        tokens = await asyncio.to_thread(hub.llm.tokenizer.encode, body.prompt)
    else:
        messages, tools = messages_of(body.messages or []), functions(body.tools)
        talk = await asyncio.to_thread(hub.llm.prompts.of, messages, tools, None)
        tokens, borders = talk.prompt.tokens, tuple(talk.prompt.borders)
    most = hub.llm.config.max_position_embeddings
    told = {"count": len(tokens), "max_model_len": most, "tokens": tokens}
    return sse.answer({**told, "borders": borders} if body.messages is not None else told)


async def render(request: Request) -> Response:
    """What the model would read for a chat: its text, its tokens, and the positions at which its
    messages end.
    """
    hub, body = hub_of(request), await read(request, Chat)
    prompt = await asyncio.to_thread(hub.asker.prompt, body)
    text = await asyncio.to_thread(hub.llm.tokenizer.decode, prompt.tokens)
    told = {"prompt": text, "count": len(prompt.tokens), "tokens": prompt.tokens}
    return sse.answer({**told, "borders": prompt.borders})


async def detokenize(request: Request) -> Response:
    """The text of tokens."""
    hub, body = hub_of(request), await read(request, Detokenize)
    vocab = hub.llm.config.vocab_size
    if wrong := [t for t in body.tokens if t >= vocab]:
        raise Refused(400, f"tokens: {wrong[0]} is outside of the vocabulary of {vocab}", "tokens")
    return sse.answer({"prompt": await asyncio.to_thread(hub.llm.tokenizer.decode, body.tokens)})
