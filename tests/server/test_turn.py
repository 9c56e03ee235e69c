"""A turn and the gate, with a stand-in for the model."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from flashling.engine.request import Continuation, Event, Overloaded
from flashling.llm.link import Lost
from flashling.nano import path as nano
from flashling.server import limits
from flashling.server.app import make
from flashling.server.asked import Asked
from flashling.server.errors import Refused
from flashling.server.keys import ANYONE, Keys
from flashling.server.settings import Settings
from flashling.server.turn import Turn
from flashling.text.tokenizer import Tokenizer


class Service:
    """Takes requests, does nothing, and lets the test tell what happens."""

    trouble, restarts = "", 0

    def __init__(self, refusal: Exception | None = None) -> None:
        self.refusal = refusal
        self.tell: Callable[[int, Any], None] = lambda i, event: None
        self.is_closed = False

    def open(self, request: Continuation, samples: int, grammar: None, tell: Any) -> Any:
        self.tell, taken = tell, asyncio.get_running_loop().create_future()
        if self.refusal:
            taken.set_exception(self.refusal)
        else:
            taken.set_result([0])
        return SimpleNamespace(taken=taken, numbers=[0], close=self._close, stop=lambda i: None)

    async def call(self, what: Any, *args: Any) -> Any:
        raise Lost("was killed")

    def _close(self) -> None:
        self.is_closed = True


def turn(service: Service, ended: list[Turn]) -> Turn:
    llm: Any = SimpleNamespace(tokenizer=Tokenizer.read(nano()), engine=service)
    return Turn(llm, Asked(Continuation((1, 2)), 1), ANYONE, "t", ended.append)


def test_silence_is_told_and_a_slow_reader_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "KEEP_ALIVE", 0.01)
    monkeypatch.setattr(limits, "PENDING", 8)
    service, ended = Service(), []

    async def run() -> None:
        it = turn(service, ended)
        await it.begin()
        news = it.news()
        assert await anext(news) is None
        service.tell(0, Event(0, 500))
        assert (await anext(news)).drawn.token == 500  # type: ignore
        for _ in range(8):
            service.tell(0, Event(0, 500))
        with pytest.raises(Refused, match="too slow"):
            await asyncio.sleep(0)
            await anext(news)
        assert service.is_closed
        it.close()
        it.close()
        assert ended == [it] and it.output_tokens == 1

    asyncio.run(run())


def test_a_refusal_comes_before_the_answer_begins() -> None:
    async def run() -> None:
        with pytest.raises(Overloaded):
            await turn(Service(Overloaded("3 requests are waiting", 2.0)), ended).begin()

    ended: list[Turn] = []
    asyncio.run(run())
    assert len(ended) == 1


def test_what_cannot_be_opened_leaves_nothing_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ended: list[Turn] = []

    def full(*_: Any) -> None:
        raise Lost("has ended")

    async def run() -> None:
        service = Service()
        monkeypatch.setattr(service, "open", full)
        it = turn(service, ended)
        with pytest.raises(Lost, match="has ended"):
            await it.begin()
        it.close()
        assert ended == [it]

    asyncio.run(run())


def test_an_engine_that_ends_before_a_request_has_begun() -> None:
    ended: list[Turn] = []

    async def run() -> None:
        service = Service()
        it = turn(service, ended)
        await it.begin()
        with pytest.raises(Lost, match="the engine was killed"):
            await it.start(0.01)
        # its slot is free again, whatever becomes of the response
        assert ended == [it] and service.is_closed

    asyncio.run(run())


class Page:
    """One file."""

    def files(self) -> dict[str, tuple[bytes, str]]:
        return {"/": (b"hello", "text/html")}

    def headers(self, path: str) -> dict[str, str]:
        return {"content-security-policy": "default-src 'self'"}


def test_a_page_is_open_and_brings_its_own_policy() -> None:
    service = Service()
    service.trouble = "is starting"
    llm: Any = SimpleNamespace(tokenizer=None, engine=service)
    app: Any = make(llm, Settings(keys=Keys([("a", "a-long-key")])), Page())

    async def run() -> None:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            found = await client.get("/")
            assert found.text == "hello" and found.headers["x-content-type-options"] == "nosniff"
            assert found.headers["content-security-policy"] == "default-src 'self'"
            assert (await client.get("/metrics")).status_code == 401
            # not ready before the engine is
            told = await client.get("/ready")
            assert told.status_code == 503
            assert told.json() == {"status": "starting", "reason": "the engine is starting"}

    asyncio.run(run())
