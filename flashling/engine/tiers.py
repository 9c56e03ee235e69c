"""What leaves the device: first to host memory, from there to the disk, and back when wanted."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Protocol

import torch
from torch import Tensor

from . import parked
from .cache import Snapshot
from .records import Record, Records, name_of, pack, space_of, unpack
from .store import Store

# whose prefix: namespace, tokens, session
Key = tuple[str, tuple[int, ...], str | None]


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


class Host:
    """Prefixes in host memory, pinned where there is CUDA, at most `budget_bytes` of tensors. What
    goes first was superseded, then come the ends of lines and shared prefixes, in each class the
    longest unused. `spill` is given what goes.
    """

    name = "host"

    def __init__(
        self, budget_bytes: int, spill: Callable[[Key, Snapshot, Tensor], None] | None = None
    ) -> None:
        self.budget_bytes, self.spill = budget_bytes, spill
        self.stats: Counter[str] = Counter()
        self._records = Records()
        self._held: dict[Record, tuple[str, Snapshot, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._records)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return self._records.nbytes

    def put(
        self,
        namespace: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        pages: Tensor,
        session: str | None = None,
    ) -> bool:
        """Keep copies; False if they are larger than the budget. ValueError if snapshot and pages
        do not belong together.
        """
        parked.check(len(tokens), snapshot, pages)
        key = pack(tokens)
        name, space = name_of(key, session), space_of(namespace)
        size = parked.size_of(snapshot, pages)
        # even if the next does not fit, a session's former past must not outlive it
        before = self._records.named(space, name)
        if before is not None:
            self._drop(before)
        if size > self.budget_bytes:
            self.stats["too large"] += 1
            return False
        while self.nbytes + size > self.budget_bytes:
            self._evict()
        record = Record(space, name, key, session, size, time.time())
        owned = list(map(_own, parked.tensors_of(snapshot, pages)))
        kept, pages = parked.joined(snapshot.base, owned)
        parked.clear_rest(pages, len(tokens))
        self._held[record] = namespace, kept, pages
        self._records.add(record)
        self.stats["stored"] += 1
        return True

    def match(self, namespace: str, tokens: Sequence[int], most: int) -> Record | None:
        """The longest kept prefix of `tokens` that has at most `most` of them."""
        return self._records.longest(space_of(namespace), pack(tokens[: max(0, most)]))

    def session(self, namespace: str, name: str) -> Record | None:
        """What was kept last under a session's name."""
        return self._records.named(space_of(namespace), name_of(b"", name))

    def named(self, namespace: str) -> list[Record]:
        """All that is kept under sessions' names."""
        return self._records.sessions(space_of(namespace))

    def load(self, record: Record) -> tuple[Snapshot, Tensor] | None:
        """What is kept itself, not to be written to; None if it is gone."""
        if record not in self._held:
            self.stats["missing"] += 1
            return None
        record.used = time.time()
        _, snapshot, pages = self._held[record]
        self.stats["loaded"] += 1
        return snapshot, pages

    def delete(self, record: Record) -> bool:
        """Forget a prefix; False if it is not here."""
        if record not in self._held:
            return False
        self._drop(record)
        self.stats["deleted"] += 1
        return True

    def clear(self) -> None:
        """Forget everything: other weights have come."""
        for record in self._records:
            self.delete(record)

    def _drop(self, record: Record) -> tuple[str, Snapshot, Tensor]:
        self._records.remove(record)
        return self._held.pop(record)

    def _evict(self) -> None:
        found = min(self._records, key=lambda r: (self._records.kind(r), r.used))
        namespace, snapshot, pages = self._drop(found)
        self.stats["evicted"] += 1
        if self.spill is not None:
            self.spill((namespace, unpack(found.tokens), found.session), snapshot, pages)


class Tiers:
    """The tiers below the device as one. Without both it keeps nothing and finds nothing.

    Files are written by a thread of its own, so that a step never waits for a disk;
    `pending_bytes` may wait for it, more is dropped and counted in `stats`.
    """

    def __init__(
        self, host: Host | None = None, disk: Store | None = None, pending_bytes: int = 4 << 30
    ) -> None:
        self.host, self.disk, self.pending_bytes = host, disk, pending_bytes
        self.stats: Counter[str] = Counter()
        self._writer = ThreadPoolExecutor(1, "flashling-park")
        self._waiting: dict[Future[bool], int] = {}
        if host is not None:
            host.spill = self._file

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

    def all(self) -> list[Tier]:
        """Those that there are, the fastest first."""
        return [t for t in (self.host, self.disk) if t is not None]

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


def _own(x: Tensor) -> Tensor:
    """A copy in host memory, pinned where there is CUDA."""
    found = torch.empty(x.shape, dtype=x.dtype, pin_memory=torch.cuda.is_available())
    return found.copy_(x)
