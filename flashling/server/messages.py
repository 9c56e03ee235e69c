"""POST /v1/messages and /v1/messages/count_tokens: chats in Anthropic's form."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from . import sse
from .choice import Choice
from .claude import Counted, Messages, chat_of
from .errors import body_of, refusal
from .hub import Hub, hub_of
from .turn import Turn
from .usage import cached_of
from .wire import read

REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


async def messages(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    hub, body = hub_of(request), await read(request, Messages)
    asked = await asyncio.to_thread(hub.asker.chat, chat_of(body), request.scope["client_of"])
    turn = await hub.begin(request, asked, "msg", body.model)
    headers = {"request-id": turn.id, "x-request-id": turn.id}
    if body.stream:
        return sse.Stream(Events(hub, turn).lines(), turn.close, headers)
    return await sse.while_there(request, _whole(hub, turn, headers), turn.close)


async def count_tokens(request: Request) -> Response:
    """How many tokens a conversation takes."""
    hub, body = hub_of(request), await read(request, Counted)
    prompt = await asyncio.to_thread(hub.asker.prompt, chat_of(body))
    return sse.answer({"input_tokens": len(prompt.tokens)})


async def _whole(hub: Hub, turn: Turn, headers: dict[str, str]) -> Response:
    choice = Choice()
    async for news in turn.news():
        if news is not None:
            choice.take(news.events)
    turn.close()
    content: list[dict[str, Any]] = []
    if choice.reasoning:
        thought = "".join(choice.reasoning)
        content.append({"type": "thinking", "thinking": thought, "signature": ""})
    if choice.content:
        content.append({"type": "text", "text": "".join(choice.content)})
    for call in choice.calls:
        try:
            given = json.loads(call["function"]["arguments"])
        except ValueError:
            # cut off: there is nothing to be called with
            continue
        content.append({**_call(call), "input": given})
    told = {**_message(hub, turn), "content": content, **_end(hub, turn, choice)}
    return sse.answer({**told, "usage": _usage(turn)}, headers)


def _call(call: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": call["id"], "name": call["function"]["name"], "input": {}}


def _message(hub: Hub, turn: Turn) -> dict[str, Any]:
    head = {"id": turn.id, "type": "message", "role": "assistant", "model": hub.settings.model}
    return {**head, "content": [], "stop_reason": None, "stop_sequence": None}


def _usage(turn: Turn) -> dict[str, int]:
    """The counts, of which each token is in one."""
    cached = cached_of(turn)
    return {
        "input_tokens": turn.prompt_tokens - cached,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": turn.output_tokens,
    }


def _end(hub: Hub, turn: Turn, choice: Choice) -> dict[str, Any]:
    """Why it ended, and by which stop sequence."""
    tokens = turn.answers[0].tokens
    found = None
    if choice.finish == "stop" and tokens and tokens[-1] not in hub.llm.tokenizer.eos_ids:
        text = hub.llm.tokenizer.decode(tokens)
        found = next((s for s in turn.asked.request.sampling.stop if s in text), None)
    reason = "stop_sequence" if found else REASONS.get(choice.finish, "end_turn")
    return {"stop_reason": reason, "stop_sequence": found}


class Events:
    """An answer as Anthropic's events: blocks one after another, each opened and closed."""

    def __init__(self, hub: Hub, turn: Turn) -> None:
        self._hub, self._turn, self._choice = hub, turn, Choice()
        self._index, self._open = -1, ""

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream's text."""
        turn = self._turn
        try:
            start = {**_message(self._hub, turn), "usage": _usage(turn)}
            yield _event("message_start", message=start)
            yield _event("ping")
            async for news in turn.news():
                if news is None:
                    yield _event("ping")
                    continue
                deltas = self._choice.take(news.events)
                if told := b"".join(self._told(delta) for delta in deltas):
                    yield told
            turn.close()
            yield self._close()
            end = _end(self._hub, turn, self._choice)
            yield _event("message_delta", delta=end, usage=_usage(turn))
            yield _event("message_stop")
        except Exception as error:
            yield sse.event(body_of(refusal(error), is_anthropic=True), "error")

    def _told(self, delta: dict[str, Any]) -> bytes:
        if "content" in delta:
            head = self._enter("text", {"type": "text", "text": ""})
            return head + self._delta(type="text_delta", text=delta["content"])
        if "reasoning_content" in delta:
            block = {"type": "thinking", "thinking": "", "signature": ""}
            head = self._enter("thinking", block)
            return head + self._delta(type="thinking_delta", thinking=delta["reasoning_content"])
        call = delta["tool_calls"][0]
        if "id" in call:
            return self._enter(call["id"], _call(call))
        text = call["function"]["arguments"]
        return self._delta(type="input_json_delta", partial_json=text)

    def _enter(self, name: str, block: dict[str, Any]) -> bytes:
        if name == self._open:
            return b""
        before = self._close()
        self._index, self._open = self._index + 1, name
        return before + _event("content_block_start", index=self._index, content_block=block)

    def _close(self) -> bytes:
        is_open, self._open = bool(self._open), ""
        return _event("content_block_stop", index=self._index) if is_open else b""

    def _delta(self, **delta: Any) -> bytes:
        return _event("content_block_delta", index=self._index, delta=delta)


def _event(name: str, **more: Any) -> bytes:
    return sse.event({"type": name, **more}, name)
