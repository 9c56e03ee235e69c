"""Recorded turns of sessions, in files beside their parked pasts."""

from __future__ import annotations

import os
import struct
import time
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from hashlib import blake2b
from pathlib import Path

from ..engine import atomic
from ..engine.records import HASHED, PARKED, name_of, space_of
from .turns import KEY_BYTES

MAGIC, SUFFIX = b"FLTURN01", ".turns"
DIGEST_BYTES = 32
# a turn: its key, and how many tokens were drawn
HEAD = struct.Struct(f"<{KEY_BYTES}sI")
# seconds that a file may be without a parked past, which is written at the same time
ALONE = 60.0
# bytes of one file
MOST = 8 << 20

Drawn = Mapping[bytes, Sequence[int]]
UNREADABLE = OSError, ValueError, struct.error


class TurnFiles:
    """A file for each session in `folder`, where an `engine.store.Store` keeps their pasts; it goes
    when that has gone. What is damaged, or of another `fingerprint` (of the tokenizer), is as if
    it were not there. Nothing raises where the disk fails: without turns a text is read again.
    """

    def __init__(self, folder: Path, fingerprint: bytes) -> None:
        atomic.check_byte_order()
        self.folder = folder
        self._head = MAGIC + blake2b(fingerprint, digest_size=DIGEST_BYTES).digest()
        self._swept: dict[Path, float] = {}

    def read(self) -> dict[bytes, list[int]]:
        """All turns by their keys, the longest unused first."""
        found: dict[bytes, list[int]] = {}
        with suppress(OSError):
            spaces = [f for f in self.folder.iterdir() if HASHED.fullmatch(f.name)]
            for space in spaces:
                self._sweep(space)
            files = [f for space in spaces for f in space.glob("*" + SUFFIX)]
            for file in sorted(files, key=lambda f: f.stat().st_mtime):
                with suppress(*UNREADABLE):
                    with atomic.open_file(file) as opened:
                        data = opened.read(MOST + 1)
                    turns = dict(self._turns(data))
                    # what two conversations share counts as used by the later
                    for key in turns:
                        found.pop(key, None)
                    found.update(turns)
        return found

    def write(self, namespace: str, session: str, turns: Drawn) -> None:
        """Keep a conversation's turns in place of what the session had."""
        parts = [self._head]
        for key, drawn in turns.items():
            parts += [HEAD.pack(key, len(drawn)), array("I", drawn).tobytes()]
        data = b"".join(parts)
        data += blake2b(data, digest_size=DIGEST_BYTES).digest()
        path = self._path(namespace, session)
        if len(data) > MOST:
            return
        with suppress(OSError):
            self._sweep(path.parent)
            atomic.write(path, [memoryview(data)], time.time(), nullcontext(), lambda: None)

    def copy(self, namespace: str, session: str, to: str) -> None:
        """Keep a session's turns under another name too."""
        with suppress(*UNREADABLE):
            with atomic.open_file(self._path(namespace, session)) as file:
                turns = dict(self._turns(file.read(MOST + 1)))
            self.write(namespace, to, turns)

    def delete(self, namespace: str, session: str) -> None:
        """Unlink a session's turns."""
        with suppress(OSError):
            path = self._path(namespace, session)
            path.unlink(missing_ok=True)
            atomic.sync(path.parent)

    def _path(self, namespace: str, session: str) -> Path:
        return self.folder / space_of(namespace) / (name_of(b"", session) + SUFFIX)

    def _turns(self, data: bytes) -> Iterator[tuple[bytes, list[int]]]:
        """ValueError if a file is not what `write` wrote."""
        body, digest = data[:-DIGEST_BYTES], data[-DIGEST_BYTES:]
        is_ours = body.startswith(self._head) and len(data) <= MOST
        if not is_ours or blake2b(body, digest_size=DIGEST_BYTES).digest() != digest:
            raise ValueError("it is damaged, or of another tokenizer")
        at = len(self._head)
        while at < len(body):
            key, count = HEAD.unpack_from(body, at)
            at += HEAD.size + 4 * count
            if at > len(body):
                raise ValueError("a turn goes beyond its end")
            yield key, array("I", body[at - 4 * count : at]).tolist()

    def _sweep(self, space: Path) -> None:
        """Unlink files whose parked past has gone; a folder is looked at once a minute."""
        now = time.time()
        if not space.exists() or now - self._swept.get(space, 0.0) < ALONE:
            return
        self._swept[space] = now
        entries = {e.name: e for e in os.scandir(space)}
        for name, entry in entries.items():
            is_alone = name.endswith(SUFFIX) and name.removesuffix(SUFFIX) + PARKED not in entries
            if is_alone and now - entry.stat(follow_symlinks=False).st_mtime > ALONE:
                Path(entry.path).unlink(missing_ok=True)
