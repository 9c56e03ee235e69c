"""A stand-in for the server: serves the page and streams recorded answers, by the words asked."""

from __future__ import annotations

import contextlib
import json
import math
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from flashling.server import page

PLAIN = "Linear attention keeps a sum where softmax keeps a list."
MARKDOWN = """\
Softmax attention compares each token with **every** earlier one. *Linear* attention \
keeps a running sum instead, so a step costs the same at any length.

## What changes

1. The kernel $\\phi(q)^\\top \\phi(k)$ takes the place of `softmax(qk)`.
2. The sum over the past becomes a **state** of fixed size:
   - decayed a little at each step,
   - read by the query.

| | softmax | linear |
|:--|--:|--:|
| memory of `n` tokens | n · d | d · d |
| time of a step | n | 1 |

```python
def step(state, q, k, v, decay=0.99):
    \"\"\"One token: fold it in, then read.\"\"\"
    state = decay * state + outer(k, v)  # the past fades
    return state, q @ state
```

> What is kept is a summary, so exact copying over long distances is harder.

See [the first paper](https://arxiv.org/abs/2006.16236) for more.
"""
PAGE = """\
Here is a small clock.

```html
<!doctype html>
<html>
<head>
<style>
  body { font: 3rem system-ui; display: grid; place-items: center; height: 90vh; }
  body { background: #10211c; color: #9fe3cd; }
</style>
</head>
<body>
  <div id="clock">…</div>
  <script>
    const show = () => clock.textContent = new Date().toTimeString().slice(0, 8);
    setInterval(show, 500); show();
    const told = document.body.dataset;
    told.ran = "yes";
    fetch("/v1/models").then(() => told.leak = "yes", () => told.leak = "no");
  </script>
</body>
</html>
```

It ticks twice a second.
"""
THOUGHT = "The user wants the sum. 17 and 25 make 42; I check: 42 minus 25 is 17."
EVIL = "<img src=x onerror=alert(1)> [go](javascript:alert(1)) ![pic](https://example.org/a.png)"
CALLS = [
    ("call_0", "get_weather", {"place": "杭州", "unit": "celsius"}),
    ("call_1", "get_weather", {"place": "Berlin", "unit": "celsius"}),
]


def pieces(text: str, size: int = 7) -> Iterator[dict]:
    for i in range(0, len(text), size):
        yield {"content": text[i : i + size]}


def calls() -> Iterator[dict]:
    yield {"content": "I look up both places."}
    for index, (name, function, arguments) in enumerate(CALLS):
        head = {"name": function, "arguments": ""}
        call = {"index": index, "id": name, "type": "function", "function": head}
        yield {"tool_calls": [call]}
        text = json.dumps(arguments, ensure_ascii=False)
        for i in range(0, len(text), 9):
            part = {"index": index, "function": {"arguments": text[i : i + 9]}}
            yield {"tool_calls": [part]}


def script(body: dict) -> tuple[Iterator[dict], float, str]:
    """The deltas that answer a request, seconds between two of them, and the finish reason."""
    last = body["messages"][-1]
    asked = last["content"].lower()
    if last["role"] == "tool":
        return pieces("It is warmer in Hangzhou: **24 °C** against 11 °C in Berlin."), 0.0, "stop"
    if body.get("response_format"):
        answer = {"title": "Tea", "steps": ["boil water", "wait", "pour"]}
        return pieces(json.dumps(answer)), 0.0, "stop"
    if "weather" in asked:
        return calls(), 0.0, "tool_calls"
    if "markdown" in asked or "linear attention" in asked:
        return pieces(MARKDOWN), 0.0, "stop"
    if "page" in asked or "clock" in asked:
        return pieces(PAGE, 24), 0.01, "stop"
    if "think" in asked:
        thought = ({"reasoning_content": p["content"]} for p in pieces(THOUGHT))
        return (d for part in (thought, pieces("It is 42.")) for d in part), 0.02, "stop"
    if "a while" in asked:
        return pieces("again and " * 80, 10), 0.05, "stop"
    if "slow" in asked:
        return pieces("again and " * 400, 10), 0.05, "stop"
    if "evil" in asked:
        return pieces(EVIL), 0.0, "stop"
    if "cut" in asked:
        return pieces("This goes on and"), 0.0, "length"
    return pieces(PLAIN), 0.0, "stop"


class Kept:
    """A stream that goes on without its reader."""

    def __init__(self, call: str) -> None:
        self.call, self.events = call, list[bytes]()
        self.is_over = self.is_cancelled = False

    def read(self, at: int) -> Iterator[bytes]:
        while at < len(self.events) or not self.is_over:
            if at < len(self.events):
                yield self.events[at]
                at += 1
            else:
                time.sleep(0.005)


