"""Errors as clients read them: one encoder, fixed words for what is ours."""

from __future__ import annotations

import logging
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from ..engine.request import Overloaded
from ..llm.link import Lost

LOG = logging.getLogger("flashling.server")
KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "overloaded_error",
}
FAILED = "the server failed on this request; it is in the log. Try again"


class Refused(Exception):
    """A request that is not served: a status, a sentence that names the remedy, the field it is
    about, and the seconds after which trying again makes sense.
    """

    def __init__(
        self, status: int, message: str, param: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.retry_after = status, param, retry_after


def refusal(error: Exception) -> Refused:
    """What a client is told of an exception. Those that are neither its fault nor a full queue are
    logged, and told in fixed words.
    """
    if isinstance(error, Refused):
        return error
    if isinstance(error, Overloaded):
        return Refused(429, str(error), retry_after=error.retry_after)
    if isinstance(error, Lost):
        return Refused(503, str(error), retry_after=error.retry_after)
    if isinstance(error, HTTPException):
        known = {404: "there is nothing at this address", 405: "this address takes other methods"}
        return Refused(error.status_code, known.get(error.status_code, "the request is not valid"))
    if isinstance(error, ValueError):
        return Refused(400, str(error))
    LOG.error("a request failed", exc_info=error)
    return Refused(500, FAILED)


def body_of(error: Refused, is_anthropic: bool = False) -> dict[str, Any]:
    """The error's JSON: OpenAI's form, or Anthropic's."""
    kind = KINDS.get(error.status, "invalid_request_error")
    if is_anthropic:
        return {"type": "error", "error": {"type": kind, "message": str(error)}}
    told = {"message": str(error), "type": kind, "param": error.param, "code": None}
    return {"error": told}


def reply(refused: Refused, path: str) -> Response:
    """The response that tells a refusal, in the form of the protocol at `path`."""
    headers = {}
    if refused.retry_after is not None:
        headers["retry-after"] = str(max(1, round(refused.retry_after)))
    if refused.status == 401:
        headers["www-authenticate"] = "Bearer"
    body = msgspec.json.encode(body_of(refused, path.startswith("/v1/messages")))
    return Response(body, refused.status, headers, "application/json")
