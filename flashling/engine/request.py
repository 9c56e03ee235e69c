"""What is asked of the engine, what it tells, and a sequence while it runs."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field

from torch import Tensor

from ..model.oracle import Guide
from ..sampling import Sampling
from .cache import PAGE


@dataclass(frozen=True)
class Request:
    """A continuation wanted: prompt tokens, how to draw, the number of the sample.

    boundaries: positions of the prompt where agents return (the ends of its messages); a checkpoint
    is kept there. namespace: whose prefixes may be shared. priority: higher goes first. guide:
    makes what holds the continuation to a grammar (`Compiled.start`). session: a name under which
    the end of the turn is parked in the lower tiers.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    sample: int = 0
    boundaries: tuple[int, ...] = ()
    namespace: str = ""
    priority: int = 0
    guide: Callable[[], Guide] | None = None
    session: str = ""


@dataclass
class Usage:
    """Where a request's prompt came from: tokens `cached` by a checkpoint in `restored_from`
    (device, host, disk; empty if none), those `recomputed` although they had been read before, and
    why no more was found.
    """

    prompt: int
    cached: int = 0
    restored_from: str = ""
    recomputed: int = 0
    miss_reason: str = ""
    drafted: int = 0
    accepted: int = 0
    # said when it first gets a slot, and not again when it was parked in between
    is_told: bool = field(default=False, repr=False)


@dataclass(frozen=True)
class Event:
    """A token of a request: its log-probability, the likeliest when asked for; `finish` is set on
    the last ("stop", "length", "abort", "error"), which has no token if it was aborted or failed.
    """

    id: int
    token: int | None = None
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()
    finish: str = ""
    usage: Usage | None = None
    error: str = ""


@dataclass
class Sequence:
    """A request in the engine. `done` tokens of `tokens` stand in its slot and pages; the open
    chunk begins at token `base`. group: the number of the first of its
    request's samples.
    """

    id: int
    request: Request
    order: int
    group: int
    usage: Usage
    tokens: list[int]
    done: int = 0
    base: int = 0
    slot: int | None = None
    pages: list[int] = field(default_factory=list)
    # positions at which a checkpoint is to be kept, ascending; those behind `done` are past
    stops: list[int] = field(default_factory=list)
    drafts: list[int] = field(default_factory=list)
    # the final hidden row [D] of the last token read, and that of a checkpoint gone on from, until
    # an MTP layer has read it
    last: Tensor | None = None
    owed: Tensor | None = None
    guide: Guide | None = None

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens given."""
        return self.request.prompt

    @property
    def out(self) -> list[int]:
        """The tokens drawn."""
        return self.tokens[len(self.prompt) :]

    @property
    def left(self) -> int:
        """Tokens that are known and not yet read; the last of them is followed by a draw."""
        return len(self.tokens) - self.done

    @property
    def most(self) -> int:
        """Tokens that it can ever hold."""
        return len(self.prompt) + self.request.sampling.max_tokens


def pages_for(tokens: int) -> int:
    """Pages that hold so many tokens."""
    return -(-tokens // PAGE)


def shared(a: Items[int], b: Items[int]) -> int:
    """How many tokens two sequences have in common at their beginning."""
    high = min(len(a), len(b))
    # whole tuples are compared in C, twenty times as fast as tokens in a loop
    a, b = tuple(a[:high]), tuple(b[:high])
    if a == b:
        return high
    low = 0
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle - 1)
    return low
