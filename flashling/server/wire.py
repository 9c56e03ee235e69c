"""Requests as they come over the wire: typed, what is unknown ignored, what is wrong named."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request

from . import limits
from .errors import Refused

Named = Annotated[str, Meta(max_length=limits.NAME)]
Count = Annotated[int, Meta(ge=1, le=limits.MAX_TOKENS)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Stop = str | Annotated[list[str], Meta(max_length=limits.STOPS)] | None
Session = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._:-]{1,128}$")]
Priority = Annotated[int, Meta(ge=-limits.PRIORITY, le=limits.PRIORITY)]
T = TypeVar("T", bound=Struct)
# names the session of a request whose body names none
SESSION = "x-flashling-session"


class Part(Struct):
    """A part of a message's content; only text is read."""

    type: str = "text"
    text: str | None = None
    refusal: str | None = None


class Said(Struct):
    """A message of a conversation, in any role."""

    role: str
    content: str | list[Part] | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class StreamOptions(Struct):
    """What a stream tells beside the text."""

    include_usage: bool | None = None
    continuous_usage_stats: bool | None = None


class Drawing(Struct, kw_only=True):
    """How tokens are drawn: common to chats and completions."""

    model: Named | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: Count | None = None
    min_tokens: Annotated[int, Meta(ge=0, le=limits.MAX_TOKENS)] | None = None
    n: Annotated[int, Meta(ge=1, le=limits.SAMPLES)] | None = None
    temperature: Annotated[float, Meta(ge=0, le=100)] | None = None
    top_p: Annotated[float, Meta(gt=0, le=1)] | None = None
    top_k: Annotated[int, Meta(ge=-1, le=1 << 20)] | None = None
    min_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Meta(ge=0.001, le=1000)] | None = None
    logit_bias: Annotated[dict[str, float], Meta(max_length=limits.BIASES)] | None = None
    seed: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] | None = None
    stop: Stop = None
    ignore_eos: bool | None = None
    session_id: Session | None = None
    priority: Priority | None = None


class JsonSchema(Struct):
    """The schema of a response format."""

    schema: dict[str, Any] | None = None


class Format(Struct):
    """What form an answer must have."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None


class Chat(Drawing, kw_only=True):
    """POST /v1/chat/completions"""

    messages: Annotated[list[Said], Meta(min_length=1, max_length=limits.MESSAGES)]
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: Format | None = None
    max_completion_tokens: Count | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Meta(ge=0, le=limits.TOP_LOGPROBS)] | None = None
    reasoning_effort: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


Tokens = list[Annotated[int, Meta(ge=0, lt=1 << 31)]]


class Completion(Drawing, kw_only=True):
    """POST /v1/completions"""

    prompt: str | list[Any]
    echo: bool | None = None
    logprobs: Annotated[int, Meta(ge=0, le=limits.TOP_LOGPROBS)] | None = None


class Tokenize(Struct):
    """POST /tokenize: a text, or a conversation as it is rendered."""

    prompt: str | None = None
    messages: Annotated[list[Said], Meta(max_length=limits.MESSAGES)] | None = None
    tools: list[dict[str, Any]] | None = None


class Detokenize(Struct):
    """POST /detokenize"""

    tokens: Tokens


async def read(request: Request, kind: type[T]) -> T:
    """The body of a request as a `kind`; Refused names the field, the value and what it may be."""
    try:
        async with asyncio.timeout(limits.BODY_SECONDS):
            body = await request.body()
    except TimeoutError:
        raise Refused(408, f"the body took longer than {limits.BODY_SECONDS:.0f} s") from None
    found = decode(body, kind)
    given = request.headers.get(SESSION)
    if given is not None and getattr(found, "session_id", "") is None:
        setattr(found, "session_id", _session(given))  # noqa: B010
    return found


def _session(given: str) -> str:
    try:
        return msgspec.convert(given, Session)
    except msgspec.ValidationError:
        told = f"{SESSION}: {given[:60]!r} is not 1 to 128 letters, digits and ._:-"
        raise Refused(400, told, SESSION) from None


def decode(body: bytes, kind: type[T]) -> T:
    """As `read`, of bytes."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise _named(str(error), body) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        told = str(error) if isinstance(error, msgspec.DecodeError) else "it cannot be read"
        raise Refused(400, f"the body is not JSON: {told[:200]}") from None


def _named(told: str, body: bytes) -> Refused:
    what, _, path = told.partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    what = what[:1].lower() + what[1:]
    if field is None:
        return Refused(400, f"the body is refused: {what}")
    value, is_found = _at(body, field)
    shown = json.dumps(value, ensure_ascii=True)
    shown = shown if len(shown) <= 60 else shown[:57] + "..."
    return Refused(400, f"{field}: {what}" + f", not {shown}" * is_found, field)


def _at(body: bytes, path: str) -> tuple[Any, bool]:
    """The value at a path such as messages[3].content, and whether there is one."""
    try:
        value: Any = msgspec.json.decode(body)
    except (ValueError, RecursionError):
        # what comes after the field is worse
        return None, False
    for name, index in re.findall(r"([^.\[\]]+)|\[(\d+|\.\.\.)\]", path):
        try:
            value = value[name] if name else value[int(index)]
        except (KeyError, IndexError, TypeError, ValueError):
            return None, False
    return value, True
