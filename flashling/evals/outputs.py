"""Whether two programs say the same: what a command printed beside what the reference printed,
by the substance that the request asks for and not by the format.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from posixpath import basename, join, normpath

_COLOURS = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
# a number that is no part of a name, such as the 3 of song.mp3
_COUNT = re.compile(r"(?<![A-Za-z_.\d])\d+(?:\.\d+)?(?![A-Za-z_\d])")
_OCTAL = re.compile(r"(?:\\[0-3][0-7]{2})+")
_SPLIT = re.compile(r"[\s:,;=|\"'()\[\]{}]+")


@dataclass(frozen=True)
class Place:
    """Where a command ran: its folder below the root, where it sees that root, and the kinds of
    all paths below it ("f" file, "d" folder, "l" link).
    """

    cwd: str
    mount: str
    kinds: Mapping[str, str]

    def path(self, text: str, below: str = "") -> str | None:
        """The path that a text names, from the folder of the command, from `below` or by a name
        that only one path has; None when it names none.
        """
        text = text.strip().strip("'\"`").removesuffix("*").removesuffix("@")
        if not text or "\n" in text or re.fullmatch(r"[./~]*", text):
            return None
        text = text.rstrip("/")
        for start in (self.mount, "~", "/home/dev"):
            if text.startswith(start + "/"):
                text = join("/", text[len(start) + 1 :])
                break
        tries = (join(self.cwd, text), join(self.cwd, below, text), join(below, text), text)
        for name in (normpath(t).lstrip("/") for t in tries):
            if name in self.kinds:
                return name
        if "/" in text:
            return None
        same = [p for p in self.kinds if basename(p) == text]
        return same[0] if len(same) == 1 else None


def clean(text: str) -> str:
    """Without colours, trailing blanks and blank lines; runs of blanks are one, `./` is nothing."""
    lines = (" ".join(line.split()) for line in _COLOURS.sub("", text).splitlines())
    return "\n".join(re.sub(r"(?<![\w./])\./(?=\w)", "", line) for line in lines if line)


def mentioned(text: str, place: Place) -> list[str]:
    """The paths that an output names, in its order: as bare lines, in `ls -l`, `ls -R`, `grep -n`,
    `wc`, `du`, `tree` and the like.
    """
    found: list[str] = []
    below = ""
    for line in _unescaped(_COLOURS.sub("", text)).splitlines():
        line = re.sub(r"^[\s│├└─\u00a0]+(?:\[[^]]*\]\s+)?", "", line).rstrip()
        if title := re.fullmatch(r"==> (.+) <==", line):
            line = title[1]
        if line.endswith(":") and place.kinds.get(place.path(line[:-1]) or "") == "d":
            below = place.path(line[:-1]) or ""
            continue
        found += _in_line(line, place, below)
    return found


def _unescaped(text: str) -> str:
    """The text with the names that `find -ls` and `ls -b` wrote with backslashes as they are."""
    return _OCTAL.sub(_bytes, text).replace("\\ ", " ")


def _bytes(escaped: re.Match) -> str:
    codes = escaped[0][1:].split("\\")
    return bytes(int(code, 8) for code in codes).decode("utf-8", "replace")


def _in_line(line: str, place: Place, below: str) -> list[str]:
    whole = place.path(line, below) or place.path(line.partition(" -> ")[0], below)
    if whole:
        return [whole]
    for at in (m.start() for m in re.finditer(r":", line)):
        if path := place.path(line[:at], below):
            return [path]
    words = [place.path(word, below) for word in re.split(r"[\s,]+", line) if word]
    known = [w for w in words if w]
    if known and len(known) == len(words):
        return known
    blanks = [m.span() for m in re.finditer(r"\s+", line.partition(" -> ")[0])]
    for _, end in blanks:
        if path := place.path(line.partition(" -> ")[0][end:], below):
            return [path]
    for start, _ in reversed(blanks):
        if path := place.path(line[:start], below):
            return [path]
    return known


def _rows(text: str) -> list[tuple[str, ...]]:
    """Lines as sorted words, whatever stands between them; sums that `wc` adds are left out."""
    rows = (tuple(sorted(w for w in _SPLIT.split(line) if w)) for line in clean(text).splitlines())
    return [row for row in rows if row and "total" not in row]


def _numbers(text: str) -> list[float]:
    return [float(n) for n in _NUMBER.findall(text)]


def _number(gold: str, got: str) -> bool:
    """The reference's first number begins or ends the only line with numbers, or begins a last
    line that tells a total of those above.
    """
    lines = [line for line in clean(got).splitlines() if _COUNT.search(line)]
    if not lines or not _numbers(gold):
        return False
    said = [float(n) for n in _COUNT.findall(lines[-1])]
    # "total 5" or "5 in all" closes what `wc`, `du -c` and the like tell of several files
    last = len(lines) == 1 or re.search(r"(?i)\b(total|sum|all)\b|[总共合]", lines[-1])
    return bool(last) and _numbers(gold)[0] in {said[0], said[-1]}


def _found_lines(gold: str, got: str) -> bool:
    """The same lines in any order, each perhaps behind a file name and a number."""
    left = [line for line in clean(got).splitlines() if line != "--"]
    wanted = [line for line in clean(gold).splitlines() if line != "--"]
    if len(left) != len(wanted):
        return False
    # the longest first: a short line may be the end of a long one
    for line in sorted(wanted, key=len, reverse=True):
        at = next((i for i, other in enumerate(left) if other.endswith(line)), None)
        if at is None:
            return False
        del left[at]
    return True


def _field(text: str) -> str:
    return (clean(text).split() or [""])[0]


def _only(kinds: str) -> Callable[[str, Place], Iterator[str]]:
    return lambda text, place: (p for p in mentioned(text, place) if place.kinds[p] in kinds)


_FILES, _FOLDERS = _only("fl"), _only("d")
MODES: dict[str, Callable[[str, str, Place], bool]] = {
    # lines in order; in any order; words in order
    "exact": lambda a, b, _: clean(a) == clean(b),
    "lines": lambda a, b, _: sorted(clean(a).splitlines()) == sorted(clean(b).splitlines()),
    "words": lambda a, b, _: clean(a).split() == clean(b).split(),
    # tables: the words of each line in any order; with the lines in order
    "rows": lambda a, b, _: Counter(_rows(a)) == Counter(_rows(b)),
    "ranked": lambda a, b, _: _rows(a) == _rows(b),
    # the lines that a search found
    "grep": lambda a, b, _: _found_lines(a, b),
    # sets of paths, of any kind, of files or of folders; files in order; the first one
    "paths": lambda a, b, p: set(mentioned(a, p)) == set(mentioned(b, p)),
    "files": lambda a, b, p: set(_FILES(a, p)) == set(_FILES(b, p)),
    "folders": lambda a, b, p: set(_FOLDERS(a, p)) == set(_FOLDERS(b, p)),
    "ordered": lambda a, b, p: list(_FILES(a, p)) == list(_FILES(b, p)),
    "first": lambda a, b, p: mentioned(a, p)[:1] == mentioned(b, p)[:1] != [],
    # a count; all numbers in order; the first word
    "number": lambda a, b, _: _number(a, b),
    "numbers": lambda a, b, _: _numbers(clean(a)) == _numbers(clean(b)),
    "field": lambda a, b, _: _field(a) == _field(b) != "",
}


def agree(mode: str, gold: str, got: str, place: Place) -> bool:
    """Whether an output says what the reference's says. ValueError names the modes there are."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r}: choose one of {', '.join(MODES)}")
    return MODES[mode](gold, got, place)
