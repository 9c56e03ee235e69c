"""Engines that end in the middle of their work, and servers that do."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from flashling.cli.app import main
from flashling.engine.engine import Engine
from flashling.engine.request import Continuation, Event
from flashling.llm import calls, supervisor
from flashling.llm.frames import TOLD, Add, Setup, Told, frame, taken
from flashling.llm.link import Lost, Stream
from flashling.llm.supervisor import Supervisor
from flashling.llm.worker import Worker
from flashling.sampling import Sampling
from tests import toy

from .conftest import KEYS, Served, start, stop, wait_for
from .test_sessions import SYSTEM, listed, turn

HEADERS = {"authorization": f"Bearer {KEYS['ann']}"}
HI = [{"role": "user", "content": "hi"}]
REQUEST = Continuation((1, 2), Sampling(max_tokens=4000, min_tokens=4000))
LONG = {"ignore_eos": True, "stream": True}
# long streams of each protocol, and how its errors begin
STREAMS: list[tuple[str, dict[str, Any], str]] = [
    ("/v1/chat/completions", {"messages": HI, "max_tokens": 60_000}, 'data: {"error":'),
    ("/v1/messages", {"messages": HI, "max_tokens": 60_000}, 'data: {"type":"error"'),
    ("/v1/responses", {"input": "hi", "max_output_tokens": 60_000}, 'data: {"type":"response.f'),
    ("/v1/completions", {"prompt": "hi", "max_tokens": 60_000}, 'data: {"error":'),
]


def children(pid: int) -> list[int]:
    """The processes that a process has started and that still live."""
    found = [file.read_text().split() for file in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for line in found for child in line if is_alive(int(child))]


def is_alive(pid: int) -> bool:
    file = Path(f"/proc/{pid}/stat")
    return file.exists() and file.read_text().rpartition(")")[2].split()[0] != "Z"


class Crowd:
    """So many streams at once; `ends` has the last event of each that is over, by its path."""

    def __init__(self, url: str, count: int) -> None:
        self.ends: list[tuple[str, str]] = []
        self._begun = threading.Semaphore(0)
        self._url = url
        paths = [STREAMS[i % len(STREAMS)] for i in range(count)]
        self._threads = [threading.Thread(target=self._one, args=p) for p in paths]
        for each in self._threads:
            each.start()
        assert all(self._begun.acquire(timeout=60) for _ in paths)

    def _one(self, path: str, body: dict[str, Any], _: str) -> None:
        last = ""
        try:
            with httpx.stream(
                "POST", self._url + path, json={**body, **LONG}, headers=HEADERS, timeout=120
            ) as answer:
                assert answer.status_code == 200
                self._begun.release()
                for line in answer.iter_lines():
                    last = line if line.startswith("data: ") else last
        except httpx.HTTPError:
            last = "cut off"
        self.ends.append((path, last))

    def join(self) -> None:
        for each in self._threads:
            each.join(60)
        assert len(self.ends) == len(self._threads)


def told(served: Served, said: list[Any], text: str) -> dict[str, Any]:
    """Take a turn of a session, and see it on the disk; its usage."""
    said.append({"role": "user", "content": text})
    with served.client() as ann:
        usage = turn(ann, said, session_id="job")
        held = usage["total_tokens"] - 1
        assert wait_for(lambda: listed(ann)["job"]["tokens"] == held)
        assert wait_for(lambda: listed(ann)["job"]["bytes"].get("disk"))
    return usage


@pytest.mark.parametrize("count", [64, pytest.param(400, marks=pytest.mark.soak)])
def test_an_engine_and_then_its_server_are_killed(tmp_path: Path, count: int) -> None:
    flags = ("--disk-cache", f"{tmp_path / 'parked'}:1")
    served = start(tmp_path, *flags)
    said: list[Any] = [SYSTEM]
    first = told(served, said, "list the files in src")

    crowd = Crowd(served.url, count)
    (engine,) = children(served.process.pid)
    os.kill(engine, signal.SIGKILL)
    crowd.join()
    begins = {path: begin for path, _, begin in STREAMS}
    for path, last in crowd.ends:
        assert last.startswith(begins[path]) and "killed by SIGKILL" in last, (path, last)
    ready = httpx.get(served.url + "/ready")
    assert ready.status_code == 503 and "the engine has ended" in ready.json()["reason"]
    body = {"messages": HI, "max_tokens": 2}
    refused = httpx.post(served.url + STREAMS[0][0], json=body, headers=HEADERS)
    assert refused.status_code == 503 and int(refused.headers["retry-after"]) >= 1
    assert refused.json()["error"]["type"] == "overloaded_error"
    assert served.gauge("engine_up") == 0 and httpx.get(served.url + "/health").is_success

    while not httpx.get(served.url + "/ready").is_success:
        time.sleep(0.05)
    assert served.gauge("engine_up") == served.gauge("engine_restarts") == 1
    assert served.gauge("requests_open") == served.gauge("requests_running") == 0
    second = told(served, said, "and in docs")
    cached = second["prompt_tokens_details"]["cached_tokens"]
    assert cached == first["total_tokens"] - 1 > 0
    assert served.gauge('cache_hits_total{tier="disk"}') == 1

    crowd = Crowd(served.url, count)
    (engine,) = children(served.process.pid)
    stop(served, signal.SIGKILL)
    crowd.join()
    assert {last for _, last in crowd.ends} == {"cut off"}
    ends = time.monotonic() + 15
    while is_alive(engine):
        assert time.monotonic() < ends
        time.sleep(0.05)
    served = start(tmp_path, *flags)
    third = told(served, said, "and in tests")
    cached = third["prompt_tokens_details"]["cached_tokens"]
    assert cached == second["total_tokens"] - 1
    (engine,) = children(served.process.pid)
    stop(served)
    assert not is_alive(engine)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model."""
    return toy.write(tmp_path_factory.mktemp("toy"))


