"""The gate: keys, hosts, origins, sizes; and what is refused, with which words."""

from __future__ import annotations

import ast
import contextlib
import json
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from flashling.server import limits
from flashling.server.app import ROUTES
from flashling.server.gate import OPEN
from flashling.server.keys import Keys
from flashling.server.settings import Settings

from .conftest import KEYS, Served

PACKAGE = Path(__file__).parents[2] / "flashling"
CHAT = "/v1/chat/completions"
HI = [{"role": "user", "content": "hi"}]
TOOL = {"type": "function", "function": {"name": "add"}}


@pytest.mark.parametrize("route", ROUTES, ids=lambda r: r.path)
def test_no_route_without_a_key(served: Served, route: Any) -> None:
    path = route.path.format(id="x", name="x") if "{name:" not in route.path else "/v1/models/x"
    for method in sorted(route.methods):
        for key in ({}, {"authorization": "Bearer sk-ann-012345678"}, {"x-api-key": ""}):
            answer = httpx.request(method, served.url + path, headers=key)
            if path in OPEN:
                assert answer.status_code == 200
                continue
            assert answer.status_code == 401
            assert method == "HEAD" or "Authorization" in answer.json()["error"]["message"]
            assert answer.headers["www-authenticate"] == "Bearer"


def test_what_is_not_there_needs_a_key_too(served: Served) -> None:
    for path in ("/page", "/docs", "/health/", "//health", "/health/../metrics", "/%68ealth2"):
        assert httpx.get(served.url + path).status_code == 401


def test_both_ways_to_send_a_key(served: Served) -> None:
    for headers in ({"authorization": f"bearer {KEYS['bob']}"}, {"x-api-key": KEYS["bob"]}):
        answer = httpx.get(served.url + "/v1/usage", headers=headers)
        assert answer.json()["key"] == "bob"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"host": "evil.example"}, 403),
        ({"host": "evil.example:8000"}, 403),
        ({"host": ""}, 403),
        ({"host": "[::"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "localhost:1"}, 200),
        ({"host": "[::1]:80"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:1"}, 200),
        ({"host": "localhost:1", "origin": "http://localhost:2"}, 403),
    ],
)
def test_foreign_pages_are_kept_out(served: Served, headers: dict[str, str], status: int) -> None:
    with served.client() as client:
        assert client.get("/version", headers=headers).status_code == status


def test_every_answer_has_safe_headers(served: Served) -> None:
    with served.client() as client:
        for answer in (client.get("/version"), client.get("/nothing"), httpx.get(served.url)):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers


def test_headers_at_their_limit(served: Served) -> None:
    with served.client() as client:
        own = len(client.build_request("GET", "/version").headers)
        fits = {f"x-{i}": "a" for i in range(limits.NUM_HEADERS - own)}
        assert client.get("/version", headers=fits).status_code == 200
        assert client.get("/version", headers={**fits, "y": "a"}).status_code == 431
        assert client.get("/version", headers={"x": "a" * (limits.HEADERS - 4096)}).is_success
        assert client.get("/version", headers={"x": "a" * limits.HEADERS}).status_code == 431
        # far beyond, the listener itself refuses, or hangs up with the rest unread
        with contextlib.suppress(httpx.TransportError):
            assert client.get("/version", headers={"x": "a" * (4 << 20)}).status_code == 400


def test_bodies_at_their_limit(served: Served) -> None:
    def body(size: int) -> bytes:
        return b'{"tokens": [1]' + b" " * (size - 15) + b"}"

    with served.client() as client:
        assert client.post("/detokenize", content=body(limits.BODY)).is_success
        for content in (body(limits.BODY + 1), iter([body(limits.BODY), b" "])):
            answer = client.post("/detokenize", content=content)
            assert answer.status_code == 413 and str(limits.BODY) in answer.text
    # what is announced is not even read
    host, port = served.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as raw:
        key = f"authorization: Bearer {KEYS['ann']}\r\n"
        head = f"POST /detokenize HTTP/1.1\r\nhost: localhost\r\n{key}content-length: 999999999999"
        raw.sendall(head.encode() + b"\r\n\r\n")
        assert b" 413 " in raw.recv(100)


def deep(levels: int) -> Any:
    found: Any = {"type": "object"}
    for _ in range(levels):
        found = {"type": "object", "properties": {"a": found}}
    return found


def schema(given: Any) -> dict[str, Any]:
    return {"response_format": {"type": "json_schema", "json_schema": {"schema": given}}}


