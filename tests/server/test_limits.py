"""Every bound of `limits`: what is at it goes through, and one more is refused by name.

The engine is a stand-in that is full: 429 says that a request has come as far as that.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import uvicorn
from starlette.requests import Request

from flashling.config import ModelConfig
from flashling.engine import grammar
from flashling.engine.request import Overloaded
from flashling.llm.face import Face
from flashling.llm.prompts import Prompts
from flashling.nano import path as nano
from flashling.server import limits, run, streams
from flashling.server.app import make
from flashling.server.keys import ANYONE, Keys
from flashling.server.settings import Settings
from flashling.server.turn import DEADLINE
from flashling.text.tokenizer import Tokenizer

from .test_turn import Service

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HI: Any = [{"role": "user", "content": "hi"}]
TOKENIZER, CONFIG = Tokenizer.read(nano()), ModelConfig.read(nano())


@pytest.fixture
def app() -> Any:
    engine: Any = Service(Overloaded("many are waiting", 2.0))
    return make(Face(CONFIG, TOKENIZER, Prompts(TOKENIZER), engine), Settings())


def asked(app: Any, method: str, path: str, **more: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.request(method, path, **more)

    return asyncio.run(ask())


def chat(**more: Any) -> dict[str, Any]:
    return {"messages": HI, **more}


def tools(count: int) -> list[Any]:
    return [{"type": "function", "function": {"name": f"f{i}"}} for i in range(count)]


def schema(given: Any) -> dict[str, Any]:
    return chat(response_format={"type": "json_schema", "json_schema": {"schema": given}})


def deep(levels: int) -> Any:
    found: Any = {"type": "object"}
    # each adds the object of its properties and itself
    for _ in range((levels - 1) // 2):
        found = {"type": "object", "properties": {"a": found}}
    return found if levels % 2 else {"items": found}


def answers(count: int) -> Any:
    samples = next(n for n in range(limits.SAMPLES, 0, -1) if count % n == 0)
    return {"prompt": ["a"] * (count // samples), "n": samples}


# the bound, where it is asked, a body that has so many, and a word of the refusal
BODIES: dict[str, tuple[int, str, Callable[[int], Any], str]] = {
    "SAMPLES": (limits.SAMPLES, CHAT, lambda n: chat(n=n), "n:"),
    "PROMPTS": (limits.PROMPTS, COMPLETIONS, lambda n: {"prompt": ["a"] * n}, "prompts"),
    "ANSWERS": (limits.ANSWERS, COMPLETIONS, answers, "answers"),
    "MESSAGES": (limits.MESSAGES, CHAT, lambda n: {"messages": HI * n}, "messages"),
    "TOOLS": (limits.TOOLS, CHAT, lambda n: chat(tools=tools(n)), "tools"),
    "MAX_TOKENS": (limits.MAX_TOKENS, CHAT, lambda n: chat(max_tokens=n), "max_tokens"),
    "STOPS": (limits.STOPS, CHAT, lambda n: chat(stop=["a"] * n), "stop"),
    "STOP_LENGTH": (limits.STOP_LENGTH, CHAT, lambda n: chat(stop=["a" * n]), "stop"),
    "TOP_LOGPROBS": (
        limits.TOP_LOGPROBS,
        CHAT,
        lambda n: chat(logprobs=True, top_logprobs=n),
        "top_logprobs",
    ),
    "BIASES": (
        limits.BIASES,
        CHAT,
        lambda n: chat(logit_bias={str(i): 1 for i in range(n)}),
        "logit_bias",
    ),
    "PRIORITY": (limits.PRIORITY, CHAT, lambda n: chat(priority=n), "priority"),
    "NAME": (limits.NAME, CHAT, lambda n: chat(model="m" * n), "model"),
    "grammar's bytes": (
        grammar.MAX_BYTES,
        CHAT,
        lambda n: schema({"enum": ["x" * (n - len(json.dumps({"enum": [""]})))]}),
        "bytes",
    ),
    "grammar's levels": (grammar.MAX_DEPTH, CHAT, lambda n: schema(deep(n)), "deeper"),
    "context": (
        CONFIG.max_position_embeddings - 1,
        COMPLETIONS,
        lambda n: {"prompt": [5] * n},
        "context",
    ),
}


@pytest.mark.parametrize("name", BODIES)
def test_bodies(app: Any, name: str) -> None:
    most, path, body, word = BODIES[name]
    fits = asked(app, "POST", path, json=body(most))
    assert fits.status_code == 429 and fits.headers["retry-after"] == "2", fits.text
    more = asked(app, "POST", path, json=body(most + 1))
    assert more.status_code == 400 and word in more.text, more.text


@pytest.mark.parametrize(("seconds", "status"), [(limits.DEADLINE, 429), (3601, 400)])
def test_deadlines(app: Any, seconds: float, status: int) -> None:
    found = asked(app, "POST", CHAT, json=chat(), headers={DEADLINE: f"{seconds:.0f}"})
    assert found.status_code == status, found.text


def test_keys() -> None:
    low, high = limits.KEY_LENGTH
    assert Keys([("a", "x" * low), ("b", "y" * high)])
    for size in (low - 1, high + 1):
        with pytest.raises(ValueError, match=f"needs {low} to {high}"):
            Keys([("a", "x" * size)])
    many = [(str(i), f"key-{i:08}") for i in range(limits.KEYS + 1)]
    assert Keys(many[1:])
    with pytest.raises(ValueError, match=f"at most {limits.KEYS}"):
        Keys(many)


def test_a_body_that_takes_too_long(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_SECONDS", 0.3)

    async def slowly(seconds: float) -> AsyncIterator[bytes]:
        yield json.dumps(chat()).encode()
        await asyncio.sleep(seconds)

    assert asked(app, "POST", CHAT, content=slowly(0)).status_code == 429
    late = asked(app, "POST", CHAT, content=slowly(5))
    assert late.status_code == 408 and "0 s" in late.json()["error"]["message"]


def test_resumable_streams(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAPES", 1)

    async def begin() -> list[bool]:
        request = Request({"type": "http", "headers": [(streams.RESUMABLE.encode(), b"1")]})
        turns: Any = [SimpleNamespace(id=i, client=ANYONE, close=lambda: None) for i in "ab"]

        async def silent() -> AsyncIterator[bytes]:
            await asyncio.sleep(60)
            yield b""

        found = [streams.begin(request, app.hub, turn, silent()) for turn in turns]
        return [streams.STREAM in answer.headers for answer in found]

    # who finds no room has a stream that ends with its connection
    assert asyncio.run(begin()) == [True, False]


def test_connections(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "CONNECTIONS", 3)
    with run._socket(Settings(port=0)) as taken:
        server = uvicorn.Server(run._config(app, Settings()))
        thread = threading.Thread(target=server.run, args=[[taken]])
        thread.start()
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/health"
        while not server.started:
            time.sleep(0.01)
        clients = [httpx.Client() for _ in range(3)]
        statuses = [client.get(url).status_code for client in clients]
        clients.pop(0).close()
        time.sleep(0.2)
        statuses.append(clients[0].get(url).status_code)
        for client in clients:
            client.close()
        server.should_exit = True
        thread.join(10)
    # the listener counts the one that asks
    assert statuses == [200, 200, 503, 200]


# where the rest is tried
ELSEWHERE = {
    "BODY": "test_gate",
    "HEADERS": "test_gate",
    "NUM_HEADERS": "test_gate",
    "KEEP_ALIVE": "test_turn",
    "PENDING": "test_turn",
    "TAPE": "test_streams",
    "GRACE": "test_streams",
    "QUEUE": "test_run",
    "STORED": "test_stored",
    "STORED_BYTES": "test_stored",
}
HERE = {"BODY_SECONDS", "CONNECTIONS", "DEADLINE", "KEYS", "KEY_LENGTH", "TAPES"}


def test_no_bound_is_left_out() -> None:
    there = {name for name in vars(limits) if name.isupper()}
    assert there - {"USUAL_TOKENS"} == {n for n in BODIES if n.isupper()} | HERE | set(ELSEWHERE)
