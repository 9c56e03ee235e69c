"""Streamed text is the text, and never half a character."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashling.text.stream import Stream
from flashling.text.tokenizer import BYTES, SPECIALS, Tokenizer

QUICK = settings(max_examples=60, deadline=None)


def streamed(tokenizer: Tokenizer, ids: list[int], skip_special: bool = False) -> list[str]:
    stream = Stream(tokenizer, skip_special)
    return [*(stream.push(i) for i in ids), stream.close()]


def byte_ids(tokenizer: Tokenizer, data: bytes) -> list[int]:
    """One token for each byte."""
    single = {tokenizer.bytes_of(i): i for i in range(tokenizer.vocab_size)}
    return [single[bytes([b])] for b in data]


def test_every_byte_has_a_symbol(tokenizer: Tokenizer) -> None:
    assert sorted(BYTES.values()) == list(range(256))
    assert len(byte_ids(tokenizer, bytes(range(256)))) == 256


@QUICK
@given(st.data())
def test_random_ids(tokenizer: Tokenizer, data: st.DataObject) -> None:
    ids = data.draw(st.lists(st.integers(0, tokenizer.vocab_size + 3), max_size=40))
    for skip in (False, True):
        assert "".join(streamed(tokenizer, ids, skip)) == tokenizer.decode(ids, skip)


@QUICK
@given(st.binary(max_size=40))
def test_random_bytes(tokenizer: Tokenizer, data: bytes) -> None:
    ids = byte_ids(tokenizer, data)
    text = "".join(streamed(tokenizer, ids))
    assert text == tokenizer.decode(ids) == data.decode("utf-8", "replace")


@QUICK
@given(st.text(max_size=30))
def test_only_whole_characters_leave(tokenizer: Tokenizer, text: str) -> None:
    for ids in (tokenizer.encode(text), byte_ids(tokenizer, text.encode())):
        pieces = streamed(tokenizer, ids)
        assert "".join(pieces) == text
        assert pieces[-1] == ""
        if "\ufffd" not in text:
            assert "\ufffd" not in "".join(pieces)


def test_characters_come_with_their_last_byte(tokenizer: Tokenizer) -> None:
    text = "你👩‍👩‍👧é"
    pieces = streamed(tokenizer, byte_ids(tokenizer, text.encode()))
    assert [p for p in pieces if p] == list(text)


def test_broken_bytes_come_at_the_end(tokenizer: Tokenizer) -> None:
    stream = Stream(tokenizer)
    half = byte_ids(tokenizer, "你".encode()[:2])
    assert [stream.push(i) for i in half] == ["", ""]
    assert stream.close() == "\ufffd"
    assert [stream.push(i) for i in tokenizer.encode("a")] == ["a"]


def test_special_tokens(tokenizer: Tokenizer) -> None:
    ids = [tokenizer.id(t) for t in SPECIALS]
    assert streamed(tokenizer, ids) == [*SPECIALS, ""]
    assert streamed(tokenizer, ids, skip_special=True) == [""] * (len(ids) + 1)
    half = byte_ids(tokenizer, b"\xe4")
    broken = [*half, tokenizer.id("<role>")]
    assert "".join(streamed(tokenizer, broken)) == tokenizer.decode(broken) == "\ufffd<role>"


def test_long_texts_take_linear_time(tokenizer: Tokenizer) -> None:
    ids = byte_ids(tokenizer, "好".encode()) * 20_000
    began = time.perf_counter()
    assert len("".join(streamed(tokenizer, ids))) == 20_000
    assert time.perf_counter() - began < 3


def test_other_vocabularies_are_refused(tokenizer: Tokenizer) -> None:
    source = json.loads(tokenizer.source) | {"decoder": {"type": "Fuse"}}
    with pytest.raises(ValueError, match="only byte-level"):
        Tokenizer(json.dumps(source))