# what is wrong, and words that the answer must hold: the field, the value, what it may be
BAD: list[tuple[Any, list[str]]] = [
    (b"", ["not JSON"]),
    (b"[]", ["object", "array"]),
    (b"{", ["not JSON"]),
    (b'{"messages": NaN}', ["not JSON"]),
    (b'{"messages": [], "model": "\xff"}', ["messages"]),
    (b'{"model": "\xff"}', ["not JSON"]),
    (b'{"messages": [{"role": "user", "content": "\\ud800"}]}', ["not JSON"]),
    (b'{"messages": ' + b"[" * 100_000, ["messages"]),
    (b'{"tools": [{"a": ' + b"[" * 100_000, ["not JSON"]),
    ({}, ["messages"]),
    ({"messages": []}, ["messages", "1"]),
    ({"messages": "hi"}, ["messages", "array", '"hi"']),
    ({"messages": [{"role": "king", "content": "x"}]}, ["messages[0].role", "king", "user"]),
    ({"messages": [{"content": "x"}]}, ["messages[0]", "role"]),
    ({"messages": [{"role": "user", "content": 5}]}, ["messages[0].content", "5"]),
    (
        {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
        ["messages[0].content", "image_url", "text"],
    ),
    (
        {"messages": [{"role": "assistant", "tool_calls": [{}]}]},
        ["messages[0].tool_calls", "function"],
    ),
    ({"temperature": "hot"}, ["temperature", "hot", "float"]),
    ({"temperature": -1}, ["temperature", "-1", ">= 0"]),
    ({"temperature": 1e999}, ["out of range"]),
    ({"top_p": 0}, ["top_p", "0", "> 0"]),
    ({"top_p": 1.5}, ["top_p", "1.5", "1"]),
    ({"seed": 1 << 70}, ["seed"]),
    ({"max_tokens": 0}, ["max_tokens", "0", ">= 1"]),
    ({"max_tokens": 10**30}, ["max_tokens"]),
    ({"max_tokens": True}, ["max_tokens", "true"]),
    ({"stop": [""] * 17}, ["stop", "16"]),
    ({"stop": "x" * 1025}, ["stop", "1025", "1024"]),
    ({"logit_bias": {"x": 1}}, ["logit_bias", "'x'"]),
    ({"logit_bias": {"5": 101}}, ["logit_bias", "101", "100"]),
    ({"logit_bias": {"99999999": 1}}, ["logit_bias", "99999999"]),
    ({"tools": {}}, ["tools", "array"]),
    ({"tools": [{"type": "function"}]}, ["tools[0]", "function"]),
    ({"tools": [TOOL, TOOL]}, ["'add'", "twice"]),
    (
        {"tools": [{"function": {"name": "f", "parameters": {"type": "string"}}}]},
        ["'f'", "type object"],
    ),
    ({"tool_choice": "required"}, ["tool_choice", "no tool"]),
    ({"tools": [TOOL], "tool_choice": "sometimes"}, ["tool_choice", "sometimes", "required"]),
    ({"tools": [TOOL], "tool_choice": {"function": {"name": "sub"}}}, ["tool_choice", "sub"]),
    ({"response_format": {"type": "xml"}}, ["response_format.type", "xml"]),
    ({"response_format": {"type": "json_schema"}}, ["response_format.json_schema", "schema"]),
    (schema({"type": "thing"}), ["thing"]),
    (schema(deep(200)), ["deeper than 128"]),
    (schema({"enum": ["x" * (300 << 10)]}), ["bytes"]),
    (schema({"type": "string", "pattern": "(?=x)y"}), ["compiled"]),
    (schema(False), ["schema", "false"]),
    ({"messages": [{"role": "user", "content": "a b " * 40_000}]}, ["context", "65536"]),
]


@pytest.mark.parametrize(("given", "words"), BAD, ids=range(len(BAD)))
def test_bad_input_is_named(served: Served, given: Any, words: list[str]) -> None:
    if isinstance(given, dict):
        given = json.dumps({**({"messages": HI} if given else {}), **given}).encode()
        given = given.replace(b"Infinity", b"1e999")
    with served.client() as client:
        answer = client.post(CHAT, content=given)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    missing = [word for word in words if word not in error["message"]]
    assert not missing, error["message"]


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("n", limits.SAMPLES),
        ("max_tokens", limits.MAX_TOKENS),
        ("max_completion_tokens", limits.MAX_TOKENS),
        ("top_logprobs", limits.TOP_LOGPROBS),
        ("priority", limits.PRIORITY),
        ("presence_penalty", 2),
        ("temperature", 100),
    ],
)
def test_numbers_at_their_limit(served: Served, name: str, most: int) -> None:
    ask = {"messages": HI, "max_tokens": 2, "stop": ["e", "o", "l"], "logprobs": True}
    with served.client() as client:
        assert client.post(CHAT, json={**ask, name: most}).status_code == 200
        answer = client.post(CHAT, json={**ask, name: most + 1})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == name
    assert str(most) in answer.text and str(most + 1) in answer.text


