"""Recorded turns: a turn sent again is the prefix that was drawn, however its text is spelt."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from flashling import LLM, Sampling, generate
from flashling.llm import Answer, Message
from flashling.llm.turns import Turns
from flashling.text.template import Rendered, render
from flashling.text.toolcalls import parse

from . import toy
from .test_llm import HELLO


@pytest.fixture(scope="module")
def llm(tmp_path_factory: pytest.TempPathFactory) -> LLM:
    return LLM(toy.write(tmp_path_factory.mktemp("toy")), "float64")


@pytest.fixture
def own(llm: LLM) -> LLM:
    return LLM.of(llm.model, llm.tokenizer)


def spelt(llm: LLM, letters: str) -> Sampling:
    """Settings under which the answer is one letter a token, some eight of them, and an end."""
    end = llm.tokenizer.id("<|role_end|>")
    bias = {t: 300.0 for c in letters for t in llm.tokenizer.encode(c)}
    bias[end] = 400.0
    return Sampling(temperature=0.0, logit_bias=bias, min_tokens=8, stop_ids=(end,), max_tokens=20)


def canonical(llm: LLM, messages: list[Message]) -> list[int]:
    return render(messages, tokenizer=llm.tokenizer).tokens


def test_a_turn_sent_again_is_the_one_that_was_drawn(own: LLM) -> None:
    s = spelt(own, "list")
    first = own.chat(HELLO, None, s, stream=False)
    assert first.finish == "stop" and first.content
    more = [*HELLO, first.message, {"role": "user", "content": "and then?"}]
    drawn = own.prompt(HELLO) + first.tokens
    # the letters have other tokens when their text is read
    assert canonical(own, more)[: len(drawn)] != drawn
    assert own.prompt(more)[: len(drawn)] == drawn
    second = own.chat(more, None, s, stream=False)
    # all that was read: every token but the end of the turn
    assert second.usage.cached_tokens == len(drawn) - 1
    settings = replace(s, stop_ids=own.tokenizer.eos_ids)
    assert second.tokens == generate(own.model, [own.prompt(more)], settings)[0].tokens
    # the third turn finds both
    third = [*more, second.message, HELLO[0]]
    answer = own.chat(third, None, s, stream=False)
    assert answer.usage.cached_tokens == len(own.prompt(more) + second.tokens) - 1
    # the conversation reads the same either way
    text = own.tokenizer.decode(own.prompt(third))
    assert text == own.tokenizer.decode(canonical(own, third))


def test_other_texts_are_read_as_they_are(own: LLM) -> None:
    first = own.chat(HELLO, None, spelt(own, "list"), stream=False)
    user = {"role": "user", "content": "and then?"}
    changed = {**first.message, "content": first.content + "!"}
    elsewhere = [{"role": "user", "content": "something else"}, first.message, user]
    for messages in ([*HELLO, changed, user], elsewhere):
        assert own.prompt(messages) == canonical(own, messages)
    # what its length has cut off is no whole turn
    cut = LLM.of(own.model, own.tokenizer)
    half = cut.chat(HELLO, None, replace(spelt(own, "list"), max_tokens=5), stream=False)
    assert half.finish == "length"
    messages = [*HELLO, half.message, user]
    assert cut.prompt(messages) == canonical(cut, messages)


def test_streams_and_tasks_record_too(own: LLM) -> None:
    s, user = spelt(own, "src"), {"role": "user", "content": "hi"}
    *_, said = own.chat(HELLO, None, s)
    assert isinstance(said, Answer)
    drawn = own.prompt(HELLO) + said.tokens
    assert own.prompt([*HELLO, said.message, user])[: len(drawn)] == drawn
    other = LLM.of(own.model, own.tokenizer)
    answer = asyncio.run(other.achat(HELLO, None, s))
    assert other.prompt([*HELLO, answer.message, user])[: len(drawn)] == drawn


def test_a_call_is_spliced_as_it_was_written(own: LLM) -> None:
    t = own.tokenizer
    wide = [*t.encode("\n"), *t.encode('{ "name" :"f",  "arguments": {"a":1} }'), *t.encode("\n")]
    drawn = [t.id("<tool_call>"), *wide, t.id("</tool_call>"), t.id("<|role_end|>")]
    message = {"role": "assistant", "content": "", "tool_calls": parse(drawn, t).calls}
    whole = render([*HELLO, message], tokenizer=t, add_generation_prompt=False)
    before, reread = own.prompt(HELLO), whole.tokens[whole.borders[-2] :]
    start = whole.borders[-2]
    own.prompts.turns.record(before[:start], reread, before[start:] + drawn)
    result = {"role": "tool", "content": "2"}
    found = own.prompt([*HELLO, message, result])
    assert found[: len(before + drawn)] == before + drawn != whole.tokens


def test_the_longest_unused_go_first() -> None:
    turns = Turns(most=10)
    for n in range(4):
        turns.record([n], [1, 2], [3, 4, 5])
        # asked for now and then
        assert turns.splice(Rendered([0, 1, 2, 9], borders=[1, 3]))[0].tokens == [0, 3, 4, 5, 9]
    assert turns.tokens_kept == 9
    assert turns.splice(Rendered([1, 1, 2], borders=[1, 3]))[0].tokens == [1, 1, 2]
    found, _ = turns.splice(Rendered([3, 1, 2, 7], borders=[1, 3]))
    assert (found.tokens, found.borders) == ([3, 3, 4, 5, 7], [1, 4])
    turns.record([5], [1, 2], list(range(11)))
    turns.record([5], [1, 2], [1, 2])
    assert turns.tokens_kept == 9
    # the same turn again takes the place of the one before
    turns.record([3], [1, 2], [6, 7])
    assert turns.tokens_kept == 8
