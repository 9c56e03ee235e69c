"""Spans of requests, handed to a collector that the operator has named."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flashling.cli.app import main

from .conftest import Served, stop, wait_for

CHAT = "/v1/chat/completions"
SECRET = "the word is xyzzy"
HI: Any = {"messages": [{"role": "user", "content": SECRET}], "max_tokens": 4, "model": "asked-for"}
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Collector(ThreadingHTTPServer):
    """Keeps what it is sent: path, type and body."""

    def __init__(self) -> None:
        self.got: list[tuple[str, str, bytes]] = []
        super().__init__(("127.0.0.1", 0), Taking)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Taking(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append((self.path, self.headers["content-type"], body))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def collector() -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.sdk")
    with Collector() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_a_span_for_each_request(collector: Collector, serving: Callable[..., Served]) -> None:
    served = serving("--otlp", collector.url)
    with served.client() as ann:
        traced = {"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"}
        told = ann.post(CHAT, json=HI, headers=traced).json()
        with ann.stream("POST", CHAT, json={**HI, "stream": True, "max_tokens": 4000}) as left:
            next(left.iter_bytes())
        # what the engine never had is no request of a model
        assert ann.post(CHAT, json={"messages": []}).status_code == 400
    wait_for(lambda: not served.gauge("requests_open"))
    stop(served)
    assert {(path, kind) for path, kind, _ in collector.got} == {
        ("/v1/traces", "application/x-protobuf")
    }
    body = b"".join(body for *_, body in collector.got)
    assert body.count(b"chat asked-for") == 2 and body.count(b"gen_ai.request.model") == 2
    assert body.count(bytes.fromhex(TRACE)) == 1 and told["id"].encode() in body
    for word in ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "first token", "ann"):
        assert word.encode() in body
    # one of them was left, and nothing that was said is told
    assert b"abort" in body and b"xyzzy" not in body


def test_a_collector_that_is_not_there_costs_nothing(serving: Callable[..., Served]) -> None:
    pytest.importorskip("opentelemetry.sdk")
    served = serving("--otlp", "http://127.0.0.1:9", "--drain", "1")
    with served.client() as ann:
        assert ann.post(CHAT, json=HI).is_success
    stop(served)


def test_what_is_no_collector(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", "--otlp", "127.0.0.1:4318"]) == 1
    assert "'127.0.0.1:4318' is no address such as" in capsys.readouterr().err


def test_without_the_extra(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp", None)
    assert main(["serve", "--port", "0", "--otlp", "http://127.0.0.1:4318"]) == 1
    assert "pip install 'flashling[otlp]'" in capsys.readouterr().err
