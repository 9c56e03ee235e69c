"""Requests that are of no use unless they begin soon."""

from __future__ import annotations

import time
from typing import Any

import pytest

from .conftest import Served, wait_for

CHAT = "/v1/chat/completions"
HI: Any = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 4}
# all of the slots, for long
LONG = {**HI, "n": 16, "max_tokens": 4000, "ignore_eos": True, "stream": True}


@pytest.mark.parametrize("is_stream", [False, True])
def test_what_does_not_begin_in_time_is_refused(served: Served, is_stream: bool) -> None:
    asked, soon = {**HI, "stream": is_stream}, {"x-request-deadline": "0.3"}
    with served.client("bob") as bob, served.client() as ann:
        with bob.stream("POST", CHAT, json=LONG) as long:
            texts, ends = long.iter_text(), time.monotonic() + 20
            while served.gauge("requests_running") < 16 and time.monotonic() < ends:
                next(texts)
            began = time.monotonic()
            late = ann.post(CHAT, json=asked, headers=soon)
            assert 0.3 <= time.monotonic() - began < 5
            assert late.status_code == 503 and int(late.headers["retry-after"]) >= 1
            assert "within 0.3 s" in late.json()["error"]["message"]
            # it is ended between two steps
            wait_for(lambda: served.gauge("requests_waiting") == 0)
            # one who is more urgent begins at once
            first = {**asked, "priority": 1}
            assert ann.post(CHAT, json=first, headers={"x-request-deadline": "20"}).is_success
        found = ann.post(CHAT, json=asked, headers={"x-request-deadline": "20"})
        assert found.is_success and '"finish_reason":"' in found.text


@pytest.mark.parametrize("given", ["0", "-1", "x", "1e3", "3601", "nan", ""])
def test_what_is_no_deadline_is_named(served: Served, given: str) -> None:
    with served.client() as ann:
        found = ann.post(CHAT, json=HI, headers={"x-request-deadline": given})
        assert found.status_code == 400
        assert "x-request-deadline" in found.json()["error"]["message"]
