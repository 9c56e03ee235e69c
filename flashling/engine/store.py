"""The disk tier: parked prefixes that outlive the process."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import RLock

from torch import Tensor

from . import atomic, parked
from .cache import Snapshot
from .parked import Damaged
from .records import HASHED, PARKED, Record, Records, name_of, pack, space_of


class Store:
    """Files below `folder`, one folder for each namespace; names are hashes, so that no client
    chooses a path. Safe to call from several threads.

    fingerprint: what must be equal for a file to be of use (weights, quantisation, template,
    dtypes, rotary settings). quota_bytes: of all files; the longest unused goes first, before it
    what cannot be used. max_age_seconds: unused for so long, a file goes.

    stats counts what happened: stored, loaded, evicted, expired, deleted; too large, not finite,
    write failed for what was not stored; and by its reason what was skipped (magic, version,
    size, digest, dtype, shape, session, name, fingerprint, namespace, not finite, missing,
    replaced, unreadable).
    """

    name = "disk"

    def __init__(
        self,
        folder: Path,
        fingerprint: bytes,
        quota_bytes: int,
        max_age_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        atomic.check_byte_order()
        self.folder, self.quota_bytes, self.max_age_seconds = folder, quota_bytes, max_age_seconds
        self.stats: Counter[str] = Counter()
        self._fingerprint = parked.hashed(fingerprint)
        self._clock, self._lock = clock, RLock()
        self._records = Records()
        # files that cannot be used: when last touched, bytes. They count until they are removed
        self._useless: dict[Path, tuple[float, int]] = {}
        self._being_written = 0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._scan()
        self._expire()
        self._make_room(0)

    def __len__(self) -> int:
        return len(self._records)

    @property
    def nbytes(self) -> int:
        """Bytes of all files, with those that are being written."""
        useless = sum(n for _, n in self._useless.values())
        return self._records.nbytes + useless + self._being_written

    def put(
        self,
        namespace: str,
        tokens: Sequence[int],
        snapshot: Snapshot,
        pages: Tensor,
        session: str | None = None,
    ) -> bool:
        """Write a prefix: its snapshot and pages [n, M, 64, R + P] from any device; whether it is
        safe on the disk. A session's former file is replaced. ValueError if they do not belong
        together; a full disk is counted, never raised.
        """
        parked.check(len(tokens), snapshot, pages)
        key, space = pack(tokens), space_of(namespace)
        pages = pages.to("cpu", copy=True)
        parked.clear_rest(pages, len(tokens))
        if not parked.is_finite(snapshot, pages):
            self.stats["not finite"] += 1
            return False
        owner = self._fingerprint, parked.hashed(space.encode())
        tensors = [x.cpu() for x in parked.tensors_of(snapshot, pages)]
        head, chunks = parked.encode(owner, key, session, tensors)
        size, name = len(head) + sum(map(len, chunks)), name_of(key, session)
        now, digest = self._clock(), head[-parked.DIGEST_BYTES :]
        record = Record(space, name, key, session, size, now, digest)
        if not self._reserve(record):
            self.stats["too large"] += 1
            return False
        try:
            self._write(record, [memoryview(head), *chunks])
        except OSError:
            self.stats["write failed"] += 1
            return False
        finally:
            with self._lock:
                self._being_written -= size
        self.stats["stored"] += 1
        return True

    def match(self, namespace: str, tokens: Sequence[int], most: int) -> Record | None:
        """The longest stored prefix of `tokens` that has at most `most` of them."""
        key, space = pack(tokens[: max(0, most)]), space_of(namespace)
        with self._lock:
            while (found := self._records.longest(space, key)) and self._is_old(found.used):
                self._remove(found, "expired")
        return found

    def session(self, namespace: str, name: str) -> Record | None:
        """What was parked last under a session's name."""
        with self._lock:
            found = self._records.named(space_of(namespace), name_of(b"", name))
            if found and self._is_old(found.used):
                self._remove(found, "expired")
                return None
        return found

    def named(self, namespace: str) -> list[Record]:
        """All that is stored under sessions' names."""
        with self._lock:
            found = self._records.sessions(space_of(namespace))
        return [r for r in found if not self._is_old(r.used)]

    def load(self, record: Record) -> tuple[Snapshot, Tensor] | None:
        """Snapshot and pages on the CPU, checked against their digest; None if the file is gone or
        damaged, which is counted, and it will not be found again.
        """
        path = self._path(record)
        try:
            with atomic.open_file(path) as file:
                head = parked.read_head(file, os.fstat(file.fileno()).st_size)
                if head.digest != record.digest:
                    raise Damaged("replaced")
                found = parked.read_tensors(file, head)
        except (Damaged, FileNotFoundError) as error:
            reason = error.reason if isinstance(error, Damaged) else "missing"
            with self._lock:
                self.stats[reason] += 1
                if self._records.remove(record) and reason not in ("missing", "replaced"):
                    self._useless[path] = record.used, record.nbytes
            return None
        except OSError:
            self.stats["unreadable"] += 1
            return None
        record.used = self._clock()
        with suppress(OSError):
            os.utime(path, (record.used, record.used))
        self.stats["loaded"] += 1
        return found

    def holds(self, record: Record) -> bool:
        """Whether it is stored, and for the present weights."""
        with self._lock:
            return self._records.named(record.space, record.name) is record

    def delete(self, record: Record) -> bool:
        """Unlink a file; False if it is not here or cannot be unlinked."""
        with self._lock:
            return self._remove(record, "deleted")

    def update(self, fingerprint: bytes) -> None:
        """Go on with other weights: what was stored for the former ones is unlinked."""
        with self._lock:
            self._fingerprint = parked.hashed(fingerprint)
            for record in self._records:
                self._remove(record, "deleted")

    def _path(self, record: Record) -> Path:
        return self.folder / record.space / (record.name + PARKED)

    def _is_old(self, used: float) -> bool:
        return self._clock() - used > self.max_age_seconds

    def _reserve(self, record: Record) -> bool:
        """Make room for a file that is to be written; False if it is larger than the quota."""
        with self._lock:
            self._expire()
            if self._being_written + record.nbytes > self.quota_bytes:
                return False
            before = self._records.named(record.space, record.name)
            self._make_room(record.nbytes, before)
            self._being_written += record.nbytes
            return True

    def _make_room(self, need: int, spared: Record | None = None) -> None:
        """Unlink until `need` bytes are free. `spared` is about to be replaced: it counts as free,
        but stays until its successor is whole.
        """
        need -= spared.nbytes if spared else 0
        useless = sorted(self._useless, key=lambda p: self._useless[p])
        records = sorted((r for r in self._records if r is not spared), key=lambda r: r.used)
        for path in useless:
            if self.nbytes + need > self.quota_bytes:
                self._remove_useless(path, "evicted")
        for record in records:
            if self.nbytes + need > self.quota_bytes:
                self._remove(record, "evicted")

    def _expire(self) -> None:
        for record in self._records:
            if self._is_old(record.used):
                self._remove(record, "expired")
        for path, (used, _) in list(self._useless.items()):
            if self._is_old(used):
                self._remove_useless(path, "expired")

    def _remove(self, record: Record, why: str) -> bool:
        if not self._records.remove(record):
            return False
        path = self._path(record)
        self._useless[path] = record.used, record.nbytes
        return self._remove_useless(path, why)

    def _remove_useless(self, path: Path, why: str) -> bool:
        try:
            path.unlink(missing_ok=True)
            atomic.sync(path.parent)
        except OSError:
            # it counts until it can be unlinked
            self.stats["unlink failed"] += 1
            return False
        del self._useless[path]
        self.stats[why] += 1
        return True

    def _write(self, record: Record, chunks: Sequence[memoryview]) -> None:
        """Appear whole or not at all, even if the machine stops here."""
        path = self._path(record)

        def commit() -> None:
            self._useless.pop(path, None)
            self._records.add(record)

        atomic.write(path, chunks, record.used, self._lock, commit)

    def _scan(self) -> None:
        """Rebuild the index from the headers; what is not whole or not ours is counted."""
        for folder in _entries(self.folder):
            if HASHED.fullmatch(folder.name) and folder.is_dir(follow_symlinks=False):
                for entry in _entries(folder.path):
                    if entry.name.endswith(atomic.DRAFT):
                        atomic.sweep(Path(entry.path))
                    elif entry.name.endswith(PARKED):
                        self._admit(folder.name, Path(entry.path))

    def _admit(self, space: str, path: Path) -> None:
        try:
            with atomic.open_file(path) as file:
                status = os.fstat(file.fileno())
                try:
                    head = parked.read_head(file, status.st_size)
                    if head.fingerprint != self._fingerprint:
                        raise Damaged("fingerprint")
                    if head.namespace != parked.hashed(space.encode()):
                        raise Damaged("namespace")
                    name = name_of(head.tokens, head.session)
                    if path.name != name + PARKED:
                        raise Damaged("name")
                except Damaged as error:
                    self.stats[error.reason] += 1
                    self._useless[path] = status.st_mtime, status.st_size
                    return
        except OSError:
            self.stats["unreadable"] += 1
            return
        size, used = status.st_size, status.st_mtime
        self._records.add(Record(space, name, head.tokens, head.session, size, used, head.digest))


def _entries(folder: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as found:
            return sorted(found, key=lambda e: e.name)
    except OSError:
        return []
