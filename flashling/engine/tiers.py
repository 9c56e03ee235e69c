"""What leaves the device: first to host memory, from there to the disk, and back when wanted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

from torch import Tensor

from . import parked
from .cache import Snapshot
from .host import Host
from .records import Key, Record, unpack
from .store import Store


class Tier(Protocol):
    """Somewhere to keep prefixes: host memory or a disk. `put` may refuse, `load` may find nothing
    any more; neither raises for that, both count it in `stats`.
    """

    name: str
    stats: Counter[str]

    def put(
        self,
        namespace: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        pages: Tensor,
        session: str | None = None,
    ) -> bool:
        """Keep a prefix; whether it is kept."""
        ...

    def match(self, namespace: str, tokens: Sequence[int], most: int) -> Record | None:
        """The longest kept prefix of `tokens` that has at most `most` of them."""
        ...

    def session(self, namespace: str, name: str) -> Record | None:
        """What was kept last under a session's name."""
        ...

    def named(self, namespace: str) -> list[Record]:
        """All that is kept under sessions' names."""
        ...

    def load(self, record: Record) -> tuple[Snapshot, Tensor] | None:
        """Snapshot and pages [n, M, 64, R + P] on the CPU."""
        ...

    def delete(self, record: Record) -> bool:
        """Forget a prefix; False if it is not here."""
        ...


class Tiers:
    """The tiers below the device as one. Without both it keeps nothing and finds nothing.

    Files are written by a thread of its own, so that a step never waits for a disk;
    `pending_bytes` may wait for it, more is dropped and counted in `stats`. Another one reads them
    into host memory before they are needed.
    """

    def __init__(
        self, host: Host | None = None, disk: Store | None = None, pending_bytes: int = 4 << 30
    ) -> None:
        self.host, self.disk, self.pending_bytes = host, disk, pending_bytes
        self.stats: Counter[str] = Counter()
        self._writer = ThreadPoolExecutor(1, "flashling-park")
        self._waiting: dict[Future[bool], int] = {}
        self._reader = ThreadPoolExecutor(1, "flashling-fetch")
        # what is on its way to host memory, and of which namespace
        self._coming: dict[Record, tuple[str, Future[tuple[Snapshot, Tensor] | None]]] = {}
        if host is not None:
            host.spill = self._spill

    def keep(self, key: Key, snapshot: Snapshot, pages: Tensor) -> None:
        """Take what the device gives up: into host memory, or else to the disk."""
        if self.host is None or not self.host.put(*key[:2], snapshot, pages, key[2]):
            self._file(key, snapshot, pages)

    def park(self, key: Key, snapshot: Snapshot, pages: Tensor) -> None:
        """Keep it at hand and on the disk, from where it outlives the process."""
        if self.host is not None:
            self.host.put(*key[:2], snapshot, pages, key[2])
        self._file(key, snapshot, pages)

    def holds(self, namespace: str, tokens: Sequence[int]) -> bool:
        """Whether just these tokens are kept already."""
        found = self.match(namespace, tokens, len(tokens))
        return found is not None and found[1].length == len(tokens)

    def match(
        self, namespace: str, tokens: Sequence[int], most: int, known: int = 0
    ) -> tuple[Tier, Record] | None:
        """The longest kept prefix of more than `known` and at most `most` tokens, from the faster
        tier among equals.
        """
        best: tuple[Tier, Record] | None = None
        for tier in self.all():
            found = tier.match(namespace, tokens, most)
            if found is not None and found.length > known:
                best, known = (tier, found), found.length
        return best

    def fetch(self, namespace: str, tokens: Sequence[int], known: int) -> Record | None:
        """Begin to bring the longest prefix of more than `known` tokens, and of fewer than all of
        them, from the disk into host memory, if it is to be had from there alone.
        """
        if self.host is None or self.disk is None:
            return None
        found = self.match(namespace, tokens, len(tokens) - 1, known)
        if found is None or found[0] is self.host or found[1].nbytes > self.host.budget_bytes:
            return None
        record = found[1]
        if record not in self._coming:
            self._coming[record] = namespace, self._reader.submit(self.disk.load, record)
        return record

    def is_coming(self, record: Record) -> bool:
        """Whether it is on its way to host memory."""
        return record in self._coming

    def arrive(self) -> bool:
        """Take into host memory what was read since; whether there was any."""
        done = [r for r, (_, future) in self._coming.items() if future.done()]
        for record in done:
            namespace, future = self._coming.pop(record)
            if future.exception() is not None:
                self.stats["failed"] += 1
            elif loaded := future.result():
                self._take(namespace, record, *loaded)
        return bool(done)

    def wait(self) -> bool:
        """Wait for what has been on its way longest; False if nothing is."""
        for _, future in self._coming.values():
            future.exception()
            self.arrive()
            return True
        return False

    def session(self, namespace: str, name: str) -> tuple[Tier, Record] | None:
        """What was parked last under a session's name."""
        for tier in self.all():
            found = tier.session(namespace, name)
            if found is not None:
                return tier, found
        return None

    def delete(self, namespace: str, session: str) -> bool:
        """Forget a session in all tiers, its file included; False if there was none."""
        self.flush()
        found = [(tier, tier.session(namespace, session)) for tier in self.all()]
        return any([tier.delete(r) for tier, r in found if r is not None])

    def update(self, fingerprint: bytes) -> None:
        """Go on with other weights: nothing that is kept is valid any more."""
        self.flush()
        if self.host is not None:
            self.host.clear()
        if self.disk is not None:
            self.disk.update(fingerprint)

    def flush(self) -> None:
        """Wait until everything that goes to the disk is there."""
        for future in list(self._waiting):
            future.exception()
        self._settle()

    def close(self) -> None:
        """Write what waits, and end the thread. At the end of a process that will come again,
        `park` what should outlive it first.
        """
        self.flush()
        self._writer.shutdown()
        self._reader.shutdown()

    def all(self) -> list[Tier]:
        """Those that there are, the fastest first."""
        return [t for t in (self.host, self.disk) if t is not None]

    def _take(self, namespace: str, record: Record, snapshot: Snapshot, pages: Tensor) -> None:
        assert self.host is not None and self.disk is not None
        # forgotten while it was read, or of other weights
        if not self.disk.holds(record):
            return
        session = record.session
        if session is not None and self.host.session(namespace, session) is not None:
            # what is parked there already is newer
            session = None
        key = namespace, unpack(record.tokens), session
        self.host.take(key, snapshot, pages)

    def _spill(self, key: Key, snapshot: Snapshot, pages: Tensor) -> None:
        """What host memory gives up goes to the disk, unless it is there."""
        namespace, tokens, session = key
        found = self.disk.match(namespace, tokens, len(tokens)) if self.disk else None
        is_there = found is not None and found.length == len(tokens)
        if not (found and is_there and session in (None, found.session)):
            self._file(key, snapshot, pages)

    def _file(self, key: Key, snapshot: Snapshot, pages: Tensor) -> None:
        if self.disk is None:
            return
        self._settle()
        size = parked.size_of(snapshot, pages)
        if sum(self._waiting.values()) + size > self.pending_bytes:
            self.stats["dropped"] += 1
            return
        namespace, tokens, session = key
        future = self._writer.submit(self.disk.put, namespace, tokens, snapshot, pages, session)
        self._waiting[future] = size

    def _settle(self) -> None:
        """Forget the writes that are done; one that failed is counted."""
        for future in [f for f in self._waiting if f.done()]:
            del self._waiting[future]
            if future.exception() is not None:
                self.stats["failed"] += 1
