"""POST /v1/completions: texts and tokens continued as they are, without the chat format."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..llm import Answer
from ..llm.stops import Stops
from ..text.stream import Stream
from ..text.tokenizer import Tokenizer
from . import sse
from .errors import Refused, body_of, refusal
from .hub import Hub, hub_of
from .turn import News, Turn
from .usage import usage_of
from .wire import Completion, read


async def completions(request: Request) -> Response:
    """Continue one prompt or several, at once; one prompt also as a stream."""
    hub, body = hub_of(request), await read(request, Completion)
    asked = await asyncio.to_thread(hub.asker.completion, body, request.scope["client_of"])
    if body.stream and len(asked) > 1:
        raise Refused(400, f"stream: {len(asked)} prompts; a stream takes one", "stream")
    turns: list[Turn] = []

    def close() -> None:
        for turn in turns:
            turn.close()

    try:
        for one in asked:
            turns.append(await hub.begin(request, one, "cmpl", body.model))
    except BaseException:
        close()
        raise
    if body.stream:
        headers = {"x-request-id": turns[0].id}
        return sse.Stream(_lines(hub, body, turns[0]), close, headers)
    return await sse.while_there(request, _whole(hub, body, turns), close)


async def _whole(hub: Hub, body: Completion, turns: list[Turn]) -> Response:
    choices: list[dict[str, Any]] = []
    for turn in turns:
        texts = _texts(hub, body, turn)
        async for news in turn.news():
            if news is not None:
                texts[news.sample].take(news)
        turn.close()
        lead = hub.llm.tokenizer.decode(turn.asked.request.prompt) if body.echo else ""
        for text in texts:
            told = {"text": lead + text.text, "logprobs": text.logprobs}
            choices.append({"index": len(choices), **told, "finish_reason": text.finish})
    total = usage_of(turns[0])
    for turn in turns[1:]:
        total = _sum(total, usage_of(turn))
    return sse.answer({**_head(hub, turns[0]), "choices": choices, "usage": total})


async def _lines(hub: Hub, body: Completion, turn: Turn) -> AsyncIterator[bytes]:
    texts = _texts(hub, body, turn)
    head, options = _head(hub, turn), body.stream_options
    try:
        if body.echo:
            lead = hub.llm.tokenizer.decode(turn.asked.request.prompt)
            for i in range(len(texts)):
                yield _chunk(head, i, lead, None, "")
        async for news in turn.news():
            if news is None:
                yield sse.ALIVE
                continue
            text = texts[news.sample]
            piece = text.take(news)
            if piece or text.finish:
                yield _chunk(head, news.sample, piece, text.logprobs, text.finish)
                text.forget()
        turn.close()
        if options and options.include_usage:
            yield sse.event({**head, "choices": [], "usage": usage_of(turn)})
        yield sse.DONE
    except Exception as error:
        yield sse.event(body_of(refusal(error)))


def _texts(hub: Hub, body: Completion, turn: Turn) -> list[Spelt]:
    stops = turn.asked.request.sampling.stop
    return [Spelt(hub.llm.tokenizer, body, stops) for _ in range(turn.asked.samples)]


def _head(hub: Hub, turn: Turn) -> dict[str, Any]:
    head = {"id": turn.id, "object": "text_completion", "created": int(turn.began)}
    return {**head, "model": hub.settings.model}


def _chunk(head: dict[str, Any], index: int, text: str, logprobs: Any, finish: str) -> bytes:
    choice = {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish or None}
    return sse.event({**head, "choices": [choice]})


def _sum(a: Any, b: Any) -> Any:
    return {k: _sum(v, b[k]) if isinstance(v, dict) else v + b[k] for k, v in a.items()}


class Spelt:
    """A continuation as plain text, calls and thoughts included as they are spelt."""

    def __init__(self, tokenizer: Tokenizer, body: Completion, stops: Sequence[str]) -> None:
        self._tokenizer, self._has_logprobs = tokenizer, body.logprobs is not None
        self._stream, self._stops = Stream(tokenizer, skip_special=True), Stops(stops)
        self.text = self.finish = ""
        self.forget()

    def forget(self) -> None:
        """Begin the log-probabilities anew, for the next chunk."""
        self._found: list[tuple[str, float, dict[str, float]]] = []

    @property
    def logprobs(self) -> dict[str, Any] | None:
        """Log-probabilities in the form of completions."""
        if not self._has_logprobs:
            return None
        return {
            "tokens": [token for token, *_ in self._found],
            "token_logprobs": [value for _, value, _ in self._found],
            "top_logprobs": [top for *_, top in self._found],
            "text_offset": [],
        }

    def take(self, news: News) -> str:
        """The text that a token adds."""
        piece, drawn = "", news.drawn
        if drawn is not None and drawn.token is not None:
            piece = self._stops.push(self._stream.push(drawn.token))
            if self._has_logprobs and drawn.token not in self._tokenizer.eos_ids:
                top = {self._spell(token): value for token, value in drawn.top}
                self._found.append((self._spell(drawn.token), drawn.logprob, top))
        for e in news.events:
            if isinstance(e, Answer):
                self.finish = e.finish
                piece += self._stops.push(self._stream.close()) + self._stops.close()
        self.text += piece
        return piece

    def _spell(self, token: int) -> str:
        return self._tokenizer.bytes_of(token).decode("utf-8", "replace")
