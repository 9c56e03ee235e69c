"""One file: fetched, gone on with where it was left, and checked before it gets its name."""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

from .hubs import Remote
from .web import Flaky, OutOfRange, PullError, Web

CHUNK = 1 << 20
# attempts in a row that bring nothing, and the wait before the second; it doubles each time
ATTEMPTS = 6
WAIT_S = 1.0
FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "your share of the disk is full",
    errno.EFBIG: "this disk takes no file of its size",
}
# (file, its bytes that are here)
Watch = Callable[[Remote, int], None]


class Stopped(Exception):
    """Another file has failed, or the person has left."""


def fetch(web: Web, remote: Remote, folder: Path, watch: Watch, stop: Event) -> None:
    """Bring `remote` into `folder`, beside its place until it is whole and checked.

    What lies there from before is gone on with; a whole file is checked, not fetched. PullError
    where it cannot be had, where what is here is another file, or where its digest is wrong.
    """
    place = folder / remote.name
    if place.exists():
        _check(place, remote, watch, stop)
        return
    part = Part(folder / f"{remote.name}.part", remote, watch, stop)
    try:
        patiently(lambda: part.go_on(web), stop, lambda: part.at)
        part.check()
    finally:
        part.file.close()
    os.replace(part.path, place)


class Part:
    """The beginning of a file, on disk and in a digest."""

    def __init__(self, path: Path, remote: Remote, watch: Watch, stop: Event) -> None:
        self.path, self.remote, self.watch, self.stop = path, remote, watch, stop
        # unbuffered: what a full disk does not take must not come up again when it is closed
        self.file = open(path, "a+b", buffering=0)  # noqa: SIM115
        self.digest = _digest(remote)
        self.at = 0
        self._read()

    def _read(self) -> None:
        """Take in what is there from before."""
        if os.fstat(self.file.fileno()).st_size > self.remote.size:
            self.restart()
        self.file.seek(0)
        while data := self.file.read(CHUNK):
            self._count(data)

    def restart(self) -> None:
        """Begin anew."""
        self.file.truncate(0)
        self.digest, self.at = _digest(self.remote), 0

    def go_on(self, web: Web) -> None:
        """Fetch what is missing. Flaky where the connection breaks off before that."""
        if self.at == self.remote.size:
            return
        try:
            answer = web.open(self.remote.url, self.at)
        except OutOfRange:
            self.restart()
            raise Flaky(f"{web.hub} has no more of {self.remote.name}") from None
        with answer:
            if self.at and not _continues(answer, self.at):
                self.restart()
            while self.at < self.remote.size:
                self._write(_next(answer, self.remote, self.at, web))

    def _write(self, data: bytes) -> None:
        left = memoryview(data)
        try:
            while left:
                left = left[self.file.write(left) :]
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise PullError(
                f"{self.path}: {FULL[error.errno]}; what is here is kept: make room, or name "
                "another folder with --to, and run again"
            ) from None
        self._count(data)

    def _count(self, data: bytes) -> None:
        self.digest.update(data)
        self.at += len(data)
        self.watch(self.remote, self.at)
        if self.stop.is_set():
            raise Stopped

    def check(self) -> None:
        """Put all on disk; PullError, and the part deleted, where the digest is another."""
        os.fsync(self.file.fileno())
        if self.remote.digest and self.digest.hexdigest() != self.remote.digest[1].lower():
            self.path.unlink()
            raise PullError(
                f"{self.remote.name} came with another {_named(self.remote)} than was announced "
                "and is deleted: run again to fetch it anew"
            )


def patiently(
    attempt: Callable[[], Any],
    stop: Event,
    progress: Callable[[], int] = lambda: 0,
    attempts: int = ATTEMPTS,
) -> Any:
    """attempt(), again and again while it is Flaky, with longer and longer waits; PullError after
    `attempts` in a row without progress().
    """
    failed, reached = 0, progress()
    while True:
        try:
            return attempt()
        except Flaky as error:
            failed = 1 if progress() != reached else failed + 1
            reached = progress()
            if failed == attempts:
                raise PullError(str(error)) from None
            if stop.wait(max(error.wait, WAIT_S * 2 ** (failed - 1))):
                raise Stopped from None


def _check(place: Path, remote: Remote, watch: Watch, stop: Event) -> None:
    digest, at = _digest(remote), 0
    if place.stat().st_size == remote.size:
        with open(place, "rb") as file:
            while data := file.read(CHUNK):
                digest.update(data)
                at += len(data)
                watch(remote, at)
                if stop.is_set():
                    raise Stopped
    known = remote.digest is None or digest.hexdigest() == remote.digest[1].lower()
    if at != remote.size or not known:
        raise PullError(
            f"{place} is another file than the hub's: delete it, or name another folder with --to"
        )


def _digest(remote: Remote) -> Any:
    if remote.digest and remote.digest[0] == "git":
        return hashlib.sha1(f"blob {remote.size}\0".encode(), usedforsecurity=False)
    return hashlib.sha256()


def _named(remote: Remote) -> str:
    assert remote.digest is not None
    return "SHA-256" if remote.digest[0] == "sha256" else "git SHA-1"


def _continues(answer: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer begins at byte `start`, not at the beginning of the file."""
    said = answer.headers.get("Content-Range", f"bytes {start}-")
    return answer.status == 206 and said.startswith(f"bytes {start}-")


def _next(answer: http.client.HTTPResponse, remote: Remote, at: int, web: Web) -> bytes:
    try:
        data = answer.read(min(CHUNK, remote.size - at))
    except (OSError, http.client.HTTPException):
        data = b""
    if not data:
        raise Flaky(
            f"{web.hub} breaks off {remote.name} again and again; what is here is kept: run again "
            "to go on"
        )
    return data
