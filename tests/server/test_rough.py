"""Requests that no client should send, and clients that leave at any time."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from flashling.server.app import ROUTES

from .conftest import KEYS, Served, stop, wait_for
from .rough import CHAT, MESSAGES, RESPONSES, SOUND, rough

LONG = [
    ("/v1/chat/completions", CHAT),
    ("/v1/messages", MESSAGES),
    ("/v1/responses", RESPONSES),
]
# what a request may be told: never that the server failed
TOLD = {200, 400, 403, 404, 405, 410}


def test_every_route_is_tried() -> None:
    tried = {(method, path) for method, path, _ in SOUND}
    there = {(m, r.path) for r in ROUTES for m in r.methods or () if m != "HEAD"}
    assert tried == there


@pytest.mark.parametrize(
    "count",
    [1000, pytest.param(100_000, marks=[pytest.mark.soak, pytest.mark.timeout(7200)])],
)
def test_no_request_makes_it_fail(
    count: int, tmp_path: Path, serving: Callable[..., Served]
) -> None:
    served = serving("--disk-cache", f"{tmp_path / 'parked'}:0.05", "--host-cache", "0.05")
    dice, statuses = random.Random(count), Counter[int]()
    sizes: list[tuple[int, int]] = []
    headers = {"authorization": f"Bearer {KEYS['ann']}"}

    async def some(client: httpx.AsyncClient, requests: Iterator[int]) -> None:
        for i in requests:
            method, path, body, more = rough(dice)
            answer = await client.request(method, path, content=body, headers=more)
            statuses[answer.status_code] += 1
            assert answer.status_code in TOLD, (method, path, body, more, answer.text)
            assert "server_error" not in answer.text, (method, path, body, more, answer.text)
            if i % (count // 10) == 0:
                sizes.append(served.held())

    async def all_of_them() -> None:
        # one that hangs ends the test
        async with httpx.AsyncClient(base_url=served.url, headers=headers, timeout=120) as client:
            requests = iter(range(count))
            await asyncio.gather(*(some(client, requests) for _ in range(8)))

    begun = time.monotonic()
    asyncio.run(all_of_them())
    print(count, "requests", round(time.monotonic() - begun), "s", dict(statuses))
    print("bytes and handles of the server:", sizes)
    assert statuses[200] > count / 10 and statuses[400] > count / 10
    wait_for(lambda: not served.gauge("requests_open") + served.gauge("requests_running"), 2)
    # caches and allocators fill within the first part; then nothing grows
    (early, _), (late, handles) = sizes[len(sizes) // 3], sizes[-1]
    assert late < early * 1.15 + (64 << 20) and handles < 200, sizes
    with served.client() as ann:
        sound = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
        assert ann.post("/v1/chat/completions", json=sound).is_success
    stop(served)


@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.soak)])
def test_clients_that_leave_at_any_time(served: Served, count: int) -> None:
    dice = random.Random(count)
    headers = {"authorization": f"Bearer {KEYS['ann']}"}
    most = {"max_tokens": 3000, "max_output_tokens": 3000, "ignore_eos": True}

    async def one(gate: asyncio.Semaphore) -> None:
        path, sound = dice.choice(LONG)
        body = {**sound, **most, "n": dice.choice([1, 3]), "stream": dice.random() < 0.7}
        async with gate, httpx.AsyncClient(base_url=served.url, headers=headers) as client:
            try:
                async with (
                    asyncio.timeout(dice.choice([0.001, 0.02, 0.1, 0.4])),
                    client.stream("POST", path, json=body) as answer,
                ):
                    async for _ in answer.aiter_bytes():
                        pass
            except (TimeoutError, httpx.HTTPError):
                pass

    async def all_of_them() -> None:
        gate = asyncio.Semaphore(16)
        await asyncio.gather(*(one(gate) for _ in range(count)))

    asyncio.run(all_of_them())
    deadline = time.monotonic() + 2
    names = ("requests_running", "requests_waiting", "requests_open")
    while left := sum(served.gauge(name) for name in names):
        assert time.monotonic() < deadline, left