def soon_killed() -> threading.Thread:
    """Kills the next process that this one starts."""
    before = set(children(os.getpid()))

    def kill() -> None:
        (child,) = wait_for(lambda: set(children(os.getpid())) - before)
        os.kill(child, signal.SIGKILL)

    thread = threading.Thread(target=kill)
    thread.start()
    return thread


def test_an_engine_that_ends_while_it_loads(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    killer = soon_killed()
    assert main(["serve", str(folder), "--port", "0"]) == 1
    killer.join()
    said = capsys.readouterr().err
    assert "the model cannot answer: the engine was killed by SIGKILL while it loaded" in said


def test_weights_that_are_not_there(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert main(["serve", str(tmp_path), "--port", "0"]) == 1
    assert "the model cannot answer" in (said := capsys.readouterr().err)
    assert "safetensors" in said and "Traceback" not in said


def test_engines_that_end_again_and_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(supervisor, "MOST", 2)
    monkeypatch.setattr(supervisor, "PAUSE", 0.0)
    ready = Supervisor._keep

    async def keep(self: Supervisor, link: Any) -> Any:
        task = asyncio.create_task(ready(self, link))
        while self.trouble:
            await asyncio.sleep(0.01)
        link.process.kill()
        return await task

    monkeypatch.setattr(Supervisor, "_keep", keep)
    assert main(["serve", str(folder), "--port", "0"]) == 3
    said = capsys.readouterr().err
    assert "2 engines ended in a row; the last was killed by SIGKILL" in said


def test_an_engine_that_says_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "PATIENCE", 0.4)
    heard: list[tuple[int, Any]] = []
    before = set(children(os.getpid()))

    async def run() -> None:
        kept = Supervisor(Setup(str(folder)))
        with pytest.raises(Lost, match="the engine is starting; try again soon"):
            kept.open(REQUEST, 2, None, lambda *it: None)
        task = asyncio.create_task(kept.run())
        while kept.trouble:
            await asyncio.sleep(0.01)
        # with nothing to do it may be silent for as long as it likes
        (child,) = set(children(os.getpid())) - before
        os.kill(child, signal.SIGSTOP)
        await asyncio.sleep(0.6)
        assert not kept.trouble
        os.kill(child, signal.SIGCONT)
        stream = kept.open(REQUEST, 2, None, lambda *it: heard.append(it))
        assert len(await stream.taken) == 2
        while not heard:
            await asyncio.sleep(0.01)
        os.kill(child, signal.SIGSTOP)
        asked = kept.call(calls.gauges)
        with pytest.raises(Lost, match="did not answer for 0.4 s"):
            await asked
        assert kept.trouble and not is_alive(child)
        await kept.close()
        assert task.cancelled() or task.done()

    asyncio.run(run())
    sample, last = heard[-1]
    assert sample == 0 and isinstance(last, Lost)
    assert all(isinstance(event, Event) for _, event in heard[:-1])


def test_a_request_that_ends_engines_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE", 0.0)
    other = Continuation((3, 4), REQUEST.sampling)
    before = set(children(os.getpid()))

    async def run() -> None:
        kept = Supervisor(Setup(str(folder)))
        task = asyncio.create_task(kept.run())
        for seed in (1, 2):
            while kept.trouble:
                await asyncio.sleep(0.01)
            heard: list[Any] = []
            again = Continuation(REQUEST.prompt, replace(REQUEST.sampling, seed=seed))
            # sent twice at once it counts once
            for _ in range(2):
                stream = kept.open(again, 1, None, lambda _, event, to=heard: to.append(event))
                await stream.taken
            (child,) = set(children(os.getpid())) - before
            os.kill(child, signal.SIGKILL)
            while not (heard and isinstance(heard[-1], Lost)):
                await asyncio.sleep(0.01)
        while kept.trouble:
            await asyncio.sleep(0.01)
        with pytest.raises(ValueError, match="the engine ended 2 times while it ran this request"):
            kept.open(REQUEST, 1, None, lambda *_: None)
        kept.open(other, 1, None, lambda *_: None).close()
        monkeypatch.setattr(supervisor, "SOUND", 0.0)
        kept.open(REQUEST, 1, None, lambda *_: None).close()
        assert await kept.close()
        await task

    asyncio.run(run())


def test_what_ends_before_the_engine_has_it() -> None:
    """It is ended as soon as its numbers are known."""

    class Heard:
        def __init__(self) -> None:
            self.aborted, self.dropped = [], []
            self.abort, self.drop = self.aborted.append, self.dropped.append

    async def run() -> None:
        for close in (True, False):
            link: Any = Heard()
            it = Stream(link, lambda *_: None, asyncio.get_running_loop().create_future())
            it.stop(1)
            if close:
                it.close()
            assert not any(link.aborted) and not any(link.dropped)
            it.begin([5, 6, 7])
            assert link.aborted[-1] == [6]
            assert link.dropped == ([[], [5, 6, 7]] if close else [])

    asyncio.run(run())


def test_a_step_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who ran is told, and the same process goes on with another engine."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(60)
        worker = threading.Thread(target=Worker(theirs).run)
        worker.start()
        ours.sendall(frame(Setup(str(folder), drafts=1)))
        buffer = bytearray()

        def next_one() -> Told:
            while not (found := taken(buffer)):
                buffer.extend(ours.recv(1 << 16))
            assert len(found) == 1
            return TOLD.decode(found[0])

        assert next_one() == Told([], [])
        step, real = Engine.step, iter([True])

        def fail(self: Engine) -> list[Event]:
            assert self.drafts == 1
            if not self.is_idle and next(real, False):
                raise RuntimeError("a fault")
            return step(self)

        monkeypatch.setattr(Engine, "step", fail)
        short = Continuation((1, 2), Sampling(max_tokens=1))
        ours.sendall(frame(Add(7, short, 1, None)))
        lost = next_one()
        assert lost.lost == "failed in the middle of a step" and not lost.events
        assert [a.id for a in lost.answers] == [7]
        ours.sendall(frame(Add(8, short, 1, None)))
        found = next_one()
        # the numbers of those that are lost are not given again
        (answer,), (event,) = found.answers, found.events
        assert lost.answers[0].result != answer.result and event.finish == "length"
        ours.shutdown(socket.SHUT_WR)
        worker.join(60)
        assert not worker.is_alive()
