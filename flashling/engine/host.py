"""The tier in host memory, pinned where there is CUDA."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from . import parked
from .cache import Snapshot
from .records import Key, Record, Records, name_of, pack, space_of, unpack


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
        record = self._place((namespace, tuple(tokens), session), parked.size_of(snapshot, pages))
        if record is None:
            return False
        owned = list(map(_own, parked.tensors_of(snapshot, pages)))
        self._hold(record, namespace, *parked.joined(snapshot.base, owned))
        return True

    def take(self, key: Key, snapshot: Snapshot, pages: Tensor) -> bool:
        """As `put`, of tensors in host memory that are nobody else's: no copies."""
        record = self._place(key, parked.size_of(snapshot, pages))
        if record is not None:
            self._hold(record, key[0], snapshot, pages)
        return record is not None

    def _place(self, key: Key, size: int) -> Record | None:
        """Room for so many bytes; None if they are larger than the budget."""
        namespace, tokens, session = key
        packed = pack(tokens)
        name, space = name_of(packed, session), space_of(namespace)
        # even if the next does not fit, a session's former past must not outlive it
        before = self._records.named(space, name)
        if before is not None:
            self._drop(before)
        if size > self.budget_bytes:
            self.stats["too large"] += 1
            return None
        while self.nbytes + size > self.budget_bytes:
            self._evict()
        return Record(space, name, packed, session, size, time.time())

    def _hold(self, record: Record, namespace: str, snapshot: Snapshot, pages: Tensor) -> None:
        parked.clear_rest(pages, record.length)
        self._held[record] = namespace, snapshot, pages
        self._records.add(record)
        self.stats["stored"] += 1

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


def _own(x: Tensor) -> Tensor:
    """A copy in host memory, pinned where there is CUDA."""
    found = torch.empty(x.shape, dtype=x.dtype, pin_memory=torch.cuda.is_available())
    return found.copy_(x)
