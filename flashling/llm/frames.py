"""The messages between a server and its engine's process, and how they are written.

A frame is a message in msgpack behind its length in four bytes. The first one to the engine is a
`Setup`, the first one from it a `Told` that says whether it is ready.
"""

from __future__ import annotations

from msgspec import Raw, Struct
from msgspec.msgpack import Decoder, Encoder

from ..engine.grammar import Grammar
from ..engine.request import Continuation, Event, Overloaded

HEAD = 4
ENCODER = Encoder()
NIL = Raw(b"\xc0")


class Setup(Struct):
    """What an engine is made of. model: a folder or "embedded". disk: the folder that outlives the
    process and its bytes, "" and 0 without one. queue: requests that may wait. running: those that
    run at once, None for as many as are usual. drafts: as `LLM`.
    """

    model: str
    host_bytes: int = 0
    disk: str = ""
    disk_bytes: int = 0
    queue: int = 1024
    running: int | None = None
    drafts: int | None = None


class Add(Struct, tag=True, array_like=True):
    """Run a request, its answers held to a grammar; answered with the numbers of its samples."""

    id: int
    request: Continuation
    samples: int
    grammar: Grammar | None


class Call(Struct, tag=True, array_like=True):
    """Do one of `CALLS` with these arguments."""

    id: int
    name: str
    arguments: Raw


class Failure(Struct, array_like=True):
    """Why something was not done: what was asked was wrong, the queue is full, or else."""

    text: str
    is_asked: bool = False
    retry_after: float = 0.0

    def error(self) -> Exception:
        """The exception again."""
        if self.retry_after:
            return Overloaded(self.text, self.retry_after)
        return ValueError(self.text) if self.is_asked else RuntimeError(self.text)


class Answer(Struct, array_like=True):
    """What became of an `Add` or a `Call`."""

    id: int
    result: Raw = NIL
    failure: Failure | None = None


class Told(Struct, array_like=True):
    """All that one step of the engine told, after the answers to what was asked before it. lost:
    why nothing that ran goes on; in the first message, why there is no engine.
    """

    events: list[Event]
    answers: list[Answer]
    lost: str = ""


SETUP, ASKED, TOLD = Decoder(Setup), Decoder(Add | Call), Decoder(Told)


def frame(message: Struct) -> bytes:
    """A message as it is sent."""
    body = ENCODER.encode(message)
    return len(body).to_bytes(HEAD) + body


def taken(buffer: bytearray) -> list[bytes]:
    """The whole messages at the beginning of `buffer`, taken from it."""
    found, at = [], 0
    while len(buffer) >= at + HEAD:
        end = at + HEAD + int.from_bytes(buffer[at : at + HEAD])
        if len(buffer) < end:
            break
        found.append(bytes(buffer[at + HEAD : end]))
        at = end
    del buffer[:at]
    return found
