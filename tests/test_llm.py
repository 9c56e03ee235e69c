"""LLM: the oracle's tokens in linear time, the past reused, the likeliest answers found."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from flashling import LLM, Sampling, generate, nano
from flashling.batch import Batch
from flashling.llm import Answer, Event
from flashling.llm.answer import Reading
from flashling.model.decode import likeliest
from flashling.model.past import Fresh
from flashling.ops import logprobs_of
from flashling.text.toolcalls import Text

from . import toy

HELLO = [{"role": "user", "content": "list the files of src"}]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """The toy is too small for two."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy.write(tmp_path_factory.mktemp("toy"))


@pytest.fixture(scope="module")
def llm(folder: Path) -> LLM:
    return LLM(folder, "float64")


def fresh(llm: LLM) -> LLM:
    return LLM.of(llm.model, llm.tokenizer)


def answer(llm: LLM, messages: list[dict], **settings: float) -> Answer:
    return llm.chat(messages, None, Sampling(**settings), stream=False)  # pyright: ignore


@pytest.mark.parametrize(("temperature", "penalty"), [(0.0, 1.0), (1.0, 1.0), (1.3, 1.2)])
def test_tokens_are_the_oracles(llm: LLM, temperature: float, penalty: float) -> None:
    s = Sampling(temperature=temperature, repetition_penalty=penalty, seed=7, max_tokens=90)
    found = fresh(llm).chat(HELLO, None, s, stream=False)
    prompt = llm.prompt(HELLO)
    [expected] = generate(llm.model, [prompt], s)
    assert found.tokens == expected.tokens
    assert found.logprobs == pytest.approx(expected.logprobs, abs=1e-9)
    assert found.finish == expected.finish
    assert found.usage.prompt_tokens == len(prompt)
    assert found.usage.output_tokens == len(found.tokens)
    whole = llm.score(prompt + found.tokens)
    assert whole[len(prompt) - 1 :] == pytest.approx(found.logprobs, abs=1e-9)


def test_the_stream_is_the_whole(llm: LLM) -> None:
    *events, last = fresh(llm).chat(HELLO, None, Sampling(seed=3, max_tokens=40))
    assert isinstance(last, Answer)
    assert "".join(e.text for e in events if isinstance(e, Text)) == last.content
    assert last.message["role"] == "assistant" and last.logprob == sum(last.logprobs)


def test_the_next_turn_reads_only_what_is_new(llm: LLM) -> None:
    own = fresh(llm)
    first = answer(own, HELLO, temperature=0.0, max_tokens=30)
    assert first.usage.cached_tokens == 0
    more = [*HELLO, {"role": "assistant", "content": "ls -l src"}, HELLO[0]]
    second = answer(own, more, temperature=0.0, max_tokens=30)
    # another answer than was given: back to the last token of the first prompt
    assert second.usage.cached_tokens == first.usage.prompt_tokens - 1
    assert second.usage.restored_from == "device"
    assert "no checkpoint between" in second.usage.miss_reason
    [expected] = generate(llm.model, [llm.prompt(more)], Sampling(temperature=0, max_tokens=30))
    assert second.tokens == expected.tokens
    # the very tokens that were given: nothing is read twice, the last token alone is new
    go_on = llm.prompt(more) + second.tokens
    s = Sampling(temperature=0.0, max_tokens=5)
    *_, third = own.complete(go_on, s)
    assert isinstance(third, Answer)
    assert third.usage.cached_tokens == len(go_on) - 1
    assert third.tokens == generate(llm.model, [go_on], s)[0].tokens
    # something else altogether
    other = [{"role": "user", "content": "x"}]
    assert (
        answer(own, other, temperature=0.0, max_tokens=5).tokens
        == answer(fresh(llm), other, temperature=0.0, max_tokens=5).tokens
    )


