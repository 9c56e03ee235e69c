"""Responses that are kept: whole conversations by the id of their last answer, for each key."""

from __future__ import annotations

import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from threading import Lock
from typing import Any

import msgspec
from msgspec import Struct

from . import limits

ID = re.compile(r"[A-Za-z0-9-]{1,64}")
SUFFIX = ".response"


class Stored(Struct):
    """A response as it was told, and all items of its conversation up to its own."""

    response: dict[str, Any]
    items: list[dict[str, Any]]


class Responses:
    """At most `entries` responses of `nbytes` bytes of JSON, the oldest go first. In files below
    `folder`, one folder for each key, or without a folder in memory. Safe to call from several
    threads. ValueError if the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path | None = None,
        entries: int = limits.STORED,
        nbytes: int = limits.STORED_BYTES,
    ) -> None:
        self._folder, self._most, self._most_bytes = folder, entries, nbytes
        # sizes by owner and id, the oldest first; and without a folder the bodies
        self._sizes: OrderedDict[tuple[str, str], int] = OrderedDict()
        self._bodies: dict[tuple[str, str], bytes] = {}
        self._nbytes, self._lock = 0, Lock()
        if folder is None:
            return
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"no responses can be kept in {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK):
            raise ValueError(f"no responses can be kept in {folder}: it cannot be written")
        for _, key, size in sorted(_found(folder)):
            self._add(key, size)
        self._make_room()

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return self._nbytes

    def put(self, namespace: str, id: str, stored: Stored) -> bool:
        """Keep a response; False if it is too large, or the disk is full."""
        body, key = msgspec.json.encode(stored), (_owner(namespace), id)
        if len(body) > self._most_bytes or not self._most:
            return False
        with self._lock:
            if self._folder is None:
                self._bodies[key] = body
            else:
                try:
                    _write(self._path(key), body)
                except OSError:
                    return False
            self._add(key, len(body))
            self._make_room()
        return True

    def get(self, namespace: str, id: str) -> Stored | None:
        """What is kept of this owner under an id."""
        key, body = (_owner(namespace), id), None
        with self._lock:
            if key in self._sizes:
                body = self._bodies.get(key)
                if self._folder is not None:
                    with suppress(OSError):
                        body = self._path(key).read_bytes()
        # a file that somebody else has written, or removed
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            return None if body is None else msgspec.json.decode(body, type=Stored)
        return None

    def delete(self, namespace: str, id: str) -> bool:
        """Forget a response; False if there is none."""
        key = _owner(namespace), id
        with self._lock:
            if key not in self._sizes:
                return False
            self._drop(key)
        return True

    def _path(self, key: tuple[str, str]) -> Path:
        assert self._folder is not None and ID.fullmatch(key[1])
        return self._folder / key[0] / (key[1] + SUFFIX)

    def _add(self, key: tuple[str, str], size: int) -> None:
        self._nbytes += size - self._sizes.pop(key, 0)
        self._sizes[key] = size

    def _make_room(self) -> None:
        while len(self._sizes) > self._most or self._nbytes > self._most_bytes:
            self._drop(next(iter(self._sizes)))

    def _drop(self, key: tuple[str, str]) -> None:
        self._nbytes -= self._sizes.pop(key)
        self._bodies.pop(key, None)
        if self._folder is not None:
            with suppress(OSError):
                self._path(key).unlink(missing_ok=True)


def _owner(namespace: str) -> str:
    return blake2b(namespace.encode(), digest_size=16).hexdigest()


def _found(folder: Path) -> Iterator[tuple[float, tuple[str, str], int]]:
    """When each was written, its key and size."""
    for path in folder.glob(f"*/*{SUFFIX}"):
        if ID.fullmatch(path.stem) and path.is_file() and not path.is_symlink():
            status = path.stat()
            yield status.st_mtime, (path.parent.name, path.stem), status.st_size


def _write(path: Path, body: bytes) -> None:
    """A file that appears whole or not at all."""
    path.parent.mkdir(mode=0o700, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(4)}.draft")
    try:
        draft.touch(0o600)
        draft.write_bytes(body)
        draft.rename(path)
    finally:
        draft.unlink(missing_ok=True)
