"""Clients that misbehave beside one that does not: what that one still gets."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from .abuse import KINDS
from .conftest import KEYS, ROOT, Served, wait_for

ASK = {
    "messages": [{"role": "user", "content": "list the files in src"}],
    "max_tokens": 24,
    "ignore_eos": True,
    "temperature": 0,
    "stream": True,
}

LEFT = ("requests_open", "requests_running", "requests_waiting")


@dataclass
class Seen:
    """Seconds to the first token and per token after it, of each request."""

    first: list[float] = field(default_factory=list)
    each: list[float] = field(default_factory=list)

    def worst(self) -> tuple[float, float]:
        """The 99th percentiles of both."""
        return percentile(self.first), percentile(self.each)


def percentile(values: list[float], share: float = 0.99) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def ask_for(served: Served, seconds: float, seen: Seen) -> None:
    """One request after the other; each must be answered whole."""
    ends, last = time.monotonic() + seconds, ""
    with served.client("bob") as bob:
        while time.monotonic() < ends:
            begun, first = time.monotonic(), 0.0
            with bob.stream("POST", "/v1/chat/completions", json=ASK) as answer:
                assert answer.status_code == 200, answer.read()
                for line in answer.iter_lines():
                    if not first and '"content":"' in line and '"role"' not in line:
                        first = time.monotonic()
                    last = line or last
            assert last == "data: [DONE]"
            seen.first.append(first - begun)
            seen.each.append((time.monotonic() - first) / (ASK["max_tokens"] - 1))


@contextmanager
def abused(served: Served, kind: str) -> Iterator[None]:
    port = served.url.rpartition(":")[2]
    command = [sys.executable, "-m", "tests.server.abuse", kind, port, KEYS["ann"]]
    # the abuser's own work is not to be taken from the server's
    process = subprocess.Popen(["nice", "-n", "10", *command], cwd=ROOT, env=os.environ)
    try:
        time.sleep(1)
        yield
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


SOAK = [pytest.mark.soak, pytest.mark.timeout(900)]
CASES = [(kind, 1) for kind in ("readers", "senders", "bodies", "schemas", "leavers")]
CASES += [pytest.param(kind, 20, marks=SOAK) for kind in KINDS]
# a prompt that fills the context is read in the engine's steps, as any client's is, and each of
# these takes long for all: what that comes to is shown, and everybody must be answered
CASES += [pytest.param("prompts", 3, marks=SOAK)]


@pytest.mark.parametrize(("kind", "rounds"), CASES)
def test_a_good_client_beside(kind: str, rounds: int, served: Served) -> None:
    alone, beside = Seen(), Seen()
    size, _ = served.held()
    # in turns, so that what else the machine does comes to both
    for _ in range(rounds):
        ask_for(served, 1.5, alone)
        with abused(served, kind):
            ask_for(served, 1.5, beside)
        wait_for(lambda: not sum(map(served.gauge, LEFT)), 30)
    later, files = served.held()
    shown = [f"{1000 * x:.1f}" for x in (*alone.worst(), *beside.worst())]
    print(f"{kind}: p99 to the first token, per token: alone {shown[:2]}, beside {shown[2:]} ms")
    print(f"{kind}: {len(beside.first)} requests, {(later - size) >> 20} MiB more, {files} files")
    assert httpx.get(served.url + "/ready").status_code == 200
    # compiled grammars of the largest schemas and what compiling leaves come to 250 MiB, and stay
    # there; the prefix cache grows beside them, up to its budget
    assert later < size + (500 << 20) and files < 100
    if rounds > 1 and kind in KINDS:
        for before, now in zip(alone.worst(), beside.worst(), strict=True):
            assert now < 2 * before
