"""LLM: many requests at once, from threads and tasks; stop strings, samples, schemas, failures."""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from flashling import LLM, Sampling, generate
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.llm import Answer, Text
from flashling.llm.sizes import engine_for
from flashling.llm.stops import Stops

from . import toy
from .test_llm import HELLO, wait_idle

HOT = Sampling(temperature=1.0, seed=3, max_tokens=40)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(toy.write(tmp_path_factory.mktemp("toy")), "float64")


def oracles(llm: LLM, prompt: list[int], s: Sampling, sample: int = 0) -> list[int]:
    s = replace(s, stop_ids=llm.tokenizer.eos_ids)
    return generate(llm.model, [prompt], s, sample=sample)[0].tokens


def test_prompts_and_samples_are_answered_together(llm: LLM) -> None:
    prompts = ["list the files", "ls -l", "列出"]
    found = llm.generate(prompts, HOT, n=2)
    tokens = [llm.tokenizer.encode(p) for p in prompts]
    want = [oracles(llm, t, HOT, i) for t in tokens for i in range(2)]
    assert [a.tokens for a in found] == want
    assert [a.usage.cached_tokens for a in found[1::2]] == [len(t) - 1 for t in tokens]
    # one text, one list of tokens, and none
    assert [a.tokens for a in llm.generate(prompts[0], HOT)] == want[:1]
    assert [a.tokens for a in llm.generate(tokens[0], HOT)] == want[:1]
    assert llm.generate([], HOT) == []
    with pytest.raises(ValueError, match="0 samples"):
        llm.generate(prompts, HOT, n=0)
    with pytest.raises(ValueError, match="empty"):
        llm.generate(["ls", ""], HOT)
    wait_idle(llm)


def test_threads_share_the_engine(llm: LLM) -> None:
    settings = [replace(HOT, seed=seed) for seed in range(6)]
    found: dict[int, Answer] = {}

    def ask(i: int) -> None:
        found[i] = llm.chat(HELLO, None, settings[i], stream=False)

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    prompt = llm.prompt(HELLO)
    assert [found[i].tokens for i in range(6)] == [oracles(llm, prompt, s) for s in settings]
    wait_idle(llm)


def test_tasks_share_the_engine_and_are_cancelled_alone(llm: LLM) -> None:
    long = replace(HOT, max_tokens=2000, min_tokens=2000)

    async def talk() -> tuple[list[Answer], list[Any]]:
        lost = asyncio.create_task(llm.achat(HELLO, None, long))
        asked = [llm.achat(HELLO, None, replace(HOT, seed=seed)) for seed in range(4)]
        answers = await asyncio.gather(*asked)
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        events = [e async for e in llm.astream(HELLO, None, HOT)]
        left = llm.astream(HELLO, None, long)
        async for e in left:
            if isinstance(e, Text):
                break
        await left.aclose()  # pyright: ignore[reportAttributeAccessIssue]
        with pytest.raises(ValueError, match="empty"):
            await empty.achat(HELLO, None, HOT)
        return answers, events

    empty = LLM.of(llm.model, llm.tokenizer)
    empty.prompts.template = lambda *_: []
    answers, events = asyncio.run(talk())
    prompt = llm.prompt(HELLO)
    want = [oracles(llm, prompt, replace(HOT, seed=seed)) for seed in range(4)]
    assert [a.tokens for a in answers] == want
    assert events[-1].tokens == want[3]
    assert "".join(e.text for e in events if isinstance(e, Text)) == events[-1].content
    wait_idle(llm)


def test_a_closed_loop_ends_its_request(llm: LLM) -> None:
    long = replace(HOT, max_tokens=2000, min_tokens=2000)
    loop = asyncio.new_event_loop()
    events = llm.astream(HELLO, None, long)
    loop.run_until_complete(anext(events))  # pyright: ignore[reportArgumentType]
    loop.close()
    wait_idle(llm)


def test_nobody_who_listens_to_a_refusal_is_no_failure(llm: LLM) -> None:
    def gone(*_: object) -> None:
        raise RuntimeError("Event loop is closed")

    llm.service.open(Request(()), 1, gone)
    assert llm.generate("ls", HOT)[0].tokens == oracles(llm, llm.tokenizer.encode("ls"), HOT)
    wait_idle(llm)


