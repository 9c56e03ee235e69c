"""GET /openapi.json: the routes and the types of their bodies, as they are in the code."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from .. import __version__
from . import sse
from .claude import Counted, Messages
from .explain import Explain
from .gate import OPEN
from .items import Responses
from .sessions import Fork
from .streams import RESUMABLE
from .turn import DEADLINE
from .wire import SESSION, Chat, Completion, Detokenize, Tokenize

BODIES: dict[str, type[Struct]] = {
    "/v1/chat/completions": Chat,
    "/v1/completions": Completion,
    "/v1/messages": Messages,
    "/v1/messages/count_tokens": Counted,
    "/v1/responses": Responses,
    "/v1/sessions/{id}/fork": Fork,
    "/v1/cache/explain": Explain,
    "/tokenize": Tokenize,
    "/detokenize": Detokenize,
    "/render": Chat,
}
ANSWERING = ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/v1/responses")
HEADERS = {
    SESSION: "the session whose turn this is",
    DEADLINE: "seconds within which it must begin",
}
OWN_HEADERS = {
    "/v1/chat/completions": {RESUMABLE: "1: the stream goes on when the client is cut off"},
    "/v1/streams/{id}": {"last-event-id": "the number of the last event that was read"},
}


async def openapi(request: Request) -> Response:
    """This description."""
    return sse.answer(described(request.scope["router"].routes))


def described(routes: list[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of these routes; files are left out."""
    kinds = list(BODIES.values())
    schemas, parts = msgspec.json.schema_components(
        kinds, ref_template="#/components/schemas/{name}"
    )
    bodies = dict(zip(BODIES, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if isinstance(route, Route) and inspect.isfunction(route.endpoint):
            path = route.path_format
            for method in sorted((route.methods or set()) - {"HEAD"}):
                told = _operation(route, path, bodies.get(path))
                paths.setdefault(path, {})[method.lower()] = told
    return {
        "openapi": "3.1.0",
        "info": {"title": "flashling", "version": __version__},
        "paths": paths,
        "components": {
            "schemas": parts,
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"key": []}],
    }


def _operation(route: Route, path: str, body: Any) -> dict[str, Any]:
    headers = (HEADERS if path in ANSWERING else {}) | OWN_HEADERS.get(path, {})
    string = {"type": "string"}
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": string}
        for name in route.param_convertors
    ]
    parameters += [
        {"name": name, "in": "header", "description": what, "schema": string}
        for name, what in headers.items()
    ]
    told: dict[str, Any] = {
        "summary": (inspect.getdoc(route.endpoint) or "").partition("\n\n")[0].replace("\n", " "),
        "parameters": parameters,
        "responses": {"200": {"description": "the answer"}, "default": {"description": "an error"}},
    }
    if body is not None:
        told["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    return told | ({"security": []} if path in OPEN else {})
