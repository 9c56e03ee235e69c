"""What is asked of the engine, what it tells, and a sequence while it runs: read without torch."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ..sampling import Sampling

if TYPE_CHECKING:
    from torch import Tensor

    from ..model.oracle import Guide
    from .records import Record

# tokens of a page
PAGE = 64
# drafts of a sequence in a step: far more than any layer gets right in a row
MOST_DRAFTS = 8


@dataclass(frozen=True)
class Continuation:
    """A continuation wanted, as plain data: prompt tokens, how to draw, the number of the sample.

    boundaries: positions of the prompt where agents return (the ends of its messages); a checkpoint
    is kept there. namespace: whose prefixes may be shared. priority: higher goes first. session: a
    name under which the end of the turn is parked in the lower tiers.
    """

    prompt: tuple[int, ...]
    sampling: Sampling = field(default_factory=Sampling)
    sample: int = 0
    boundaries: tuple[int, ...] = ()
    namespace: str = ""
    priority: int = 0
    session: str = ""


@dataclass(frozen=True)
class Request(Continuation):
    """What is wanted, and guide: makes what holds it to a grammar (`Compiled.start`)."""

    guide: Callable[[], Guide] | None = None

    def check(self, vocab: int, limit: int) -> None:
        """ValueError if a model of `vocab` tokens cannot read it, or not within `limit` tokens."""
        if not self.prompt:
            raise ValueError("a prompt is empty; give at least one token")
        if not 0 <= min(self.prompt) <= max(self.prompt) < vocab:
            raise ValueError(f"a prompt holds a token outside of the vocabulary of {vocab}")
        for name in ("logit_bias", "stop_ids"):
            for token in getattr(self.sampling, name):
                if not 0 <= token < vocab:
                    raise ValueError(f"{name} has token {token}; the vocabulary has {vocab}")
        count = len(self.prompt)
        if count + 1 > limit:
            raise ValueError(f"{count} tokens leave no room of {limit}; shorten the prompt")


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


class Overloaded(RuntimeError):
    """The queue is full; `retry_after` seconds later there may be room."""

    def __init__(self, told: str, retry_after: float) -> None:
        super().__init__(told)
        self.retry_after = retry_after

    @classmethod
    def by(cls, waiting: int) -> Overloaded:
        """What is told while so many wait."""
        seconds = 1.0 + waiting / 10
        return cls(f"{waiting} requests are waiting; try again in {seconds:.0f} s", seconds)


def check_queue(count: int, waiting: int, queue: int) -> None:
    """ValueError if so many samples never fit into a queue, Overloaded if they do not now."""
    if count < 1:
        raise ValueError(f"{count} samples are asked for; ask for 1 at least")
    if count > queue:
        raise ValueError(f"{count} samples for a queue of {queue}; ask for fewer")
    if waiting + count > queue:
        raise Overloaded.by(waiting)


@dataclass(frozen=True)
class Event:
    """A token of a request: its log-probability, the likeliest when asked for; `finish` is set on
    the last ("stop", "length", "abort", "error"), which has no token if it was aborted or failed.
    is_restart: no token, but all that were told before are void, since the weights have changed.
    """

    id: int
    token: int | None = None
    logprob: float = 0.0
    top: tuple[tuple[int, float], ...] = ()
    finish: str = ""
    usage: Usage | None = None
    error: str = ""
    is_restart: bool = False


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
    # how many drafts its next step may have, by what became of those before
    reach: float = 4.0
    # the final hidden row [D] of the last token read, and those [.., D] that an MTP layer has not
    # read: that of a checkpoint gone on from, and of steps without drafts
    last: Tensor | None = None
    owed: list[Tensor] = field(default_factory=list)
    guide: Guide | None = None
    # what it goes on from, if that was on the disk alone when it came
    is_met: bool = False
    fetched: Record | None = None

    @property
    def prompt(self) -> tuple[int, ...]:
        """The tokens given."""
        return self.request.prompt

    @property
    def out(self) -> list[int]:
        """The tokens drawn."""
        return self.tokens[len(self.prompt) :]

    @property
    def is_begun(self) -> bool:
        """Whether it runs or has drawn a token."""
        return self.slot is not None or len(self.tokens) > len(self.prompt)

    def restart(self) -> None:
        """Forget what was drawn, out of any slot."""
        self.tokens, self.usage = list(self.prompt), Usage(len(self.prompt))
        self.guide = self.request.guide() if self.request.guide else None

    @property
    def left(self) -> int:
        """Tokens that are known and not yet read; the last of them is followed by a draw."""
        return len(self.tokens) - self.done

    @property
    def is_plain(self) -> bool:
        """Whether it awaits a draw that needs nothing but logits and its place."""
        return self.left == 1 and self.guide is None and self.request.sampling.is_plain

    @property
    def most(self) -> int:
        """Tokens that it can ever hold."""
        return len(self.prompt) + self.request.sampling.max_tokens


def check_drafts(drafts: int | None) -> None:
    """ValueError for a number of drafts that no engine makes."""
    if drafts is not None and not 0 <= drafts <= MOST_DRAFTS:
        raise ValueError(f"{drafts} drafts must lie between 0 and {MOST_DRAFTS}")


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