def test_a_failure_is_told_and_the_next_request_runs(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = LLM.of(llm.model, llm.tokenizer)

    def broken(self: Engine) -> list[Any]:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(Engine, "step", broken)
        with pytest.raises(RuntimeError, match="out of memory"):
            own.generate(["ls", "list"], HOT, n=2)
    assert own.generate("ls", HOT)[0].tokens == oracles(llm, llm.tokenizer.encode("ls"), HOT)
    wait_idle(own)


@pytest.mark.parametrize("seed", range(8))
def test_a_stop_string_is_cut_off_wherever_it_lies(llm: LLM, seed: int) -> None:
    draw, s = random.Random(seed), replace(HOT, seed=seed, temperature=1.4)
    [whole] = llm.generate("ls", s)
    assert len(whole.content) > 12
    for length in (1, 2, 5):
        at = draw.randrange(3, len(whole.content) - length)
        stop = whole.content[at : at + length]
        own = replace(s, stop=("never to be said", stop))
        *events, answer = llm.complete("ls", own)
        assert isinstance(answer, Answer)
        want = whole.content[: whole.content.index(stop)]
        assert answer.content == want and answer.finish == "stop"
        assert "".join(e.text for e in events if isinstance(e, Text)) == want
        # drawn up to the token that made it whole, and no further
        assert answer.tokens == whole.tokens[: len(answer.tokens)]
        assert answer.usage.output_tokens == len(answer.tokens)
        [again] = llm.generate("ls", own)
        assert again.content == want
    wait_idle(llm)


def test_a_beginning_of_a_stop_string_is_told_in_the_end(llm: LLM) -> None:
    [whole] = llm.generate("ls", HOT)
    own = replace(HOT, stop=(whole.content[-2:] + "\0",))
    *events, answer = llm.complete("ls", own)
    assert isinstance(answer, Answer) and answer.content == whole.content
    assert "".join(e.text for e in events if isinstance(e, Text)) == whole.content
    assert answer.finish == whole.finish


def by_hand(text: str, strings: list[str]) -> str:
    """Read letter by letter: the first that is whole, and of those the longest."""
    for end in range(len(text) + 1):
        found = [s for s in strings if text[:end].endswith(s)]
        if found:
            return text[: end - max(map(len, found))]
    return text


def test_stops_do_not_depend_on_how_the_text_is_split() -> None:
    draw, hits = random.Random(0), 0
    for _ in range(3000):
        text = "".join(draw.choice("aab文") for _ in range(draw.randrange(12)))
        strings = ["".join(draw.choice("ab文") for _ in range(draw.randint(1, 4))) for _ in "ab"]
        stops, said, at = Stops(strings), "", 0
        while at < len(text):
            size = draw.randint(1, 4)
            said += stops.push(text[at : at + size])
            assert by_hand(text, strings).startswith(said)
            at += size
        said += stops.close() if not stops.is_hit else ""
        assert said == by_hand(text, strings)
        hits += stops.is_hit
    assert 500 < hits < 2900


def test_bad_stops_are_named() -> None:
    for bad in ("END", ("",), (3,)):
        with pytest.raises(ValueError, match="must be a tuple of texts"):
            Sampling(stop=bad)  # pyright: ignore[reportArgumentType]


def test_a_schema_holds_the_answer(llm: LLM) -> None:
    pytest.importorskip("llguidance")
    schema = {
        "type": "object",
        "properties": {"kind": {"enum": ["dir", "file"]}, "hidden": {"type": "boolean"}},
        "required": ["kind", "hidden"],
        "additionalProperties": False,
    }
    for seed in range(3):
        answer = llm.chat(HELLO, None, replace(HOT, seed=seed), schema=schema, stream=False)
        told = json.loads(answer.content)
        assert told["kind"] in ("dir", "file") and isinstance(told["hidden"], bool)
        assert answer.finish == "stop"
    answer = asyncio.run(llm.achat(HELLO, None, HOT, schema=json.dumps(schema)))
    assert set(json.loads(answer.content)) == {"kind", "hidden"}
    found = llm.generate(["ls", "list"], HOT, n=2, schema=schema)
    assert all(set(json.loads(a.content)) == {"kind", "hidden"} for a in found)
    tools = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]
    with pytest.raises(ValueError, match="tools or to a schema"):
        llm.chat(HELLO, tools, HOT, schema=schema)
    with pytest.raises(ValueError, match="JSON schema"):
        llm.chat(HELLO, None, HOT, schema=3, stream=False)  # pyright: ignore


def test_drafts_change_no_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("toy")
    plain, drafting = (LLM(toy.write(folder), "float64", drafts=n) for n in (None, 2))
    want, found = (one.generate(["ls", "list"], HOT, n=2) for one in (plain, drafting))
    assert [a.content for a in found] == [a.content for a in want]
    engine = drafting.service._engine
    assert engine is not None and engine.drafts == 2 and engine.guesser is not None
    assert plain.service._engine is not None and plain.service._engine.drafts == 0


def test_the_engine_fits_its_model(llm: LLM, tmp_path: Path) -> None:
    engine = engine_for(llm.model)
    assert engine.room.cache.pages.dtype == torch.float64
    assert engine._limit() == llm.model.config.max_position_embeddings
    assert engine_for(llm.model, running=3).room.cache.spare_slot == 3
    with pytest.raises(ValueError, match=r"4096 requests at once do not fit \(.*slots 4096 -> "):
        engine_for(llm.model, running=4096)
    # made once, and only when it is needed
    own = LLM.of(llm.model, llm.tokenizer)
    assert own.service._engine is None
    own.generate("ls", replace(HOT, max_tokens=2))
    made = own.service._engine
    own.generate("ls", replace(HOT, max_tokens=2))
    assert made is not None and own.service._engine is made


def test_news_that_are_late_give_the_caller_the_chance_to_leave(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, step = LLM.of(llm.model, llm.tokenizer), Engine.step

    def slow(self: Engine) -> list[Any]:
        time.sleep(0.3)
        return step(self)

    monkeypatch.setattr(Engine, "step", slow)
    events = own.chat(HELLO, None, HOT)
    assert next(events) == Text("")
    events.close()  # pyright: ignore[reportAttributeAccessIssue]
    wait_idle(own)


def test_exact_answers_have_the_same_bits_in_company(tmp_path: Path) -> None:
    llm = LLM(toy.write(tmp_path / "toy"), "float32", exact=True)
    prompts = ["list the files", "ls -l", "a rather longer question about what is in here, and why"]
    together = llm.generate(prompts, HOT)
    for prompt, answer in zip(prompts, together, strict=True):
        # now also from what the cache has kept
        [alone] = llm.generate([prompt], HOT)
        assert (alone.tokens, alone.logprobs) == (answer.tokens, answer.logprobs)
