"""Looking at files below one folder, and nowhere else."""

from __future__ import annotations

from pathlib import Path

MOST_ENTRIES, MOST_BYTES = 200, 64_000


def inside(folder: Path, name: str) -> Path:
    """The real path of `name` below `folder`, links resolved; ValueError when it leads outside,
    or through a hidden name (keys and histories live there).
    """
    root = folder.resolve()
    try:
        real = (root / name).resolve()
    except (OSError, RuntimeError, ValueError):
        raise ValueError(f"{name!r} is not a usable path") from None
    if not real.is_relative_to(root):
        raise ValueError(f"{name!r} is outside the current folder; give a path below it")
    if any(part.startswith(".") for part in real.relative_to(root).parts):
        raise ValueError(f"{name!r} is hidden; hidden files are not shown to the model")
    return real


def list_files(folder: Path, name: str = ".") -> str:
    """The entries of a folder, one per line, folders with a slash and files with their bytes."""
    place = inside(folder, name or ".")
    if not place.is_dir():
        raise ValueError(f"{name!r} is no folder")
    lines = []
    for entry in sorted(place.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            lines.append(f"{entry.name}/")
        elif entry.is_file():
            lines.append(f"{entry.name}  {entry.stat().st_size} bytes")
    more = len(lines) - MOST_ENTRIES
    tail = [f"... and {more} more"] if more > 0 else []
    return "\n".join([*lines[:MOST_ENTRIES], *tail]) or "(empty)"


def read_file(folder: Path, name: str, first_line: int = 1, lines: int = 200) -> str:
    """`lines` lines of a text file from line `first_line` (counted from 1), within 64 kB."""
    place = inside(folder, name)
    # a pipe or device would wait for ever
    if not place.is_file():
        raise ValueError(f"{name!r} is no file here")
    if first_line < 1 or lines < 1:
        raise ValueError("first_line and lines count from 1")
    found, used, at = [], 0, 0
    with place.open("rb") as opened:
        for at, raw in enumerate(iter(lambda: opened.readline(MOST_BYTES), b""), 1):
            if b"\0" in raw:
                raise ValueError(f"{name!r} is not a text file")
            if at < first_line:
                continue
            used += len(raw)
            if len(found) == lines or used > MOST_BYTES:
                found.append(f"... (cut; go on with first_line={at})")
                break
            found.append(raw.decode("utf-8", "replace").rstrip("\r\n"))
    return "\n".join(found) or f"(nothing from line {first_line}; the file has {at} lines)"
