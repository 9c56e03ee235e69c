"""/v1/responses: chats as items, kept so that the next one can go on from them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from . import sse
from .choice import Choice
from .errors import Refused, body_of, refusal
from .hub import Hub, hub_of
from .items import Responses, chat_of, items_of
from .stored import Stored
from .turn import Turn
from .usage import cached_of
from .wire import read

Event = tuple[str, dict[str, Any]]


async def responses(request: Request) -> Response:
    """Answer a conversation, at once or as a stream."""
    hub, body = hub_of(request), await read(request, Responses)
    items, client = items_of(body), request.scope["client_of"]
    if body.previous_response_id is not None:
        before = await _stored(request, body.previous_response_id, "previous_response_id")
        items = [*before.items, *before.response["output"], *items]
    asked = await asyncio.to_thread(hub.asker.chat, chat_of(body, items), client)
    turn = await hub.begin(request, asked, "resp", body.model)
    answer, headers = Answering(hub, body, turn, items), {"x-request-id": turn.id}
    if body.stream:
        return sse.Stream(answer.lines(), turn.close, headers)
    return await sse.while_there(request, _whole(answer, headers), turn.close)


async def stored(request: Request) -> Response:
    """A response that was stored, as it was told."""
    return sse.answer((await _stored(request, request.path_params["id"], "id")).response)


async def delete(request: Request) -> Response:
    """Forget a response."""
    hub, id = hub_of(request), request.path_params["id"]
    namespace = request.scope["client_of"].namespace
    if not await asyncio.to_thread(hub.responses.delete, namespace, id):
        raise _missing(id, "id")
    return sse.answer({"id": id, "object": "response", "deleted": True})


async def _stored(request: Request, id: str, field: str) -> Stored:
    namespace = request.scope["client_of"].namespace
    found = await asyncio.to_thread(hub_of(request).responses.get, namespace, id)
    if found is None:
        raise _missing(id, field)
    return found


def _missing(id: str, field: str) -> Refused:
    told = f"{field}: no response {id[:64]!r} of yours is stored; send the whole conversation"
    return Refused(404, told, field)


async def _whole(answer: Answering, headers: dict[str, str]) -> Response:
    async for _ in answer.events():
        pass
    return sse.answer(answer.response(), headers)


class Answering:
    """An answer as a list of items, and the events that tell how they grow."""

    def __init__(self, hub: Hub, body: Responses, turn: Turn, items: list[dict[str, Any]]) -> None:
        self._hub, self._body, self._turn, self._items = hub, body, turn, items
        self._is_kept = body.store is not False
        self._choice = Choice()
        self._output: list[dict[str, Any]] = []
        self._is_open = False
        self._status = "in_progress"

    async def lines(self) -> AsyncIterator[bytes]:
        """The stream's text."""
        number = 0
        try:
            async for found in self.events():
                if found is None:
                    yield sse.ALIVE
                    continue
                name, told = found
                yield sse.event({"type": name, "sequence_number": number, **told}, name)
                number += 1
        except Exception as error:
            self._status = "failed"
            told = body_of(refusal(error))["error"]
            failed = {"code": "server_error", "message": told["message"]}
            whole = {**self.response(), "error": failed}
            name = "response.failed"
            yield sse.event({"type": name, "sequence_number": number, "response": whole}, name)

    async def events(self) -> AsyncIterator[Event | None]:
        """Events with their names; None where there is no news."""
        yield "response.created", {"response": self.response()}
        yield "response.in_progress", {"response": self.response()}
        async for news in self._turn.news():
            if news is None:
                yield None
                continue
            for delta in self._choice.take(news.events):
                for event in self._grow(delta):
                    yield event
        self._turn.close()
        is_whole = self._choice.finish in ("stop", "tool_calls")
        for event in self._close("completed" if is_whole else "incomplete"):
            yield event
        self._status = "completed" if is_whole else "incomplete"
        if self._is_kept:
            await self._keep()
        yield f"response.{self._status}", {"response": self.response()}

    async def _keep(self) -> None:
        """Store it, before the last words: who has read them may go on from it."""
        store, space = self._hub.responses, self._turn.client.namespace
        kept = Stored(self.response(), self._items)
        self._is_kept = await asyncio.to_thread(store.put, space, self._turn.id, kept)

    def _grow(self, delta: dict[str, Any]) -> list[Event]:
        if "content" in delta:
            events = self._enter("message", {"role": "assistant", "content": []})
            return [*events, *self._add(delta["content"])]
        if "reasoning_content" in delta:
            events = self._enter("reasoning", {"summary": [], "content": []})
            return [*events, *self._add(delta["reasoning_content"])]
        call = delta["tool_calls"][0]
        if "id" in call:
            own = {"call_id": call["id"], "name": call["function"]["name"], "arguments": ""}
            return self._enter("function_call", own, is_new=True)
        text = call["function"]["arguments"]
        self._output[-1]["arguments"] += text
        return [self._event("response.function_call_arguments.delta", delta=text)]

    def _add(self, text: str) -> list[Event]:
        item = self._output[-1]
        name = "output_text" if item["type"] == "message" else "reasoning_text"
        item["content"][0]["text"] += text
        more = {"logprobs": []} if name == "output_text" else {}
        return [self._event(f"response.{name}.delta", content_index=0, delta=text, **more)]

    def _enter(self, kind: str, own: dict[str, Any], is_new: bool = False) -> list[Event]:
        """Go on with the item of that kind, or begin one."""
        if self._is_open and self._output[-1]["type"] == kind and not is_new:
            return []
        events = self._close("completed")
        # the names that clients know begin so
        short = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        id = f"{short}_{secrets.token_hex(12)}"
        item = {"type": kind, "id": id, "status": "in_progress", **own}
        self._output.append(item)
        self._is_open = True
        events.append(self._item("added"))
        if kind != "function_call":
            item["content"].append(_part(kind))
            events.append(self._part_event("added", _part(kind)))
        return events

    def _close(self, status: str) -> list[Event]:
        """End the item that is open."""
        if not self._is_open:
            return []
        self._is_open, item = False, self._output[-1]
        item["status"] = status
        if item["type"] == "function_call":
            told = {"name": item["name"], "arguments": item["arguments"]}
            done = self._event("response.function_call_arguments.done", **told)
            return [done, self._item("done")]
        part = item["content"][0]
        more = {"logprobs": []} if item["type"] == "message" else {}
        name = f"response.{part['type']}.done"
        done = self._event(name, content_index=0, text=part["text"], **more)
        return [done, self._part_event("done", dict(part)), self._item("done")]

    def _event(self, name: str, /, **told: Any) -> Event:
        place = {"output_index": len(self._output) - 1, "item_id": self._output[-1]["id"]}
        return name, {**place, **told}

    def _part_event(self, what: str, part: dict[str, Any]) -> Event:
        return self._event(f"response.content_part.{what}", content_index=0, part=part)

    def _item(self, what: str) -> Event:
        item = {**self._output[-1]}
        if what == "added" and "content" in item:
            item["content"] = []
        told = {"output_index": len(self._output) - 1, "item": item}
        return f"response.output_item.{what}", told

    def response(self) -> dict[str, Any]:
        """The response as it stands."""
        body, turn = self._body, self._turn
        is_over = self._status in ("completed", "incomplete")
        cut = "max_output_tokens" if self._choice.finish == "length" else "cancelled"
        return {
            "id": turn.id,
            "object": "response",
            "created_at": int(turn.began),
            "status": self._status,
            "error": None,
            "incomplete_details": {"reason": cut} if self._status == "incomplete" else None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": self._hub.settings.model,
            "output": [dict(item) for item in self._output],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": body.previous_response_id,
            "reasoning": {"effort": body.reasoning and body.reasoning.effort, "summary": None},
            "store": self._is_kept,
            "temperature": turn.asked.request.sampling.temperature,
            "text": {"format": _format(body)},
            "tool_choice": body.tool_choice or "auto",
            "tools": [t for t in body.tools or [] if t.get("type") == "function"],
            "top_p": turn.asked.request.sampling.top_p,
            "truncation": "disabled",
            "usage": _usage(turn) if is_over else None,
        }


def _part(kind: str) -> dict[str, Any]:
    if kind == "reasoning":
        return {"type": "reasoning_text", "text": ""}
    return {"type": "output_text", "text": "", "annotations": [], "logprobs": []}


def _format(body: Responses) -> Any:
    given = body.text.format if body.text else None
    return {"type": "text"} if given is None else msgspec.to_builtins(given)


def _usage(turn: Turn) -> dict[str, Any]:
    return {
        "input_tokens": turn.prompt_tokens,
        "input_tokens_details": {"cached_tokens": cached_of(turn)},
        "output_tokens": turn.output_tokens,
        "output_tokens_details": {"reasoning_tokens": turn.reasoning_tokens},
        "total_tokens": turn.prompt_tokens + turn.output_tokens,
    }
