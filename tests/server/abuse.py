"""Clients that misbehave: `python -m tests.server.abuse KIND PORT KEY`, until it is killed.

Raw sockets, so that it costs the machine little beside what it has the server do.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

CHAT = "/v1/chat/completions"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8}
# patterns that take a backtracking matcher for ever, or an automaton much room
PATTERNS = ["(a+)+b", "(a|a)*b", ".*a.{16}", "(.*a){12}", "[a-z]{1,100000}", "(x?){40}x{40}"]


class Abuse:
    """Kinds of abuse of one server; each is a method that goes on for ever."""

    def __init__(self, port: int, key: str) -> None:
        self.port, self.key, self.number = port, key, 0

    def head(self, size: int, *more: str, path: str = CHAT) -> bytes:
        """The head of a POST with a body of `size` bytes."""
        lines = [f"POST {path} HTTP/1.1", "host: 127.0.0.1", f"authorization: Bearer {self.key}"]
        return "\r\n".join([*lines, f"content-length: {size}", *more, "", ""]).encode()

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection."""
        return await asyncio.open_connection("127.0.0.1", self.port, limit=1 << 10)

    async def ask(self, text: bytes, *more: str, path: str = CHAT) -> None:
        """Send a body, read the answer to its end."""
        reader, writer = await self.open()
        with suppress(ConnectionError):
            head = self.head(len(text), "connection: close", *more, path=path)
            writer.write(head + text)
            await writer.drain()
            while await reader.read(1 << 16):
                pass
        writer.close()

    async def many(self, what: Callable[[], Awaitable[None]], count: int, pause: float) -> None:
        """`count` that do it again and again, with a pause between."""

        async def one() -> None:
            while True:
                with suppress(OSError):
                    await what()
                await asyncio.sleep(pause)

        await asyncio.gather(*(one() for _ in range(count)))

    async def readers(self) -> None:
        """64 streams, read a byte a second."""

        async def slow() -> None:
            reader, writer = await self.open()
            # five a second begin: with so few tokens they are the load of one that reads well
            text = json.dumps({**ASK, "stream": True, "max_tokens": 25, "ignore_eos": True})
            writer.write(self.head(len(text)) + text.encode())
            while await reader.read(1):
                await asyncio.sleep(1)
            writer.close()

        await asyncio.gather(*(self._after(0.2 * i, slow) for i in range(64)))

    async def _after(self, seconds: float, what: Callable[[], Awaitable[None]]) -> None:
        await asyncio.sleep(seconds)
        await self.many(what, 1, 1.0)

    async def senders(self) -> None:
        """200 requests, sent a byte a second: half of them stop in their heads."""

        async def slow(text: bytes) -> None:
            _, writer = await self.open()
            with suppress(ConnectionError):
                for byte in text:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
            writer.close()

        whole = self.head(1 << 20)
        heads = [self.many(lambda: slow(whole), 100, 0.5)]
        await asyncio.gather(*heads, self.many(lambda: slow(b"{" * 1000), 100, 0.5))

    async def headers(self) -> None:
        """5 MB of headers, and 300 of them."""
        await asyncio.gather(
            self.many(lambda: self.ask(b"{}", "x-long: " + "a" * 5_000_000), 2, 0.1),
            self.many(lambda: self.ask(b"{}", *(f"x-{i}: a" for i in range(300))), 2, 0.1),
        )

    async def bodies(self) -> None:
        """Bodies that are deep, wide, or too large."""
        deep = b'{"messages": ' + b"[" * 1_000_000
        wide = json.dumps({**ASK, "stop": ["a"] * 300_000}).encode()
        texts = [deep, wide, json.dumps({"x": [[{"a": 1}]] * 60_000}).encode()]
        await asyncio.gather(
            *(self.many(lambda t=t: self.ask(t), 1, 0.2) for t in texts),
            self.many(lambda: self.ask(b"[" * (33 << 20)), 1, 1.0),
        )

    async def strangers(self) -> None:
        """800 requests a second, and more where they are answered quicker, with a wrong key."""
        self.key = "sk-nobody-0123456789"
        await self.many(lambda: self.ask(b"{}"), 8, 0.01)

    async def prompts(self) -> None:
        """One prompt after the other that fills the context and that nobody has sent before."""

        async def long() -> None:
            self.number += 1
            body = {"prompt": [5, self.number % 1000 + 300, *[500] * 65_000], "max_tokens": 1}
            await self.ask(json.dumps(body).encode(), path="/v1/completions")

        await self.many(long, 1, 0.1)

    async def giants(self) -> None:
        """Schemas as large as they may be, none like another."""

        async def giant() -> None:
            self.number += 1
            fields = {f"f{self.number}_{i}": {"type": ["string", "null"]} for i in range(5000)}
            form = {"type": "json_schema", "json_schema": {"schema": {"properties": fields}}}
            await self.ask(json.dumps({**ASK, "response_format": form}).encode())

        await self.many(giant, 2, 0.2)

    async def schemas(self) -> None:
        """Schemas that nobody has sent before, with 200 properties each."""

        async def fresh() -> None:
            self.number += 1
            fields = {f"f{self.number}_{i}": {"type": "string"} for i in range(200)}
            schema = {"type": "object", "properties": fields, "required": list(fields)[:3]}
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
            await self.ask(json.dumps({**ASK, "response_format": form}).encode())

        await self.many(fresh, 2, 0.2)

    async def patterns(self) -> None:
        """Regular expressions that explode."""

        async def bomb() -> None:
            self.number += 1
            pattern = PATTERNS[self.number % len(PATTERNS)] + str(self.number)
            fields = {"a": {"type": "string", "pattern": pattern}}
            schema = {"type": "object", "properties": fields, "required": ["a"]}
            form = {"type": "json_schema", "json_schema": {"schema": schema}}
            await self.ask(json.dumps({**ASK, "response_format": form}).encode())

        await self.many(bomb, 2, 0.2)

    async def stops(self) -> None:
        """One stream after the other with 16 stop texts of 1,024 characters that nearly come."""
        stop = ["a" * 1023 + chr(0x4E00 + i) for i in range(16)]
        body = {**ASK, "stop": stop, "stream": True, "max_tokens": 64, "ignore_eos": True}
        await self.many(lambda: self.ask(json.dumps(body).encode()), 1, 0.5)

    async def leavers(self) -> None:
        """Requests for long answers whose clients leave at any time."""
        dice = random.Random(1)

        async def leave() -> None:
            body = json.dumps({**ASK, "stream": True, "max_tokens": 4000, "ignore_eos": True})
            _, writer = await self.open()
            writer.write(self.head(len(body)) + body.encode())
            await writer.drain()
            await asyncio.sleep(dice.choice([0, 0.01, 0.05, 0.2]) * dice.random())
            writer.close()

        await self.many(leave, 4, 0.2)


KINDS = ["readers", "senders", "headers", "bodies", "strangers", "schemas", "giants"]
KINDS += ["patterns", "stops", "leavers"]

if __name__ == "__main__":
    kind, port, key = sys.argv[1:]
    asyncio.run(getattr(Abuse(int(port), key), kind)())
