"""Files of recorded turns: what was written is read, and nothing else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from flashling.engine.records import PARKED
from flashling.llm import turn_files
from flashling.llm.turn_files import SUFFIX, TurnFiles

TURNS = {bytes([i] * 16): list(range(i, 3 * i)) for i in range(1, 5)}


def park(folder: Path) -> None:
    """A past beside each file of turns."""
    for file in folder.glob("*/*" + SUFFIX):
        file.with_suffix(PARKED).touch()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    files = TurnFiles(tmp_path, b"tokenizer")
    files.write("ann", "a", TURNS)
    files.write("bob", "a", {b"k" * 16: [7]})
    files.write("ann", "a", {**TURNS, b"n" * 16: []})
    files.copy("ann", "a", "b")
    files.copy("ann", "none", "c")
    park(tmp_path)
    assert len(list(tmp_path.glob("*/*" + SUFFIX))) == 3
    whole = {**TURNS, b"n" * 16: [], b"k" * 16: [7]}
    assert TurnFiles(tmp_path, b"tokenizer").read() == whole
    assert TurnFiles(tmp_path, b"another").read() == {}
    files.delete("ann", "a")
    files.delete("ann", "a")
    assert TurnFiles(tmp_path, b"tokenizer").read() == whole
    files.delete("ann", "b")
    assert TurnFiles(tmp_path, b"tokenizer").read() == {b"k" * 16: [7]}
    # others must not read what was said
    (file,) = tmp_path.glob("*/*" + SUFFIX)
    assert file.stat().st_mode & 0o77 == 0


SPOILERS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda d: b"",
    "cut": lambda d: d[:-1],
    "half": lambda d: d[: len(d) // 2],
    "longer": lambda d: d + b"\0",
    "magic": lambda d: b"X" + d[1:],
    "a bit": lambda d: d[:60] + bytes([d[60] ^ 1]) + d[61:],
    "a count": lambda d: signed(d[:40] + b"k" * 16 + b"\xff\xff\xff\x7f"),
    "half a head": lambda d: signed(d[:40] + b"k" * 7),
}


def signed(body: bytes) -> bytes:
    return body + turn_files.blake2b(body, digest_size=turn_files.DIGEST_BYTES).digest()


@pytest.mark.parametrize("name", SPOILERS)
def test_what_is_damaged_is_not(name: str, tmp_path: Path) -> None:
    files = TurnFiles(tmp_path, b"tokenizer")
    files.write("", "good", {b"g" * 16: [1]})
    files.write("", "bad", TURNS)
    park(tmp_path)
    path = files._path("", "bad")
    path.write_bytes(SPOILERS[name](path.read_bytes()))
    assert files.read() == {b"g" * 16: [1]}
    files.copy("", "bad", "copy")
    assert not files._path("", "copy").exists()


def test_turns_go_with_their_past(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = TurnFiles(tmp_path, b"tokenizer")
    files.write("", "kept", TURNS)
    park(tmp_path)
    files.write("", "alone", {b"a" * 16: [1]})
    # its past may still be written
    assert b"a" * 16 in TurnFiles(tmp_path, b"tokenizer").read()
    old = time.time() - 2 * turn_files.ALONE
    for name in ("kept", "alone"):
        os.utime(files._path("", name), (old, old))
    assert TurnFiles(tmp_path, b"tokenizer").read() == TURNS
    assert not files._path("", "alone").exists()
    # a disk that fails costs the turns, not the answer
    tmp_path.joinpath("x").touch()
    broken = TurnFiles(tmp_path / "x", b"tokenizer")
    broken.write("", "a", TURNS)
    broken.delete("", "a")
    assert broken.read() == {}
    monkeypatch.setattr(turn_files, "MOST", 100)
    files.write("", "wide", TURNS)
    assert not files._path("", "wide").exists()