def test_the_other_routes_refuse_as_well(served: Served) -> None:
    with served.client() as client:
        for path, body, word in [
            ("/v1/completions", {"prompt": []}, "prompt"),
            ("/v1/completions", {"prompt": [[1], "x", 5]}, "prompt[2]"),
            ("/v1/completions", {"prompt": [[99999]]}, "vocabulary"),
            ("/v1/completions", {"prompt": [-1]}, "vocabulary"),
            ("/v1/completions", {"prompt": ["a", [1, 10**30]]}, "prompt[1]: 1000000000"),
            ("/v1/completions", {"prompt": "x", "n": 17}, "17"),
            ("/v1/completions", {"prompt": ["x"] * 8, "n": 9}, "at most 64"),
            ("/tokenize", {}, "prompt or messages"),
            ("/detokenize", {"tokens": [8192]}, "8192"),
            ("/detokenize", {"tokens": [-1]}, "-1"),
        ]:
            answer = client.post(path, json=body)
            assert answer.status_code == 400 and word in answer.text, answer.text
        assert client.get(CHAT).status_code == 405
        told = client.post("/tokenize", json={"prompt": "ls src"}).json()
        assert client.post("/detokenize", json=told).json() == {"prompt": "ls src"}


def test_a_chat_as_the_model_reads_it(served: Served) -> None:
    said = [{"role": "system", "content": "Be brief."}, *HI]
    with served.client() as client:
        found = client.post("/render", json={"messages": said, "tools": [TOOL]}).json()
        assert "Be brief." in found["prompt"] and '"name": "add"' in found["prompt"]
        assert client.post("/detokenize", json=found).json() == {"prompt": found["prompt"]}
        plain = client.post("/tokenize", json={"messages": said, "tools": [TOOL]}).json()
        assert found["tokens"] == plain["tokens"] and found["borders"] == plain["borders"]
        asked = {"messages": said, "tools": [TOOL], "max_tokens": 1}
        told = client.post(CHAT, json=asked).json()["usage"]["prompt_tokens"]
        assert found["count"] == told == len(found["tokens"])
        # what a request says of thinking is in its prompt
        on, off = (
            client.post("/render", json={"messages": said, "reasoning_effort": e}).json()["prompt"]
            for e in ("high", "none")
        )
        assert on != off


def test_binding_elsewhere_needs_a_key() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.1", "example.org", "127.0.0.1.example.org"):
        with pytest.raises(ValueError, match="give keys with --keys FILE"):
            Settings(host=host)
        assert not Settings(host=host, keys=Keys([("a", "x" * 8)])).is_local
    assert all(Settings(host=host).is_local for host in ("127.0.0.9", "::1", "localhost"))


def test_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# ours\n\nann 12345678\nabcdefgh#1\n")
    keys = Keys.read(file, {"FLASHLING_KEYS": "from-the-env, x "[:12]})
    found = [keys.find(k) for k in ("12345678", "abcdefgh#1", "from-the-env", "1234567", "")]
    assert [c and c.name for c in found] == ["ann", "key-3", "key-1", None, None]
    assert len({c.namespace for c in found if c}) == 3
    for text, said in [
        ("short", "8 to 256"),
        ("a 12345678\na 87654321", "two keys"),
        ("#", "no k"),
    ]:
        file.write_text(text)
        with pytest.raises(ValueError, match=said):
            Keys.read(file, {})
    with pytest.raises(ValueError, match="no file of keys"):
        Keys.read(tmp_path / "none", {})


def test_processes_do_not_send_each_other_code() -> None:
    """The engine's process and the server exchange data; whoever starts it knows its program."""
    barred = {"pickle", "marshal", "shelve", "dill", "multiprocessing"}
    for path in (PACKAGE / "llm").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not barred & {a.name.partition(".")[0] for a in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").partition(".")[0] not in barred, path
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "__import__", "torch.load"}, path


def test_no_way_out_and_no_way_in() -> None:
    """Nothing that runs data as code, and nothing that asks other machines: but for the spans that
    an operator has sent to a collector, by what is loaded only then.
    """
    barred = {"pickle", "marshal", "shelve", "dill", "subprocess", "ctypes", "importlib"}
    barred |= {"urllib.request", "http.client", "requests", "httpx", "aiohttp", "socket", "ssl"}
    for path in (PACKAGE / "server").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                assert not barred & {a.name for a in node.names}, path
            elif isinstance(node, ast.ImportFrom):
                assert node.module not in barred and node.module != "urllib", path
                if (node.module or "").startswith("opentelemetry"):
                    assert path.name == "spans.py" and node.col_offset, path
            elif isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                assert called not in {"eval", "exec", "compile", "__import__", "torch.load"}, path
                assert "open_connection" not in called and "create_connection" not in called
