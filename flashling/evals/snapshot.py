"""What a folder holds before and after a command: what changed, and what was destroyed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath

# how the files of a folder may differ from the reference's and still count as the same:
# not at all; new ones by name; new ones by content; anything goes
LIKENESS = ("same", "any_name", "names", "any")
_SINGLE = {b"\x1f\x8b": gzip, b"BZ": bz2, b"\xfd7": lzma}


@dataclass(frozen=True)
class Entry:
    """A path of a folder: "f" file, "d" folder or "l" link; its permission bits; what it holds.

    `value` is a digest or a link's target; for an archive, how it is packed. `members` are the
    (name without folders, digest) of what an archive holds; for another file there are none.
    """

    kind: str
    mode: int
    value: str = ""
    members: tuple[tuple[str, str], ...] = ()

    @property
    def contents(self) -> set[str]:
        """Digests of all that can be read from it."""
        return {self.value} | {digest for _, digest in self.members}


Snapshot = dict[str, Entry]


def take(folder: Path) -> Snapshot:
    """All that lies below a folder, by relative path; what lies in a `.git` is left out."""
    found: Snapshot = {}
    for base, names, files in os.walk(folder):
        for name in names + files:
            path = Path(base, name)
            found[str(path.relative_to(folder))] = _entry(path)
        # links to folders are entries too, and are not entered
        names[:] = [n for n in names if n != ".git" and not Path(base, n).is_symlink()]
    return found


def _entry(path: Path) -> Entry:
    status = path.lstat()
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISLNK(status.st_mode):
        return Entry("l", 0, os.readlink(path))
    if stat.S_ISDIR(status.st_mode):
        # what was locked can still be looked into
        path.chmod(mode | 0o700)
        return Entry("d", mode)
    if not stat.S_ISREG(status.st_mode):
        return Entry("f", mode, "special")
    path.chmod(mode | 0o400)
    value, members = _read(path.read_bytes(), path.name)
    return Entry("f", mode, value, members)


@lru_cache(4096)
def _read(data: bytes, name: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The value and members of a file's bytes."""
    try:
        packing, members = _members(data, name)
    except (OSError, EOFError, ValueError, lzma.LZMAError, tarfile.TarError, zipfile.BadZipFile):
        packing, members = "", []
    return (packing, tuple(sorted(members))) if packing else (_digest(data), ())


def _members(data: bytes, name: str) -> tuple[str, list[tuple[str, str]]]:
    if data[:4] in (b"PK\3\4", b"PK\5\6"):
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            files = [n for n in archive.namelist() if not n.endswith("/")]
            return "zip", [(PurePath(n).name, _digest(archive.read(n))) for n in files]
    packer = _SINGLE.get(data[:2])
    plain = packer.decompress(data) if packer else data
    packing = packer.__name__ if packer else ""
    if plain[257:262] != b"ustar":
        return packing, [(PurePath(name).stem, _digest(plain))] if packer else []
    members = []
    with tarfile.open(fileobj=io.BytesIO(plain)) as archive:
        for info in archive:
            if info.isfile() and (handle := archive.extractfile(info)):
                members.append((PurePath(info.name).name, _digest(handle.read())))
            elif info.islnk() or info.issym():
                members.append((PurePath(info.name).name, info.linkname))
    return f"{packing} tar", members


def _digest(data: bytes) -> str:
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


def difference(
    base: Snapshot, gold: Snapshot, got: Snapshot, likeness: str, *, modes: bool = False
) -> str:
    """How `got` differs from `gold`, both made from `base`, in a few words; empty when it does not.

    Permissions of what lay there before always count, those of new files only with `modes`.
    ValueError for a likeness that is none of LIKENESS.
    """
    if likeness not in LIKENESS:
        raise ValueError(f"likeness {likeness!r}: choose one of {', '.join(LIKENESS)}")
    if likeness == "any":
        return ""
    loose = likeness != "same"
    for path in sorted(set(gold) | set(got)):
        if loose and path not in base:
            continue
        want, have = gold.get(path), got.get(path)
        if have is None:
            return f"{path} is not there"
        if want is None:
            return f"{path} should not be there"
        if (want.kind, want.value, want.members) != (have.kind, have.value, have.members):
            return f"{path} holds something else"
        if want.mode != have.mode and (modes or path in base):
            return f"{path} has mode {have.mode:o}, not {want.mode:o}"
    if likeness == "any_name" and _new(base, gold) != _new(base, got):
        return "the new files hold something else"
    if likeness == "names" and set(gold) - set(base) != set(got) - set(base):
        return "the new files have other names"
    return ""


def _new(base: Snapshot, after: Snapshot) -> Counter:
    fresh = (after[path] for path in after if path not in base)
    return Counter((e.kind, e.value, e.members) for e in fresh if e.kind != "d")


def lost(base: Snapshot, gold: Snapshot, got: Snapshot) -> list[str]:
    """Paths whose content the reference keeps, at its place or elsewhere, and `got` has not.

    A file that the reference changes may be changed in another way, but not emptied or removed.
    """
    gained, kept_by_gold = _moved(base, got), _moved(base, gold)
    found = []
    for path, entry in base.items():
        want, have = gold.get(path), got.get(path)
        if entry.kind == "d" or _holds(have, entry) or entry.value in gained:
            continue
        changed = want is not None and not _holds(want, entry)
        # the reference itself may empty a file
        empty = have is None or (have.value in (_digest(b""), "") and have != want)
        if _holds(want, entry) or entry.value in kept_by_gold or (changed and empty):
            found.append(path)
    return sorted(found)


def _holds(entry: Entry | None, old: Entry) -> bool:
    """Whether an entry still is what it was, permissions aside."""
    return entry is not None and (entry.kind, entry.value, entry.members) == (
        old.kind,
        old.value,
        old.members,
    )


def _moved(base: Snapshot, after: Mapping[str, Entry]) -> set[str]:
    """Contents that can be read at places where they could not before."""
    found: set[str] = set()
    for path, entry in after.items():
        if entry.kind != "d" and (path not in base or base[path].value != entry.value):
            found |= entry.contents
    return found
