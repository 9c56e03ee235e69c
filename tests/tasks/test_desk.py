"""Conversations with the tools of a chat: calls that its own tools accept."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from flashling.agent.tools import builtin
from flashling.tasks import desk, shell


@pytest.fixture(scope="module")
def drawn() -> list[dict]:
    return list(islice(samples(3), 400))


def samples(seed: int):
    own = builtin(Path("."), lambda command: False)
    declared = [t.schema() for t in own.values()]

    def run(name: str, given: dict) -> str:
        return own[name].call(given)

    return desk.samples(seed, declared, run, shell.samples(seed))


def calls(sample: dict) -> list[tuple[dict, dict]]:
    pairs = zip(sample["messages"], sample["messages"][1:], strict=False)
    return [(m["tool_calls"][0]["function"], told) for m, told in pairs if m.get("tool_calls")]


def test_the_same_seed_gives_the_same(drawn: list[dict]) -> None:
    assert list(islice(samples(3), 50)) == drawn[:50] != list(islice(samples(4), 50))


def test_every_call_fits_its_declaration(drawn: list[dict]) -> None:
    own = builtin(Path("."), lambda command: False)
    used = set()
    for sample in drawn:
        for function, told in calls(sample):
            tool = own[function["name"]]
            used.add(tool.name)
            assert set(tool.required) <= set(function["arguments"]) <= set(tool.properties)
            assert told["role"] == "tool" and told["name"] == tool.name
    assert used == set(own)


def test_what_can_be_computed_is_right(drawn: list[dict]) -> None:
    own = builtin(Path("."), lambda command: False)
    checked = 0
    for sample in drawn:
        for function, told in calls(sample):
            failed = told["content"].startswith("error")
            if function["name"] in ("calculate", "convert_units") and not failed:
                assert own[function["name"]].call(function["arguments"]) == told["content"]
                checked += 1
    assert checked > 100


def test_the_answer_is_the_result(drawn: list[dict]) -> None:
    for sample in drawn:
        for m, after in zip(sample["messages"], sample["messages"][1:], strict=False):
            if m["role"] == "tool" and not m["content"].startswith("error"):
                assert m["content"] in after["content"]