def sessions() -> list[dict]:
    now = int(time.time())
    rows = [
        ("agent-7", 18_204, {"host": 3_400_000, "disk": 3_400_512}, 40),
        ("refactor:billing.2026", 64_811, {"disk": 7_900_000}, 7500),
        ("notes", 912, {"host": 1_100_000}, 200_000),
    ]
    return [
        {"id": n, "tokens": t, "bytes": b, "tier": next(iter(b)), "last_used": now - ago}
        for n, t, b, ago in rows
    ]


class Fake(ThreadingHTTPServer):
    """`base` is its address; `asked` holds the bodies it got; `key` is asked for when set; `kept`
    holds its streams, which are not told while it `is_down`; `sessions` what it holds.
    """

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.base = f"http://127.0.0.1:{self.server_address[1]}"
        self.asked: list[dict] = []
        self.key = ""
        self.streams = 0
        self.kept: dict[str, Kept] = {}
        self.is_down = False
        self.sessions = sessions()
        self.explained: list[dict] = []
        self.begun = time.monotonic()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(BaseHTTPRequestHandler):
    server: Fake

    def log_message(self, format: str, *args: object) -> None:
        pass

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            super().handle()

    def answer(self, status: int, body: bytes, kind: str, **extra: str) -> None:
        self.send_response(status)
        sent = {
            "content-type": kind,
            "content-length": str(len(body)),
            "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
            "x-content-type-options": "nosniff",
            "referrer-policy": "no-referrer",
            "cross-origin-resource-policy": "same-origin",
            "cache-control": "no-store",
        }
        for name, value in {**sent, **extra}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status: int, message: str) -> None:
        body = json.dumps({"error": {"message": message, "type": "refused"}}).encode()
        self.answer(status, body, "application/json")

    def is_known(self) -> bool:
        if not self.server.key or self.headers["authorization"] == f"Bearer {self.server.key}":
            return True
        self.refuse(401, "a valid key is needed")
        return False

    def do_GET(self) -> None:
        file = page.files().get(self.path)
        if file:
            self.answer(200, *file, **page.headers(self.path))
        elif not self.is_known():
            return
        elif self.path == "/v1/models":
            models = {"object": "list", "data": [{"id": "ling-nano"}, {"id": "ling-2.6-flash"}]}
            self.answer(200, json.dumps(models).encode(), "application/json")
        elif self.path == "/metrics":
            text = metrics(time.monotonic() - self.server.begun)
            self.answer(200, text.encode(), "text/plain; version=0.0.4")
        elif self.path == "/v1/sessions":
            told = {"object": "list", "data": self.server.sessions}
            self.answer(200, json.dumps(told).encode(), "application/json")
        elif self.path.startswith("/v1/streams/"):
            name = self.path.rpartition("/")[2]
            if self.server.is_down:
                self.close_connection = True
            elif name not in self.server.kept:
                self.refuse(404, f"no stream {name!r} of yours is kept")
            else:
                after = int(self.headers["last-event-id"] or -1)
                self.tell(self.server.kept[name], name, after + 1, 1 << 30)
        else:
            self.refuse(404, "nothing is here")

    def do_DELETE(self) -> None:
        self.hold(self.path.rpartition("/")[2], "delete", {})

    def do_POST(self) -> None:
        if not self.is_known():
            return
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        way = self.path.split("/")
        if way[2] == "requests":
            for kept in self.server.kept.values():
                kept.is_cancelled |= kept.call == way[3]
            return self.answer(200, b"{}", "application/json")
        if way[2] == "sessions":
            return self.hold(way[3], way[4], body)
        if way[2] == "cache":
            return self.explain(body)
        self.server.asked.append(body)
        if "refuse" in str(body["messages"][-1]["content"]):
            return self.refuse(429, "the queue is full; try again in 2 s")
        call = self.headers["x-request-id"]
        kept = self.server.kept[f"chatcmpl-{call}"] = Kept(call)
        threading.Thread(target=self.produce, args=(body, kept), daemon=True).start()
        last = str(body["messages"][-1]["content"])
        self.tell(kept, f"chatcmpl-{call}", 0, 5 if "drop" in last else 1 << 30)

    def tell(self, kept: Kept, name: str, at: int, most: int) -> None:
        """A stream's events from number `at`; the connection breaks after `most`."""
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("x-flashling-stream", name)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            self.wfile.write(b": keep-alive\n\n")
            for count, event in enumerate(kept.read(at)):
                if count == most:
                    break
                self.wfile.write(b"id: %d\n%s" % (at + count, event))
                self.wfile.flush()

    def produce(self, body: dict, kept: Kept) -> None:
        self.server.streams += 1
        for event in self.events(body):
            if kept.is_cancelled:
                break
            kept.events.append(event)
        kept.is_over = True
        self.server.streams -= 1

    def events(self, body: dict) -> Iterator[bytes]:
        deltas, pause, finish = script(body)
        breaks = "break" in str(body["messages"][-1]["content"])
        count = 0
        for count, delta in enumerate(deltas, 1):
            yield chunk({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
            time.sleep(pause)
            if breaks and count == 3:
                yield chunk({"error": {"message": "the engine stopped", "code": 500}})
                return
        yield chunk({"choices": [{"index": 0, "delta": {}, "finish_reason": finish}]})
        prompt = 40 * len(body["messages"])
        details = {"cached_tokens": prompt - 30, "restored_from": "host"}
        details["miss_reason"] = f"first difference at token {prompt - 30}"
        usage = {"prompt_tokens": prompt, "completion_tokens": count}
        yield chunk({"choices": [], "usage": {**usage, "prompt_tokens_details": details}})
        yield b"data: [DONE]\n\n"

    def explain(self, body: dict) -> None:
        self.server.explained.append(body)
        told: dict = {"prompts": []}
        for prompt in body["prompts"]:
            tokens = 40 * len(prompt["messages"])
            reason = f"no checkpoint between tokens {tokens - 30} and {tokens - 9}"
            row = {"tokens": tokens, "cached_tokens": tokens - 30, "tier": "device"}
            told["prompts"].append({**row, "reason": reason})
        if len(body["prompts"]) == 2:
            a, b = (p["messages"] for p in body["prompts"])
            parts = {"token": 12, "before": "SYSTEM: You are ", "tokens": [5, 6]}
            texts = ["terse. Answer in one line", "kind. Take your time"]
            ends = {"token": 40 * len(a), "before": "", "tokens": [None, 6], "after": ["", "x"]}
            told["first_difference"] = ends if a == b[: len(a)] else {**parts, "after": texts}
        self.answer(200, json.dumps(told).encode(), "application/json")

    def hold(self, name: str, verb: str, body: dict) -> None:
        """What a client does with a session."""
        held = {s["id"]: s for s in self.server.sessions}
        if name not in held:
            return self.refuse(404, f"no session {name!r} of yours is parked")
        if verb == "fork":
            self.server.sessions.insert(0, {**held[name], "id": body["to"]})
        elif verb == "park":
            held[name]["bytes"].pop("host")
        else:
            self.server.sessions.remove(held[name])
        self.answer(200, b"{}", "application/json")


def chunk(value: dict) -> bytes:
    return b"data: " + json.dumps({"model": "ling-nano", **value}).encode() + b"\n\n"


def metrics(t: float) -> str:
    """A plausible exposition at second `t`: all counters grow, loads swing."""
    out = 900 * t + 2200 * (1 - math.cos(t / 6))
    prompt = 5200 * t + 9000 * (1 - math.cos(t / 9))
    rows = {
        "flashling_requests_running": round(9 + 6 * math.sin(t / 7)),
        "flashling_requests_waiting": max(0, round(5 * math.sin(t / 5) - 1)),
        "flashling_prompt_tokens_total": prompt,
        'flashling_cached_tokens_total{tier="device"}': 0.61 * prompt,
        'flashling_cached_tokens_total{tier="host"}': 0.17 * prompt,
        'flashling_cached_tokens_total{tier="disk"}': 0.04 * prompt,
        "flashling_generation_tokens_total": out,
        "flashling_draft_tokens_total": out * 0.9,
        "flashling_draft_accepted_total": out * 0.62 + 90 * math.sin(t / 8),
        'flashling_cache_hits_total{tier="device"}': int(7 * t),
        'flashling_cache_hits_total{tier="host"}': int(2 * t),
        'flashling_cache_hits_total{tier="disk"}': int(0.4 * t),
        'flashling_cache_misses_total{reason="new prompt"}': int(1.3 * t) + 1,
        'flashling_cache_misses_total{reason="evicted"}': int(0.3 * t) + 1,
        'flashling_cache_bytes{tier="device"}': 5.1e9,
        'flashling_cache_bytes{tier="host"}': 2.2e10,
        'flashling_cache_bytes{tier="disk"}': 9.4e10,
        'flashling_cache_limit_bytes{tier="device"}': 8e9,
        'flashling_cache_limit_bytes{tier="host"}': 6.4e10,
        'flashling_cache_limit_bytes{tier="disk"}': 5e11,
    }
    for name, scale in (("to_first_token", 0.1), ("per_output_token", 0.01)):
        for le, share in ((1, 0.3), (2, 0.7), (5, 0.95), (10, 1.0)):
            rows[f'flashling_time_{name}_seconds_bucket{{le="{le * scale}"}}'] = int(
                100 * t * share
            )
        rows[f'flashling_time_{name}_seconds_bucket{{le="+Inf"}}'] = int(100 * t)
    return "".join(f"{name} {value}\n" for name, value in rows.items())
