"""Streams that go on where their client was cut off."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from flashling.server import limits, sse
from flashling.server.errors import Refused
from flashling.server.keys import ANYONE
from flashling.server.tape import Tape

from .conftest import Served

CHAT = "/v1/chat/completions"
RESUMABLE = {"x-flashling-resumable": "1"}


def asked(**more: Any) -> dict[str, Any]:
    messages = [{"role": "user", "content": "list the files in src"}]
    return {"messages": messages, "temperature": 0, "stream": True, "max_tokens": 60, **more}


def events(text: str) -> list[str]:
    return [e for e in text.split("\n\n") if e and not e.startswith(":")]


def data(found: list[str]) -> list[str]:
    """What the events say, without what differs between two answers."""
    texts = [e.partition("data: ")[2] for e in found]
    return [re.sub(r'"(id|created)":("[^"]*"|\d+)', "", t) for t in texts]


def numbers(found: list[str]) -> list[int]:
    ids = [re.match(r"id: (\d+)\n", e) for e in found]
    return [int(i[1]) for i in ids if i]


def test_the_rest_of_a_stream(served: Served) -> None:
    more = {"ignore_eos": True, "max_tokens": 120}
    with served.client() as ann, served.client("bob") as bob:
        whole = events(ann.post(CHAT, json=asked(**more)).text)
        assert numbers(whole) == list(range(len(whole))) and whole[-1].endswith("data: [DONE]")
        first: list[str] = []
        with ann.stream("POST", CHAT, json=asked(**more), headers=RESUMABLE) as answer:
            id, text = answer.headers["x-flashling-stream"], ""
            for part in answer.iter_text():
                text += part
                if len(first := events(text.rpartition("\n\n")[0])) >= 5:
                    break
        assert served.gauge("requests_open") == 1
        last = {"last-event-id": str(numbers(first)[-1])}
        assert bob.get(f"/v1/streams/{id}", headers=last).status_code == 404
        rest = events(ann.get(f"/v1/streams/{id}", headers=last).text)
        assert data(first + rest) == data(whole)
        assert numbers(first + rest) == list(range(len(whole)))
        # and again, since it is still kept; from the start, and from the end
        assert events(ann.get(f"/v1/streams/{id}").text) == first + rest
        over = {"last-event-id": str(len(whole) - 1)}
        assert ann.get(f"/v1/streams/{id}", headers=over).text == ""
        for wrong, status in (("x", 400), ("-2", 400), ("²", 400), (str(len(whole)), 410)):
            headers = {"last-event-id": wrong.encode("latin-1")}
            assert ann.get(f"/v1/streams/{id}", headers=headers).status_code == status  # type: ignore


def test_without_the_header_a_client_that_leaves_ends_it(served: Served) -> None:
    with served.client() as ann:
        more = asked(ignore_eos=True, max_tokens=20_000)
        with ann.stream("POST", CHAT, json=more) as answer:
            assert "x-flashling-stream" not in answer.headers
            id = answer.headers["x-request-id"]
            next(answer.iter_text())
        assert ann.get(f"/v1/streams/{id}").status_code == 404
        ends = time.time() + 5
        while served.gauge("requests_open") and time.time() < ends:
            time.sleep(0.02)
        assert not served.gauge("requests_open")


def test_a_sign_of_life_is_no_event() -> None:
    async def silent() -> AsyncIterator[bytes]:
        for text in ("a", "b"):
            delta = {"index": 0, "delta": {"content": text}, "finish_reason": None}
            yield sse.event({"id": "x", "object": "chat.completion.chunk", "choices": [delta]})
            yield sse.ALIVE
        yield sse.DONE

    async def told() -> bytes:
        return b"".join([text async for text in sse.numbered(silent())])

    body = asyncio.run(told())
    headers = {"content-type": "text/event-stream"}
    transport = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=body))
    with openai.OpenAI(api_key="k", http_client=httpx.Client(transport=transport)) as client:
        chunks = client.chat.completions.create(
            model="m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert [c.choices[0].delta.content for c in chunks] == ["a", "b"]


async def lines(count: int, gate: asyncio.Event) -> AsyncIterator[bytes]:
    for i in range(count):
        await asyncio.sleep(0.002)
        yield b"data: %d\n\n" % i
        if i == count // 2:
            await gate.wait()


def test_a_tape_is_bounded_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAPE", 60)
    monkeypatch.setattr(limits, "GRACE", 0.05)
    monkeypatch.setattr(limits, "KEEP_ALIVE", 0.01)
    ends: list[str] = []

    async def run() -> None:
        gate = asyncio.Event()

        def tape(count: int) -> Tape:
            numbered = sse.numbered(lines(count, gate))
            return Tape(ANYONE, numbered, lambda: ends.append("close"), lambda: ends.append("end"))

        it = tape(20)
        reader: Any = it.read(-1)
        assert await anext(reader) == b"id: 0\ndata: 0\n\n"
        await asyncio.sleep(0.1)
        with pytest.raises(Refused, match="not kept"):
            it.read(-1)
        # the others have gone while it did not read
        assert b"too slow" in await anext(reader)
        it.leave()
        late: Any = it.read(10)
        assert await anext(late) == sse.ALIVE
        # a reader holds it, however long
        await asyncio.sleep(0.1)
        assert not ends
        gate.set()
        assert [t async for t in late if t != sse.ALIVE][-1] == b"id: 19\ndata: 19\n\n"
        assert ends == ["close"]
        it.leave()
        await asyncio.sleep(0.1)
        assert ends == ["close", "end"]
        gate.clear()
        left = tape(4)
        left.read(-1)
        left.leave()
        await asyncio.sleep(0.1)
        await left.ended()
        # nobody came back
        assert sorted(ends) == ["close", "close", "end", "end"]

    asyncio.run(run())
