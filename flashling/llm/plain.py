"""What a server and its engine's process tell each other, as plain data.

The engine's own classes of these names bring tensors along, and a server has none.
"""

from __future__ import annotations

from msgspec import Struct

from ..sampling import Sampling


class Request(Struct, array_like=True, frozen=True):
    """A continuation wanted, as `engine.request.Request` says it, without a guide."""

    prompt: tuple[int, ...]
    sampling: Sampling = Sampling()  # noqa: RUF009
    boundaries: tuple[int, ...] = ()
    namespace: str = ""
    priority: int = 0
    session: str = ""


class Usage(Struct, array_like=True, frozen=True):
    """Where a request's prompt came from: as `engine.request.Usage`."""

    prompt: int
    cached: int = 0
    restored_from: str = ""
    recomputed: int = 0
    miss_reason: str = ""
    drafted: int = 0
    accepted: int = 0


class Event(Struct, array_like=True, frozen=True):
    """A token of a request: as `engine.request.Event`."""

    id: int
    token: int | None = None
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()
    finish: str = ""
    usage: Usage | None = None
    error: str = ""


class Session(Struct, array_like=True, frozen=True):
    """What is held under a name: as `engine.sessions.Session`."""

    name: str
    tokens: int
    used: float
    nbytes: dict[str, int]


class Full(RuntimeError):
    """The engine's queue is full; `retry_after` seconds later there may be room."""

    def __init__(self, told: str, retry_after: float) -> None:
        super().__init__(told)
        self.retry_after = retry_after
