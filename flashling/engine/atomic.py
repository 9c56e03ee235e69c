"""Files that appear whole or not at all, and are opened by nobody else."""

from __future__ import annotations

import fcntl
import os
import secrets
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from io import BufferedReader
from pathlib import Path

DRAFT = ".draft"


def write(
    path: Path,
    chunks: Sequence[memoryview],
    used: float,
    lock: AbstractContextManager[object],
    commit: Callable[[], None],
) -> None:
    """A file that appears whole or not at all, even if the machine stops here; `commit` is called
    as it appears, under `lock`. used: seconds, its time of modification. OSError leaves nothing.
    """
    if not path.parent.exists():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        sync(path.parent.parent)
    draft = path.with_name(f"{path.stem}-{secrets.token_hex(4)}{DRAFT}")
    try:
        with open(draft, "xb", opener=_private) as file:
            # a draft that nobody locks was left by a process that ended
            fcntl.flock(file, fcntl.LOCK_EX)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.utime(file.fileno(), (used, used))
            os.fsync(file.fileno())
            with lock:
                draft.rename(path)
                commit()
        sync(path.parent)
    except BaseException:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise


def open_file(path: Path) -> BufferedReader:
    """Open for reading, but never through a link, and without waiting for a pipe."""
    return open(path, "rb", opener=_private)


def sync(folder: Path) -> None:
    """Make what was renamed or unlinked in a folder last."""
    number = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sweep(draft: Path) -> None:
    """Unlink a draft unless somebody is writing it."""
    with suppress(OSError), open_file(draft) as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        draft.unlink()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)


def check_byte_order() -> None:
    """ValueError on a machine whose memory is not laid out as the file is."""
    if sys.byteorder != "little":
        raise ValueError("parked files are little-endian; this machine is not, use no disk tier")
