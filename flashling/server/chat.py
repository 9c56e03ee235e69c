"""POST /v1/chat/completions"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import sse, streams
from .choice import Choice, logprob
from .errors import body_of, refusal
from .hub import Hub, hub_of
from .turn import News, Turn
from .usage import usage_of
from .wire import Chat, read


async def chat(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    hub, body = hub_of(request), await read(request, Chat)
    asked = await asyncio.to_thread(hub.asker.chat, body, request.scope["client_of"])
    turn = await hub.begin(request, asked, "chatcmpl", body.model)
    if body.stream:
        return streams.begin(request, hub, turn, Chunks(hub, body, turn).lines())
    return await sse.while_there(request, _whole(hub, body, turn), turn.close)


async def _whole(hub: Hub, body: Chat, turn: Turn) -> Response:
    choices = [Choice() for _ in range(turn.asked.samples)]
    async for news in turn.news():
        if news is not None:
            choices[news.sample].take(news.events)
            choices[news.sample].logprobs += _logprobs(hub, body, news)
    turn.close()
    told = [
        {
            "index": i,
            "message": c.message(),
            "logprobs": {"content": c.logprobs, "refusal": None} if body.logprobs else None,
            "finish_reason": c.finish,
        }
        for i, c in enumerate(choices)
    ]
    head = {"id": turn.id, "object": "chat.completion", "created": int(turn.began)}
    whole = {**head, "model": hub.settings.model, "choices": told, "usage": usage_of(turn)}
    return sse.answer(whole, {"x-request-id": turn.id})


def _logprobs(hub: Hub, body: Chat, news: News) -> list[dict[str, Any]]:
    drawn = news.drawn
    if not body.logprobs or drawn is None or drawn.token in hub.llm.tokenizer.eos_ids:
        return []
    return [logprob(drawn, hub.llm.tokenizer)]


class Chunks:
    """A chat as a stream of chunks."""

    def __init__(self, hub: Hub, body: Chat, turn: Turn) -> None:
        self._hub, self._body, self._turn = hub, body, turn
        self._head = {
            "id": turn.id,
            "object": "chat.completion.chunk",
            "created": int(turn.began),
            "model": hub.settings.model,
        }
        options = body.stream_options
        self._has_usage = bool(options and options.include_usage)
        self._is_counted = bool(options and options.continuous_usage_stats)

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream's text."""
        choices = [Choice() for _ in range(self._turn.asked.samples)]
        try:
            for i in range(len(choices)):
                yield self._chunk(i, {"role": "assistant", "content": ""})
            async for news in self._turn.news():
                told = [sse.ALIVE] if news is None else self._told(news, choices[news.sample])
                for line in told:
                    yield line
            # before the last words: who has read them may count on the ledger
            self._turn.close()
            if self._has_usage:
                yield sse.event({**self._head, "choices": [], "usage": usage_of(self._turn)})
            yield sse.DONE
        except Exception as error:
            yield sse.event(body_of(refusal(error)))

    def _told(self, news: News, choice: Choice) -> list[bytes]:
        deltas = choice.take(news.events)
        choice.logprobs += _logprobs(self._hub, self._body, news)
        lines = []
        for delta in deltas:
            lines.append(self._chunk(news.sample, delta, choice.logprobs))
            choice.logprobs = []
        if choice.finish:
            lines.append(self._chunk(news.sample, {}, choice.logprobs, choice.finish))
        return lines

    def _chunk(
        self,
        sample: int,
        delta: dict[str, Any],
        logprobs: list[dict[str, Any]] | None = None,
        finish: str | None = None,
    ) -> bytes:
        told = {"content": logprobs, "refusal": None} if logprobs else None
        choice = {"index": sample, "delta": delta, "logprobs": told, "finish_reason": finish}
        chunk: dict[str, Any] = {**self._head, "choices": [choice]}
        if self._has_usage or self._is_counted:
            chunk["usage"] = usage_of(self._turn) if self._is_counted else None
        return sse.event(chunk)
