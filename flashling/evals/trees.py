"""The folders that shell requests are about, built the same each time from `data/trees.txt` (and
`data/repo.sh` for the git repository); ages of files count back from the moment of use.

`trees.txt` is a list of `=== tree` and `--- path | fields` headers, each path followed by its
text. Fields: `age=3d` (or h) or `date=2024-03-05T18:00`; `mode=755`; `size=40k` (noise behind the
magic number of its suffix); `same=PATH` (the noise of that path); `link=TARGET`; `pack` (an
archive: each line is `member: text`); `crlf`. A path that ends in `/` is an empty folder.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import re
import shutil
import subprocess
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
# where a command sees each tree, below its home
MOUNTS = {
    "project": "project",
    "docs": "documents",
    "logs": "logs",
    "etc": "etc",
    "home": "",
    "repo": "garden",
}
MAGIC = {
    ".deb": b"!<arch>\ndebian-binary   ",
    ".exe": b"MZ",
    ".jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    ".jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    ".mp3": b"ID3\3\0\0",
    ".pdf": b"%PDF-1.4\n",
    ".png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0\0\0\1\0\x08\2\0\0\0",
    ".db": b"SQLite format 3\0",
}
UNITS = {"h": 3600, "d": 86400}
# links and the fixture repository's folders: nothing asks for their age
OLD = 100 * 86400
# items are judged in threads, and a cached function may run in several before it is cached
_BUILDING = threading.Lock()


@dataclass(frozen=True)
class Piece:
    """A path of a tree: its text and the fields of its header."""

    path: str
    text: str
    fields: dict[str, str]


@cache
def pieces() -> dict[str, list[Piece]]:
    """The parsed `trees.txt`: pieces by tree."""
    found: dict[str, list[Piece]] = {}
    text = (DATA / "trees.txt").read_text(encoding="utf-8")
    for part in re.split(r"^=== ", text, flags=re.M)[1:]:
        name, _, rest = part.partition("\n")
        found[name] = [_piece(entry) for entry in re.split(r"^--- ", rest, flags=re.M)[1:]]
        # the blank line before the next tree belongs to no file
        last = found[name][-1]
        found[name][-1] = Piece(last.path, last.text.removesuffix("\n\n") + "\n", last.fields)
    return found


def _piece(entry: str) -> Piece:
    head, _, text = entry.partition("\n")
    path, _, fields = head.partition(" | ")
    pairs = (field.partition("=") for field in fields.split())
    return Piece(path, text, {key: value for key, _, value in pairs})


def mount(tree: str) -> str:
    """Where a command sees the tree. ValueError names the trees there are."""
    if tree not in MOUNTS:
        raise ValueError(f"tree {tree!r}: choose one of {', '.join(sorted(MOUNTS))}")
    return str(Path("/home/dev", MOUNTS[tree]))


@contextlib.contextmanager
def fresh(tree: str) -> Iterator[Path]:
    """A copy of a tree in a temporary folder, gone afterwards; its ages count from now."""
    mount(tree)
    holder = Path(tempfile.mkdtemp(prefix="flashling-tree-"))
    try:
        folder = holder / "tree"
        with _BUILDING:
            template = _template(tree)
        subprocess.run(["cp", "-a", str(template), str(folder)], check=True)
        _settle(folder, _ages(tree))
        yield folder
    finally:
        # a command may have taken away the right to enter a folder
        for path, _, _ in os.walk(holder):
            os.chmod(path, 0o700)
        shutil.rmtree(holder)


@cache
def _template(tree: str) -> Path:
    folder = Path(_templates().name, tree)
    folder.mkdir()
    folder.chmod(0o755)
    if tree == "repo":
        _repository(folder)
    for piece in pieces().get(tree, ()):
        _write(folder, piece)
    for path, names, _ in os.walk(folder):
        for name in names:
            if not (child := Path(path, name)).is_symlink():
                child.chmod(0o755)
    return folder


@cache
def _templates() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="flashling-trees-")


def _repository(folder: Path) -> None:
    author = {"GIT_AUTHOR_NAME": "Sam Reed", "GIT_AUTHOR_EMAIL": "sam@garden.example"}
    committer = {key.replace("AUTHOR", "COMMITTER"): value for key, value in author.items()}
    alone = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1", "TZ": "UTC"}
    line = ["bash", "-euc", (DATA / "repo.sh").read_text(encoding="utf-8")]
    env = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"} | author | committer | alone
    subprocess.run(["git", "--version"], check=True, capture_output=True)
    subprocess.run(line, cwd=folder, env=env, check=True, capture_output=True)
    for path, _, names in os.walk(folder):
        for name in names:
            # the objects of git are read-only and stay so
            if ".git" not in Path(path).parts:
                Path(path, name).chmod(0o644)


def _write(folder: Path, piece: Piece) -> None:
    path = folder / piece.path
    path.parent.mkdir(parents=True, exist_ok=True)
    if piece.path.endswith("/"):
        path.mkdir()
    elif "link" in piece.fields:
        path.symlink_to(piece.fields["link"])
    else:
        path.write_bytes(_content(piece))
        path.chmod(int(piece.fields.get("mode", "644"), 8))


def _content(piece: Piece) -> bytes:
    if size := piece.fields.get("size"):
        seed = piece.fields.get("same", piece.path)
        head = MAGIC.get(Path(seed).suffix.lower(), b"\0\1")
        noise = random.Random(seed).randbytes(int(size.removesuffix("k")) * 1024)
        return head + noise[len(head) :]
    if "pack" in piece.fields:
        return _packed(piece)
    text = piece.text.replace("\n", "\r\n") if "crlf" in piece.fields else piece.text
    return text.encode()


def _packed(piece: Piece) -> bytes:
    members: dict[str, str] = {}
    for line in piece.text.splitlines():
        name, _, text = line.partition(": ")
        members[name] = members.get(name, "") + text + "\n"
    out = io.BytesIO()
    if piece.path.endswith(".zip"):
        with zipfile.ZipFile(out, "w") as archive:
            for name, text in members.items():
                archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), text)
    elif ".tar" not in piece.path:
        return gzip.compress("".join(members.values()).encode(), mtime=0)
    else:
        mode: Any = {"tar": "w", "gz": "w:gz", "bz2": "w:bz2", "xz": "w:xz"}[
            piece.path.rpartition(".")[2]
        ]
        with tarfile.open(fileobj=out, mode=mode) as archive:
            for name, text in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(text.encode())
                archive.addfile(info, io.BytesIO(text.encode()))
    return out.getvalue()


@cache
def _ages(tree: str) -> dict[str, tuple[bool, float]]:
    """For each path but folders: whether its time counts back from now, and its seconds."""
    found = {}
    for piece in pieces().get(tree, ()):
        if "date" in piece.fields:
            moment = datetime.fromisoformat(piece.fields["date"]).replace(tzinfo=UTC)
            found[piece.path] = (False, moment.timestamp())
        elif age := piece.fields.get("age"):
            found[piece.path] = (True, float(age[:-1]) * UNITS[age[-1]])
    return found


def _settle(folder: Path, ages: dict[str, tuple[bool, float]]) -> None:
    """Set the times of a copy; a folder is as old as the oldest of what it holds."""
    now = time.time()
    whole = {path.rstrip("/"): now - t if back else t for path, (back, t) in ages.items()}
    for base, _, names in os.walk(folder, topdown=False):
        inside = Path(base).relative_to(folder)
        oldest = now - OLD
        for name in names:
            moment = whole.get(str(inside / name))
            if moment is not None:
                os.utime(Path(base, name), (moment, moment))
                oldest = min(oldest, moment)
        oldest = whole.get(str(inside), oldest)
        os.utime(base, (oldest, oldest))
