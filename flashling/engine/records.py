"""What a lower tier holds: prefixes by namespace, found by their tokens or by a session's name."""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

TOKEN_BYTES = 4
# whose prefix: namespace, tokens, session
Key = tuple[str, tuple[int, ...], str | None]
# the name of a namespace's folder, and how that of a parked prefix in it ends
HASHED, PARKED = re.compile(r"[0-9a-f]{40}"), ".park"


@dataclass(eq=False)
class Record:
    """A stored prefix. space: its hashed namespace. name: its own within that, hashed too.
    tokens: packed. nbytes: what it costs its tier. used: when it was stored or loaded last.
    digest: of its file's header (disk).
    """

    space: str
    name: str
    tokens: bytes
    session: str | None
    nbytes: int
    used: float
    digest: bytes = b""

    @property
    def length(self) -> int:
        """How many tokens it has read."""
        return len(self.tokens) // TOKEN_BYTES


@dataclass(frozen=True)
class Session:
    """What is held under a name: tokens; used: seconds since the epoch; bytes by tier, the fastest
    first.
    """

    name: str
    tokens: int
    used: float
    nbytes: dict[str, int]


def pack(tokens: Sequence[int]) -> bytes:
    """Token ids as big-endian uint32: bytes in the order of the tokens, 4 each. ValueError for an
    id that does not fit.
    """
    try:
        packed = array("I", tokens)
    except OverflowError:
        raise ValueError("a token id is not in [0, 2**32); give the ids of a vocabulary") from None
    packed.byteswap()
    return packed.tobytes()


def unpack(tokens: bytes) -> tuple[int, ...]:
    """The inverse of `pack`."""
    found = array("I", tokens)
    found.byteswap()
    return tuple(found)


def space_of(namespace: str) -> str:
    """The name of a namespace's folder: 40 hexadecimal digits, whatever a client calls it."""
    return _hashed(b"namespace", namespace.encode("utf-8", "surrogatepass"))


def name_of(tokens: bytes, session: str | None) -> str:
    """A session has one record, which its next one replaces; other prefixes go by their tokens.
    ValueError for an empty name.
    """
    if session is None:
        return _hashed(b"tokens", tokens)
    if not session:
        raise ValueError("a session's name is empty; give a name, or None for no session")
    return _hashed(b"session", session.encode("utf-8", "surrogatepass"))


def _hashed(kind: bytes, name: bytes) -> str:
    return blake2b(name, digest_size=20, person=kind).hexdigest()


def _tokens(record: Record) -> bytes:
    return record.tokens


class Records:
    """Records, sorted by tokens within each namespace. Every hit compares tokens."""

    def __init__(self) -> None:
        self.nbytes = 0
        self._named: dict[tuple[str, str], Record] = {}
        self._sorted: dict[str, list[Record]] = {}

    def __len__(self) -> int:
        return len(self._named)

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._named.values()))

    def named(self, space: str, name: str) -> Record | None:
        """The record of that name."""
        return self._named.get((space, name))

    def add(self, record: Record) -> Record | None:
        """Take a record in; the one of the same name that it replaces, if any."""
        before = self.named(record.space, record.name)
        if before is not None:
            self.remove(before)
        self._named[record.space, record.name] = record
        line = self._sorted.setdefault(record.space, [])
        line.insert(bisect_right(line, record.tokens, key=_tokens), record)
        self.nbytes += record.nbytes
        return before

    def remove(self, record: Record) -> bool:
        """Forget this very record; False if it is not here."""
        if self.named(record.space, record.name) is not record:
            return False
        del self._named[record.space, record.name]
        line = self._sorted[record.space]
        at = bisect_left(line, record.tokens, key=_tokens)
        while line[at] is not record:
            at += 1
        del line[at]
        if not line:
            del self._sorted[record.space]
        self.nbytes -= record.nbytes
        return True

    def sessions(self, space: str) -> list[Record]:
        """The records of a namespace that have a session's name."""
        return [r for r in self._sorted.get(space, []) if r.session is not None]

    def longest(self, space: str, tokens: bytes) -> Record | None:
        """The record of most tokens that `tokens` begin with."""
        line = self._sorted.get(space, [])
        while at := bisect_right(line, tokens, key=_tokens):
            found = line[at - 1]
            if tokens.startswith(found.tokens):
                return found
            # what precedes `tokens` in order shares at least as much with them as any prefix
            tokens = tokens[: _shared(found.tokens, tokens)]
        return None

    def kind(self, record: Record) -> int:
        """As `tree.worth`: 2 if others go on from it in several ways, 1 if none does, 0 if it was
        superseded by a later one of the same line.
        """
        line, tokens = self._sorted[record.space], record.tokens
        first = bisect_right(line, tokens, key=_tokens)
        end = bisect_right(line, tokens, key=lambda r: r.tokens[: len(tokens)])
        if first == end:
            return 1
        after = slice(len(tokens), len(tokens) + TOKEN_BYTES)
        return 2 if line[first].tokens[after] != line[end - 1].tokens[after] else 0


def _shared(a: bytes, b: bytes) -> int:
    """Bytes of the whole tokens with which both begin."""
    low, high = 0, min(len(a), len(b)) // TOKEN_BYTES
    while low < high:
        middle = (low + high + 1) // 2
        if a[: middle * TOKEN_BYTES] == b[: middle * TOKEN_BYTES]:
            low = middle
        else:
            high = middle - 1
    return low * TOKEN_BYTES
