"""A full queue, and an orderly end."""

from __future__ import annotations

import json
import signal
import socket
import threading
from pathlib import Path

import httpx
import pytest

from flashling.cli.app import main

from .conftest import KEYS, start

SLOTS, DRAIN = 16, 1
ASK = {
    "messages": [{"role": "user", "content": "hi"}],
    "max_tokens": 60_000,
    "ignore_eos": True,
    "stream": True,
}


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--host", "0.0.0.0"], "0.0.0.0 can be reached by others: give keys with --keys FILE"),
        (["--keys", "nowhere"], "no file of keys at nowhere"),
        (["--port", "70000"], "port 70000 must lie between 0 and 65535"),
        (["--queue", "0"], "a queue of 0 must lie between"),
        (["--running", "0"], "0 requests at once must lie between"),
        (["--host-cache", "-1"], "a host cache of -1.0 GB must lie in"),
        (["--disk-cache", "here"], "a disk cache 'here' is not FOLDER:GB"),
        (["--disk-cache", "here:0"], "a disk cache 'here:0' is not FOLDER:GB"),
        (["--alias", "a" * 257], "needs 1 to 256 characters"),
        (["--port", "0", "nowhere"], "no folder nowhere"),
    ],
)
def test_what_cannot_be_served_is_said(
    flags: list[str],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FLASHLING_KEYS", raising=False)
    assert main(["serve", *flags]) == 1
    assert said in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_taken_port_is_noticed_before_the_model_is_loaded(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", "nowhere", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert f"port {port}; choose another --port" in said and "nowhere" not in said


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_full_queue_and_a_stop(tmp_path: Path) -> None:
    served = start(tmp_path, "--queue", "1", "--drain", str(DRAIN))
    refused: list[httpx.Response] = []
    ends: list[str] = []
    answered = threading.Semaphore(0)

    def ask() -> None:
        headers = {"authorization": f"Bearer {KEYS['ann']}"}
        with httpx.stream(
            "POST", served.url + "/v1/chat/completions", json=ASK, headers=headers, timeout=60
        ) as answer:
            answered.release()
            if answer.status_code == 429:
                answer.read()
                refused.append(answer)
                return
            *_, last = (line for line in answer.iter_lines() if line.startswith("data: "))
            ends.append(last)

    asking = [threading.Thread(target=ask) for _ in range(SLOTS + 3)]
    for each in asking:
        each.start()
    # who still connects while the listener closes is not told anything
    assert all(answered.acquire(timeout=30) for _ in asking)
    assert refused
    assert int(refused[0].headers["retry-after"]) >= 1
    assert "waiting" in refused[0].json()["error"]["message"]
    served.process.send_signal(signal.SIGTERM)
    assert served.process.wait(DRAIN + 10) == 0
    for each in asking:
        each.join(10)
    # nobody hangs, and each is told why its answer is not whole
    assert len(ends) + len(refused) == len(asking)
    errors = [json.loads(end.removeprefix("data: "))["error"] for end in ends]
    assert errors and {e["type"] for e in errors} == {"overloaded_error"}
    assert served.process.stdout is not None
    served.process.stdout.close()
