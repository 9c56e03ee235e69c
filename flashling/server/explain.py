"""POST /v1/cache/explain: what of a prompt is held, and where two prompts part."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from ..engine.request import Usage
from ..llm import calls
from . import limits, sse
from .asked import Asker
from .errors import Refused
from .hub import hub_of
from .wire import Chat, Said, Tokens, read

# tokens shown on each side of a difference
AROUND = 16


class Prompt(Chat, kw_only=True):
    """A chat's request, or a text or tokens as they are."""

    messages: Annotated[list[Said], Meta(max_length=limits.MESSAGES)] = []
    prompt: str | Tokens | None = None


class Explain(Struct):
    """POST /v1/cache/explain"""

    prompts: Annotated[list[Prompt], Meta(min_length=1, max_length=2)]


async def explain(request: Request) -> Response:
    """Of each prompt the longest beginning that is held, where, and why no more; of two the first
    token in which they differ.
    """
    hub, body = hub_of(request), await read(request, Explain)
    space = request.scope["client_of"].namespace
    prompts = [
        await asyncio.to_thread(_tokens, hub.asker, i, prompt)
        for i, prompt in enumerate(body.prompts)
    ]
    found = await hub.llm.engine.call(calls.explain, space, prompts)
    told: dict[str, Any] = {"prompts": [_told(usage) for usage in found]}
    if len(prompts) == 2:
        told["first_difference"] = _difference(hub.asker, *prompts)
    return sse.answer(told)


def _tokens(asker: Asker, i: int, prompt: Prompt) -> list[int]:
    field = f"prompts[{i}]"
    if bool(prompt.messages) == bool(prompt.prompt):
        raise Refused(400, f"{field}: give messages or a prompt, one of them", field)
    if prompt.messages:
        return asker.prompt(prompt).tokens
    if isinstance(prompt.prompt, str):
        return asker.llm.tokenizer.encode(prompt.prompt)
    tokens, vocab = prompt.prompt or [], asker.llm.config.vocab_size
    if wrong := [t for t in tokens if t >= vocab]:
        told = f"{field}.prompt: {wrong[0]} is outside of the vocabulary of {vocab}"
        raise Refused(400, told, field)
    return tokens


def _told(usage: Usage) -> dict[str, Any]:
    return {
        "tokens": usage.prompt,
        "cached_tokens": usage.cached,
        "tier": usage.restored_from or None,
        "reason": usage.miss_reason or "all but the last token is held",
    }


def _difference(asker: Asker, a: list[int], b: list[int]) -> dict[str, Any] | None:
    """The first token of difference with the text around it; None if the prompts are equal."""
    if a == b:
        return None
    decode = asker.llm.tokenizer.decode
    pairs = enumerate(zip(a, b, strict=False))
    at = next((i for i, (x, y) in pairs if x != y), min(len(a), len(b)))
    return {
        "token": at,
        "before": decode(a[max(0, at - AROUND) : at]),
        "tokens": [tokens[at] if at < len(tokens) else None for tokens in (a, b)],
        "after": [decode(tokens[at : at + AROUND]) for tokens in (a, b)],
    }
