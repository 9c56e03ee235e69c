"""The load tool against a real server, and its arithmetic."""

from __future__ import annotations

import asyncio
import json
import math
from pathlib import Path

import pytest

from flashling import LLM
from flashling.bench import report
from flashling.bench.load import Load, Said, Sample
from flashling.bench.local import Overhead, overhead, words_for
from flashling.bench.work import agents, questions
from flashling.cli.app import main

from .conftest import KEYS, Served

KEY = KEYS["bob"]


def test_a_closed_loop_counts_what_the_ledger_counts(served: Served) -> None:
    async def run() -> tuple[list[Sample], int, list[tuple[int, int]]]:
        seen: list[tuple[int, int]] = []
        async with Load(served.url, KEY) as load:
            words = await words_for(load, 100)
            traces = questions(6, words, 5, seed=words)
            return await load.closed(traces, 3, lambda *n: seen.append(n)), words, seen

    with served.client("bob") as client:
        before = client.get("/v1/usage").json()
        samples, words, seen = asyncio.run(run())
        after = client.get("/v1/usage").json()
    assert [s.error for s in samples] == [""] * 6 and seen == [(n, 6) for n in range(1, 7)]
    assert {s.output_tokens for s in samples} == {5}
    assert all(abs(s.input_tokens - 100) < 15 for s in samples), words
    assert all(s.due < s.first <= s.ended and s.tpot is not None for s in samples)
    # two more told how long a word is
    assert after["calls"] - before["calls"] == 8
    assert after["output_tokens"] - before["output_tokens"] == 6 * 5 + 2


def test_agents_call_tools_and_their_prompts_grow(served: Served) -> None:
    async def run() -> list[Sample]:
        async with Load(served.url + "/v1/", KEY) as load:
            return await load.open(agents(2, 40, 48, 3), 50.0)

    samples = asyncio.run(run())
    assert len(samples) == 6 and not any(s.error for s in samples)
    assert len({s.input_tokens for s in samples}) > 3
    # the second turn begins with the first, which is held
    assert sum(s.cached_tokens > 100 for s in samples) >= 4


def test_what_fails_is_counted_and_the_rest_goes_on(served: Served) -> None:
    async def run(url: str, key: str) -> list[Sample]:
        async with Load(url, key) as load:
            return await load.closed(questions(2, 8, 4), 2)

    found = report.summary(asyncio.run(run(served.url, "sk-nobody")))
    assert found["requests"] == 2 and found["times"]["ttft"]["p50"] is None
    assert [(e[:10], n) for e, n in found["errors"].items()] == [("status 401", 2)]
    assert "2 errors" in report.sentences(found)[0] and report.rows(found)[1][1] == "-"
    assert all(s.error for s in asyncio.run(run("http://127.0.0.1:1", KEY)))


def test_the_command(
    served: Served,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("FLASHLING_KEY", KEY)
    flags = ["--requests", "3", "--streams", "2", "--prompt", "32", "--tokens", "3"]
    file = tmp_path / "run.json"
    assert main(["bench", "serve", served.url, *flags, "--json", str(file)]) == 0
    assert "3 requests in" in capsys.readouterr().out
    told = json.loads(file.read_text())
    assert told["tokens"]["output"] == 9 and len(told["samples"]) == 3
    assert told["plan"]["streams"] == 2
    assert main(["bench", "serve", served.url, "--overhead"]) == 1
    assert main(["bench", "serve", served.url, "--streams", "0"]) == 1
    monkeypatch.setenv("FLASHLING_KEY", "sk-nobody")
    assert main(["bench", "serve", served.url, *flags]) == 1
    assert "does not answer: status 401" in capsys.readouterr().err


def test_the_engine_alone_has_the_same_requests(served: Served) -> None:
    llm = LLM()

    async def run() -> Overhead:
        async with Load(served.url, KEY) as load:
            return await overhead(load, llm, (2, 3, 8, 4), 1)

    with served.client("bob") as client:
        before = client.get("/v1/usage").json()
        found = asyncio.run(run())
        after = client.get("/v1/usage").json()
    # two rounds, each of three requests with one token and three with four
    assert after["calls"] - before["calls"] == 12
    assert after["output_tokens"] - before["output_tokens"] == 2 * (3 + 12)
    assert all(ms > 0 for pair in (found.request, found.token) for ms in pair)
    assert [line.split(":")[0] for line in found.sentences()] == ["per request", "per token"]


def test_the_arithmetic() -> None:
    values = [float(n) for n in range(1, 101)]
    assert [report.percentile(values, p) for p in (50, 99, 100)] == [50, 99, 100]
    assert report.percentile([3.0], 1) == 3 and math.isnan(report.percentile([], 50))
    samples = [Sample(1.0, 2.0, 4.0, 10, 5, 5), Sample(1.5, 3.0, 3.0, 10, 0, 1)]
    found = report.summary(samples)
    assert found["seconds"] == 3 and found["output_tokens_per_second"] == 2
    assert found["times"]["ttft"]["p50"] == 1 and found["times"]["tpot"]["max"] == 0.5
    assert found["tokens"] == {"input": 20, "cached": 5, "output": 6}
    assert Overhead((10.0, 11.0), (2.0, 1.0)).percents == pytest.approx((10, -50))


def test_a_stream_is_put_together() -> None:
    said = Said()
    assert not said.take({"role": "assistant", "content": ""})
    call = {"index": 0, "id": "a", "function": {"name": "add", "arguments": ""}}
    for delta in (call, {"index": 0, "function": {"arguments": '{"a"'}}):
        assert said.take({"tool_calls": [delta]})
    # cut off, it is not sent back
    assert "tool_calls" not in said.message
    said.take({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]})
    assert said.message["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1}'}