def test_stopping_and_interrupting_leave_a_usable_past(
    llm: LLM, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, s = fresh(llm), Sampling(temperature=0.0, max_tokens=20)
    expected = own.chat(HELLO, None, s, stream=False).tokens
    half = own.chat(HELLO, None, s)
    for _ in range(4):
        next(half)
    half.close()  # pyright: ignore[reportAttributeAccessIssue]
    assert own.chat(HELLO, None, s, stream=False).tokens == expected
    with monkeypatch.context() as patch:
        patch.setattr(Reading, "push", interrupted)
        with pytest.raises(KeyboardInterrupt):
            own.chat([*HELLO, *HELLO], None, replace(s, max_tokens=500), stream=False)
    assert own.chat(HELLO, None, s, stream=False).tokens == expected
    wait_idle(own)


def test_what_is_asked_of_the_engine_comes_back(folder: Path) -> None:
    own = LLM(folder)
    assert own.warm() == 0.0 and own.service._engine is None
    made = own.service.call(lambda engine: engine)
    assert made is own.service._engine and own.service.call(lambda engine: engine.is_idle)
    with pytest.raises(ZeroDivisionError):
        own.service.call(lambda engine: 1 / 0)
    wait_idle(own)


def interrupted(*_: object) -> Iterator[Event]:
    raise KeyboardInterrupt


def wait_idle(llm: LLM) -> None:
    """The engine's thread ends, and nothing is left in it."""
    until = time.monotonic() + 20
    while llm.service._is_running:
        assert time.monotonic() < until
        time.sleep(0.01)
    engine = llm.service._engine
    assert engine is not None and engine.is_idle and not llm.service._streams


def test_the_end_of_the_positions_is_an_end(folder: Path) -> None:
    llm = LLM(folder)
    llm.model.config = llm.model.config.with_(max_position_embeddings=64)
    own = fresh(llm)
    *_, found = own.complete(list(range(20, 60)), Sampling(temperature=0.0, max_tokens=500))
    assert isinstance(found, Answer)
    assert found.finish == "stop" or len(found.tokens) == 24
    with pytest.raises(ValueError, match="70 tokens leave no room of 64; shorten"):
        list(own.complete([20] * 70))
    with pytest.raises(ValueError, match="empty"):
        list(own.complete([]))


def test_alternatives_are_the_likeliest(llm: LLM) -> None:
    found = llm.alternatives(HELLO, 3, max_tokens=6)
    assert len(found) == 3
    totals = [a.logprob for a in found]
    assert totals == sorted(totals, reverse=True)
    assert len({tuple(a.tokens) for a in found}) == 3
    prompt = llm.prompt(HELLO)
    for a in found:
        own = llm.score(prompt + a.tokens)[len(prompt) - 1 :]
        assert sum(own) == pytest.approx(a.logprob, abs=1e-9)
    [greedy] = llm.alternatives(HELLO, 1, max_tokens=6)
    s = Sampling(temperature=0, max_tokens=6, stop_ids=llm.tokenizer.eos_ids)
    assert greedy.tokens == generate(llm.model, [prompt], s)[0].tokens


def test_a_wide_beam_finds_the_best_of_all(llm: LLM) -> None:
    model, prompt = llm.model, llm.prompt(HELLO)
    vocab = model.config.vocab_size
    found = likeliest(model, prompt, 5, width=vocab, max_tokens=2)
    batch = Batch.pack([[*prompt, first] for first in range(vocab)])
    with torch.no_grad():
        logprobs = logprobs_of(model.logits(model(batch, Fresh(batch))))
    last = torch.tensor(batch.last_rows)
    totals = {}
    for first, one in enumerate(logprobs[last - 1, torch.arange(vocab)].tolist()):
        if first in model.config.eos_token_ids:
            totals[(first,)] = one
            continue
        for second, two in enumerate(logprobs[last[first]].tolist()):
            totals[first, second] = one + two
    best = sorted(totals, key=lambda t: -totals[t])[:5]
    assert [tuple(g.tokens) for g in found] == best


def test_errors_say_what_to_do(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="no folder .*leave it out"):
        LLM(tmp_path / "none")
    with pytest.raises(ValueError, match="tokenizer.json"):
        LLM(tmp_path)
    with pytest.raises(ValueError, match="dtype 'int3' is not one of"):
        LLM(folder, "int3")
    small = toy.write(tmp_path / "small", c=replace(toy.config(), vocab_size=300))
    with pytest.raises(ValueError, match="same release"):
        LLM(small)


def test_the_embedded_model_is_found_or_missed_plainly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nano, "__file__", str(tmp_path / "__init__.py"))
    with pytest.raises(ValueError, match="no embedded model; install"):
        nano.path()
    (tmp_path / "config.json").write_text("{}")
    assert nano.path() == tmp_path
