"""The application: every route, behind the gate."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from ..llm import LLM
from . import small
from .chat import chat
from .completions import completions
from .gate import Gate
from .hub import Hub
from .messages import count_tokens, messages
from .responses import responses
from .settings import Settings

ROUTES = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/v1/models", small.models),
    Route("/v1/models/{name:path}", small.model),
    Route("/v1/usage", small.usage),
    Route("/v1/requests/{id}/cancel", small.cancel, methods=["POST"]),
    Route("/tokenize", small.tokenize, methods=["POST"]),
    Route("/detokenize", small.detokenize, methods=["POST"]),
    Route("/metrics", small.metrics),
    Route("/version", small.version),
    Route("/health", small.health),
    Route("/ready", small.ready),
]


def make(
    llm: LLM, settings: Settings, files: Mapping[str, tuple[bytes, str]] | None = None
) -> Gate:
    """The application that serves `llm`; its `hub` holds the state.

    files: static ones that everyone may read, by path: contents and type.
    """
    hub, files = Hub(llm, settings), files or {}

    async def file(request: Request) -> Response:
        contents, kind = files[request.url.path]
        return Response(contents, media_type=kind)

    routes = [*ROUTES, *(Route(path, file) for path in files)]
    router = Router(routes, redirect_slashes=False)
    return Gate(router, hub, files)
