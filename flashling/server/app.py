"""The application: every route, behind the gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from starlette.responses import Response
from starlette.routing import Route, Router

from ..llm.face import Face
from . import sessions, small, streams
from .chat import chat
from .completions import completions
from .explain import explain
from .gate import Gate
from .hub import Hub
from .messages import count_tokens, messages
from .openapi import openapi
from .responses import delete, responses, stored
from .settings import Settings

ROUTES = [
    Route("/v1/chat/completions", chat, methods=["POST"]),
    Route("/v1/completions", completions, methods=["POST"]),
    Route("/v1/messages", messages, methods=["POST"]),
    Route("/v1/messages/count_tokens", count_tokens, methods=["POST"]),
    Route("/v1/responses", responses, methods=["POST"]),
    Route("/v1/responses/{id}", stored),
    Route("/v1/responses/{id}", delete, methods=["DELETE"]),
    Route("/v1/sessions", sessions.listed),
    Route("/v1/sessions/{id}/fork", sessions.fork, methods=["POST"]),
    Route("/v1/sessions/{id}/park", sessions.park, methods=["POST"]),
    Route("/v1/sessions/{id}", sessions.delete, methods=["DELETE"]),
    Route("/v1/streams/{id}", streams.resume),
    Route("/v1/cache/explain", explain, methods=["POST"]),
    Route("/v1/models", small.models),
    Route("/v1/models/{name:path}", small.model),
    Route("/v1/usage", small.usage),
    Route("/v1/requests/{id}/cancel", small.cancel, methods=["POST"]),
    Route("/tokenize", small.tokenize, methods=["POST"]),
    Route("/detokenize", small.detokenize, methods=["POST"]),
    Route("/render", small.render, methods=["POST"]),
    Route("/openapi.json", openapi),
    Route("/metrics", small.metrics),
    Route("/version", small.version),
    Route("/health", small.health),
    Route("/ready", small.ready),
]


class Page(Protocol):
    """Static files that anyone may read: by path, contents and type; and the headers of each."""

    def files(self) -> Mapping[str, tuple[bytes, str]]:
        """All of them."""
        ...

    def headers(self, path: str) -> Mapping[str, str]:
        """What is sent with one."""
        ...


def make(llm: Face, settings: Settings, page: Page | None = None) -> Gate:
    """The application that serves `llm`, and a page if there is one; its `hub` holds the state."""
    folder, _ = settings.disk
    if folder is not None:
        llm.prompts.keep_in(folder)
    routes, files = list(ROUTES), page.files() if page else {}
    for path, (contents, kind) in files.items():
        assert page is not None
        response = Response(contents, headers=page.headers(path), media_type=kind)
        routes.append(Route(path, response, methods=["GET"]))
    return Gate(Router(routes, redirect_slashes=False), Hub(llm, settings), files)
