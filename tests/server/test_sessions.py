"""Sessions: parked by name, listed, forked, deleted, and found again by another process."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from flashling import LLM

from .conftest import Served, start, stop, wait_for

CHAT = "/v1/chat/completions"
SYSTEM = {"role": "system", "content": "Reply briefly."}


def turn(client: httpx.Client, messages: list[Any], **more: Any) -> dict[str, Any]:
    """Take a turn, put it into `messages`, and the usage."""
    asked = {"messages": messages, "temperature": 0, "max_tokens": 100, **more}
    found = client.post(CHAT, json=asked)
    assert found.is_success, found.text
    messages.append(found.json()["choices"][0]["message"])
    return found.json()["usage"]


def listed(client: httpx.Client) -> dict[str, Any]:
    return {s["id"]: s for s in client.get("/v1/sessions").json()["data"]}


def test_a_session_is_parked_forked_and_deleted(served: Served) -> None:
    said = [SYSTEM, {"role": "user", "content": "list the files in src"}]
    with served.client() as ann, served.client("bob") as bob:
        usage = turn(ann, said, session_id="s.1")
        found = listed(ann)["s.1"]
        # the last token drawn has not been read
        assert found["tokens"] == usage["total_tokens"] - 1
        assert found["tier"] == "host" and found["bytes"]["host"] > 0
        assert abs(found["last_used"] - time.time()) < 60
        assert not listed(bob)
        for path in ("/v1/sessions/s.1/fork", "/v1/sessions/s.1/park"):
            assert bob.post(path, json={"to": "mine"}).status_code == 404
        assert bob.delete("/v1/sessions/s.1").status_code == 404
        # there is no disk
        assert "--disk-cache" in ann.post("/v1/sessions/s.1/park").json()["error"]["message"]
        assert ann.post("/v1/sessions/s.1/fork", json={"to": "s:2"}).is_success
        assert set(listed(ann)) >= {"s.1", "s:2"}
        assert listed(ann)["s:2"]["tokens"] == found["tokens"]
        assert ann.delete("/v1/sessions/s.1").json() == {"id": "s.1", "deleted": True}
        assert "s.1" not in listed(ann) and "s:2" in listed(ann)
        assert ann.delete("/v1/sessions/s.1").status_code == 404
        assert ann.delete("/v1/sessions/s:2").is_success


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/messages", {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}),
        ("/v1/responses", {"input": "hi", "max_output_tokens": 4}),
        ("/v1/completions", {"prompt": "hi", "max_tokens": 4}),
    ],
)
def test_each_protocol_takes_the_header(served: Served, path: str, body: Any) -> None:
    with served.client() as ann:
        name = path.rpartition("/")[2]
        assert ann.post(path, json=body, headers={"x-flashling-session": name}).is_success
        assert ann.delete(f"/v1/sessions/{name}").is_success
        # the body goes before the header
        headers = {"x-flashling-session": "other"}
        assert ann.post(path, json={**body, "session_id": name}, headers=headers).is_success
        assert set(listed(ann)) == {name} and ann.delete(f"/v1/sessions/{name}").is_success


@pytest.mark.parametrize(
    ("more", "headers", "said"),
    [
        ({"session_id": ""}, {}, "session_id"),
        ({"session_id": "a/b"}, {}, "session_id"),
        ({"session_id": "a" * 129}, {}, "session_id"),
        ({}, {"x-flashling-session": "a b"}, "x-flashling-session: 'a b' is not"),
        ({"session_id": "a", "n": 2}, {}, "n is 2"),
    ],
)
def test_bad_names_are_refused(served: Served, more: Any, headers: Any, said: str) -> None:
    with served.client() as ann:
        asked = {"messages": [{"role": "user", "content": "hi"}], **more}
        found = ann.post(CHAT, json=asked, headers=headers)
        assert found.status_code == 400 and said in found.json()["error"]["message"]
        assert ann.post("/v1/sessions/a/fork", json={"to": "a b"}).status_code == 400


@pytest.mark.parametrize(
    "sign", [signal.SIGTERM, pytest.param(signal.SIGKILL, marks=pytest.mark.soak)]
)
def test_another_process_goes_on(tmp_path: Path, sign: int) -> None:
    flags = ("--host-cache", "0.5", "--disk-cache", f"{tmp_path / 'parked'}:1")
    flags += ("--store", str(tmp_path / "store"))
    served = start(tmp_path, *flags)
    said = [SYSTEM, {"role": "user", "content": "list the files in src"}]
    with served.client() as ann:
        asked = {"input": "hi", "max_output_tokens": 4}
        kept = ann.post("/v1/responses", json=asked).json()
        first = turn(ann, said, session_id="job")
        assert wait_for(lambda: listed(ann)["job"]["bytes"].get("disk"))
        assert ann.post("/v1/sessions/job/park").json() == {"id": "job", "parked": True}
        assert listed(ann)["job"]["tier"] == "disk"
        turn(ann, [SYSTEM, {"role": "user", "content": "hi"}], session_id="gone")
        assert ann.delete("/v1/sessions/gone").is_success
    stop(served, sign)
    served = start(tmp_path, *flags)
    with served.client() as ann, served.client("bob") as bob:
        assert set(listed(ann)) == {"job"} and not listed(bob)
        said.append({"role": "user", "content": "and in docs"})
        second = turn(ann, said, session_id="job")
        assert second["prompt_tokens_details"]["cached_tokens"] == first["total_tokens"] - 1
        assert served.gauge('cache_hits_total{tier="disk"}') == 1
        path = f"/v1/responses/{kept['id']}"
        assert ann.get(path).json() == kept and bob.get(path).status_code == 404
        asked["previous_response_id"] = kept["id"]
        assert ann.post("/v1/responses", json=asked).is_success
    stop(served)


def test_drawn_turns_outlive_the_process(tmp_path: Path, serving: Callable[..., Served]) -> None:
    folder = tmp_path / "parked"
    flags = ("--host-cache", "0", "--disk-cache", f"{folder}:1")
    said: list[Any] = [{"role": "user", "content": "hello"}]
    # one letter a token, in which its text would not be read, and then the end
    letters = [LLM().tokenizer.encode(c)[0] for c in "list"]
    drawn = {"min_tokens": 8, "logit_bias": {**dict.fromkeys(map(str, letters), 90), "1": 100}}

    def files() -> list[Path]:
        return sorted(folder.glob("*/*.turns"))

    served = serving(*flags)
    with served.client() as ann:
        first = turn(ann, said, session_id="job", **drawn)
        assert ann.post("/v1/sessions/job/fork", json={"to": "other"}).is_success
        wait_for(lambda: len(files()) == 2 and len(listed(ann)) == 2)
    stop(served)
    said.append({"role": "user", "content": "and then?"})
    served = serving(*flags)
    with served.client() as ann, served.client("bob") as bob:
        assert ann.delete("/v1/sessions/other").is_success and len(files()) == 1
        second = turn(ann, said, session_id="job", **drawn)
        assert second["prompt_tokens_details"] == {
            "cached_tokens": first["total_tokens"] - 1,
            "restored_from": "disk",
            "miss_reason": f"first difference at token {first['total_tokens'] - 1}",
        }
        assert bob.delete("/v1/sessions/job").status_code == 404 and files()
    stop(served)
    # both turns are there again; and without the file neither is
    said.append({"role": "user", "content": "go on"})
    for is_kept in (True, False):
        if not is_kept:
            files()[0].unlink()
        served = serving(*flags)
        with served.client() as ann:
            (told,) = ann.post("/v1/cache/explain", json={"prompts": [{"messages": said}]}).json()[
                "prompts"
            ]
            assert (told["cached_tokens"] == second["total_tokens"] - 1) == is_kept, told
        stop(served)
