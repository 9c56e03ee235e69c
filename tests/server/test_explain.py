"""What the server says of its cache."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from .conftest import Served

SYSTEM = {"role": "system", "content": "You keep secrets about seventeen turtles."}


def explained(client: httpx.Client, *prompts: Any) -> Any:
    found = client.post("/v1/cache/explain", json={"prompts": prompts})
    assert found.is_success, found.text
    return found.json()


def test_it_foretells_what_a_request_gets(served: Served) -> None:
    tea, milk = ({"messages": [SYSTEM, {"role": "user", "content": x}]} for x in ("tea", "milk"))
    with served.client() as ann, served.client("bob") as bob:
        (before,) = explained(ann, tea)["prompts"]
        # others of this key may have left the first tokens of every system message
        assert before["cached_tokens"] < 5
        asked = {**tea, "max_tokens": 8, "temperature": 0}
        usage = ann.post("/v1/chat/completions", json=asked).json()["usage"]
        told = explained(ann, tea, milk)
        same, other = told["prompts"]
        assert same == {
            "tokens": usage["prompt_tokens"],
            "cached_tokens": usage["prompt_tokens"] - 1,
            "tier": "device",
            "reason": "all but the last token is held",
        }
        part = told["first_difference"]
        assert part["after"][0].startswith("tea") and part["after"][1].startswith("milk")
        assert "turtles" in part["before"] and part["tokens"][0] != part["tokens"][1]
        # from the end of the system message
        assert 0 < other["cached_tokens"] <= part["token"]
        numbers = f"{other['cached_tokens']} and {part['token']}"
        assert other["reason"] in (
            f"no checkpoint between tokens {numbers}",
            f"first difference at token {part['token']}",
        )
        asked = {**milk, "max_tokens": 8, "temperature": 0}
        usage = ann.post("/v1/chat/completions", json=asked).json()["usage"]
        assert usage["prompt_tokens_details"]["cached_tokens"] == other["cached_tokens"]
        # what another key has read is not told
        assert explained(bob, tea)["prompts"][0]["cached_tokens"] < 5
        tokens = ann.post("/tokenize", json=tea).json()["tokens"]
        again = explained(ann, {"prompt": tokens}, {"prompt": [*tokens, 5]})
        assert again["prompts"][0] == same
        end = again["first_difference"]
        assert end["token"] == len(tokens) and end["tokens"] == [None, 5]
        assert explained(ann, tea, tea)["first_difference"] is None
        assert explained(ann, {"prompt": "zyx"})["prompts"][0]["reason"]


@pytest.mark.parametrize(
    ("prompts", "said"),
    [
        ([], "prompts"),
        ([{}], "one of them"),
        ([{"prompt": "x", "messages": [SYSTEM]}], "one of them"),
        ([{"prompt": "x"}] * 3, "prompts"),
        ([{"prompt": [1 << 30]}], "outside of the vocabulary"),
        ([{"messages": [{"role": "king", "content": "x"}]}], "king"),
    ],
)
def test_bad_prompts_are_named(served: Served, prompts: Any, said: str) -> None:
    with served.client() as ann:
        found = ann.post("/v1/cache/explain", json={"prompts": prompts})
        assert found.status_code == 400 and said in found.json()["error"]["message"]
