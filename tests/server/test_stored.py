"""Responses that are kept: bounds, owners, and the next turn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai import OpenAI

from flashling.server.stored import Responses, Stored

from .conftest import KEYS, Served

ASK: Any = {"model": "m", "instructions": "Reply briefly.", "temperature": 0}


def said(text: str) -> Stored:
    return Stored({"id": "x", "output": []}, [{"role": "user", "content": text}])


@pytest.mark.parametrize("is_on_disk", [False, True])
def test_the_oldest_go_first(tmp_path: Path, is_on_disk: bool) -> None:
    folder = tmp_path / "kept" if is_on_disk else None
    store = Responses(folder, entries=3, nbytes=400)
    for i in range(5):
        assert store.put("a", f"resp-{i}", said(str(i)))
    assert [store.get("a", f"resp-{i}") is not None for i in range(5)] == [False] * 2 + [True] * 3
    assert store.get("a", "resp-4") == said("4")
    assert store.get("b", "resp-4") is None and not store.delete("b", "resp-4")
    # large ones take the room of several, and one beyond all of it is not kept
    assert store.put("b", "resp-5", said("x" * 250)) and len(store) == 2 and store.nbytes <= 400
    assert not store.put("a", "resp-6", said("x" * 400)) and len(store) == 2
    assert store.delete("b", "resp-5") and store.get("b", "resp-5") is None
    if folder is None:
        return
    assert store.get("a", "../a") is None
    again = Responses(folder, entries=3, nbytes=400)
    assert len(again) == 1 and again.get("a", "resp-4") == said("4")
    assert len(Responses(folder, entries=0)) == 0
    assert not [p for p in folder.rglob("*") if p.is_file()]


def test_what_is_no_response_is_not_there(tmp_path: Path) -> None:
    store = Responses(tmp_path)
    store.put("a", "resp-1", said("x"))
    (file,) = (p for p in tmp_path.rglob("*") if p.is_file())
    assert file.stat().st_mode & 0o77 == 0
    file.write_bytes(b'{"response": 5')
    assert store.get("a", "resp-1") is None
    file.unlink()
    assert store.get("a", "resp-1") is None and store.delete("a", "resp-1")
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match="no responses can be kept in"):
        Responses(tmp_path / "file")


@pytest.fixture(scope="module")
def ann(served: Served) -> Iterator[OpenAI]:
    with OpenAI(base_url=served.url + "/v1", api_key=KEYS["ann"], max_retries=0) as client:
        yield client


def test_the_next_turn_goes_on(ann: OpenAI) -> None:
    first = ann.responses.create(**ASK, input="list the files in src")
    assert first.model_dump()["store"] is True and first.usage
    told: Any = [
        {"role": "user", "content": "list the files in src"},
        *(item.model_dump(exclude_none=True) for item in first.output),
        {"role": "user", "content": "and in docs"},
    ]
    with ann.responses.stream(**ASK, input="and in docs", previous_response_id=first.id) as stream:
        second = stream.until_done().get_final_response()
    assert second.previous_response_id == first.id and second.usage
    # its turn is a prefix of this one
    cached = second.usage.input_tokens_details.cached_tokens
    assert cached == first.usage.total_tokens - 1
    whole = ann.responses.create(**ASK, input=told, store=False)
    assert whole.output_text == second.output_text and whole.usage
    assert whole.usage.input_tokens == second.usage.input_tokens
    third = ann.responses.create(**ASK, input="hi", previous_response_id=second.id)
    assert third.usage and third.usage.input_tokens > second.usage.total_tokens


def test_get_and_delete_are_the_owners(ann: OpenAI, served: Served) -> None:
    kept = ann.responses.create(**ASK, input="hi")
    assert ann.responses.retrieve(kept.id).model_dump() == kept.model_dump()
    with served.client("bob") as bob:
        for answer in (
            bob.get(f"/v1/responses/{kept.id}"),
            bob.delete(f"/v1/responses/{kept.id}"),
            bob.post("/v1/responses", json={"input": "x", "previous_response_id": kept.id}),
        ):
            assert answer.status_code == 404 and "of yours" in answer.json()["error"]["message"]
    ann.responses.delete(kept.id)
    for call in (ann.responses.retrieve, ann.responses.delete):
        with pytest.raises(openai.NotFoundError):
            call(kept.id)
    passed = ann.responses.create(**ASK, input="hi", store=False)
    assert passed.model_dump()["store"] is False
    with pytest.raises(openai.NotFoundError):
        ann.responses.retrieve(passed.id)
