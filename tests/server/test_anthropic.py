"""What the anthropic SDK gets from a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from .conftest import KEYS, Served

ADD: Any = {
    "name": "add",
    "description": "Add two numbers.",
    "input_schema": {
        "type": "object",
        "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}},
        "required": ["a", "b"],
    },
}
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search"}
SUM: Any = [{"role": "user", "content": "what is 3 plus 4?"}]
ASK: Any = [{"role": "user", "content": "list the files in src"}]
USUAL: Any = {"model": "claude-sonnet", "max_tokens": 200, "extra_body": {"temperature": 0}}


@pytest.fixture(scope="module")
def ann(served: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=served.url, api_key=KEYS["ann"], max_retries=0) as client:
        yield client


def test_a_message_and_its_stream_say_the_same(ann: Anthropic) -> None:
    whole = ann.messages.create(messages=ASK, system="Reply briefly.", **USUAL)
    assert whole.stop_reason == "end_turn" and whole.content[0].type == "text"
    blocks: Any = [
        {"type": "text", "text": "x-anthropic-billing-header: 123"},
        {"type": "text", "text": "Reply briefly.", "cache_control": {"type": "ephemeral"}},
    ]
    with ann.messages.stream(messages=ASK, system=blocks, **USUAL) as stream:
        text = "".join(stream.text_stream)
        last = stream.get_final_message()
    assert text == whole.content[0].text and last.stop_reason == "end_turn"
    assert last.usage.output_tokens == whole.usage.output_tokens
    # each token of the prompt is counted once, and all but its last were just read
    assert last.usage.cache_read_input_tokens
    total = last.usage.input_tokens + last.usage.cache_read_input_tokens
    assert last.usage.input_tokens == 1
    counted = ann.messages.count_tokens(model="x", messages=ASK, system="Reply briefly.")
    assert counted.input_tokens == total


@pytest.mark.parametrize("choice", [{"type": "any"}, {"type": "tool", "name": "add"}])
def test_tools(ann: Anthropic, choice: Any) -> None:
    with ann.messages.stream(
        messages=SUM, tools=[ADD, SEARCH], tool_choice=choice, **USUAL
    ) as stream:
        kinds = [e.type for e in stream if e.type.startswith("content_block_s")]
        streamed = stream.get_final_message()
    whole = ann.messages.create(messages=SUM, tools=[ADD], tool_choice=choice, **USUAL)
    assert kinds == ["content_block_start", "content_block_stop"] * len(streamed.content)
    for answer in (streamed, whole):
        assert answer.stop_reason == "tool_use"
        use = answer.content[-1]
        assert use.type == "tool_use" and use.name == "add"
        assert {type(v) for v in dict(use.input).values()} == {int}  # type: ignore
    use = whole.content[-1]
    result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": [{"type": "text", "text": "7"}]}  # type: ignore  # fmt: skip # noqa: E501
    again: Any = [
        *SUM,
        {"role": "assistant", "content": whole.content},
        {"role": "user", "content": [result, {"type": "text", "text": "go on"}]},
    ]
    assert ann.messages.create(messages=again, tools=[ADD], **USUAL).content


def test_ends(ann: Anthropic) -> None:
    text: Any = ann.messages.create(messages=ASK, **USUAL).content[0]
    cut = ann.messages.create(messages=ASK, stop_sequences=["zz", text.text[1:3]], **USUAL)
    assert cut.stop_reason == "stop_sequence" and cut.stop_sequence == text.text[1:3]
    short = ann.messages.create(
        model="x", max_tokens=5, messages=SUM, tools=[ADD], tool_choice={"type": "any"}
    )
    # a call that is cut off is none
    assert short.stop_reason == "max_tokens" and not short.content


def test_errors_have_their_form(ann: Anthropic, served: Served) -> None:
    image: Any = [{"role": "user", "content": [{"type": "image", "source": {}}]}]
    with pytest.raises(anthropic.BadRequestError, match="'image' has no text") as caught:
        ann.messages.create(messages=image, **USUAL)
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["type"] == "invalid_request_error"
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        ann.messages.create(model="x", max_tokens=0, messages=ASK)
    with (
        Anthropic(base_url=served.url, api_key="sk-nobody-here", max_retries=0) as nobody,
        pytest.raises(anthropic.AuthenticationError),
    ):
        nobody.messages.create(messages=ASK, **USUAL)
