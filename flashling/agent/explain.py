"""What a command line does, flag by flag; whether its programs exist; whether it destroys."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

TABLE = Path(__file__).with_name("flags.txt")
# programs that run the command after their own flags
CARRIERS = frozenset(
    "sudo env time nohup xargs nice exec command watch doas stdbuf timeout".split()
)
# what a shell knows itself: never looked for on disk
BUILTINS = frozenset(
    """. : [ [[ alias bg break builtin case cd command continue declare disown do done echo
    elif else esac eval exec exit export false fc fg fi for function getopts hash help
    history if jobs kill let local popd printf pushd pwd read readonly return select set
    shift shopt source test then time times trap true type ulimit umask unalias unset until
    wait while { } !""".split()
)
WORDS_BEFORE = frozenset("do then else elif if while until ! {".split())
REDIRECTIONS = frozenset("> >> < << <<< >| &> &>> >& <& <>".split())
UNKNOWN = "unknown here; see its manual"


@dataclass
class Command:
    """One program of a command line with its words (quotes removed)."""

    program: str
    words: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Part:
    """A piece of a command and what it means; `known` is False where the table has nothing."""

    text: str
    meaning: str
    known: bool = True


@cache
def _table() -> Mapping[str, tuple[str, dict[str, tuple[str, bool]]]]:
    """program -> (what it does, flag -> (meaning, takes a value))."""
    found: dict[str, tuple[str, dict[str, tuple[str, bool]]]] = {}
    flags: dict[str, tuple[str, bool]] = {}
    for line in TABLE.read_text("utf-8").splitlines():
        program = re.match(r"([a-z][\w -]*): (.*)|([a-z][\w -]*):$", line)
        if program:
            flags = {}
            found[program[1] or program[3]] = (program[2] or "", flags)
        elif not line.startswith("#"):
            head, _, told = line.partition(" ")
            flags[head.removesuffix("=")] = (told, head.endswith("="))
    return found


def tokens(line: str) -> list[str]:
    """The shell words and operators of a command line; ValueError for an open quote."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars="();<>|&\n")
    lexer.whitespace, lexer.commenters, lexer.whitespace_split = " \t\r", "", True
    return list(lexer)


def commands(line: str) -> list[Command]:
    """The programs that a command line runs, those behind sudo, xargs and -exec too."""
    found: list[Command] = []
    current: Command | None = None
    skip = False
    for word in tokens(line):
        if skip:
            skip = False
        elif word in REDIRECTIONS:
            # a file descriptor before the sign is no argument
            if current and current.words and current.words[-1].isdigit():
                current.words.pop()
            skip = True
        elif set(word) <= set("();<>|&\n"):
            current = None
        elif current is None:
            if not _is_before(word):
                current = Command(word.rpartition("/")[2] or word)
                found.append(current)
        elif _begins(current, word):
            current = Command(word.rpartition("/")[2])
            found.append(current)
        else:
            current.words.append(word)
    return found


def _is_before(word: str) -> bool:
    return word in WORDS_BEFORE or word == "$" or bool(re.match(r"[A-Za-z_]\w*=", word))


def _begins(carrier: Command, word: str) -> bool:
    """Whether `word`, next in `carrier`'s line, is a program of its own."""
    last = carrier.words[-1] if carrier.words else ""
    if carrier.program == "find":
        return last in ("-exec", "-execdir", "-ok", "-okdir")
    if carrier.program not in CARRIERS or word.startswith("-") or "=" in word:
        return False
    takes = _table().get(carrier.program, ("", {}))[1].get(last, ("", False))[1]
    return not takes and not re.fullmatch(r"[\d.]+[smh]?", word)


def explain(line: str) -> list[Part]:
    """What each program of the line and each of its flags does; [] when it cannot be read."""
    try:
        found = commands(line)
    except ValueError:
        return []
    return [part for c in found for part in _parts(c)]


def _parts(c: Command) -> Iterator[Part]:
    name, words = c.program, c.words
    verbs = [w for w in words if not w.startswith("-")]
    if verbs and f"{name} {verbs[0]}" in _table():
        at = words.index(verbs[0])
        name, words = f"{name} {verbs[0]}", [*words[:at], *words[at + 1 :]]
    if name not in _table():
        yield Part(name, UNKNOWN, False)
        return
    told, flags = _table()[name]
    # what the program takes before its verb counts too
    flags = {**_table().get(name.split(" ")[0], ("", {}))[1], **flags}
    yield Part(name, told)
    rest = iter(words)
    for word in rest:
        if word == "--":
            return
        if word[:1] in "-+" and len(word) > 1 and not re.fullmatch(r"[-+]\d+[a-zA-Z]?", word):
            yield from _flag(word, flags, rest)
        elif word in flags:
            yield Part(word, flags[word][0])


def _flag(word: str, flags: Mapping[str, tuple[str, bool]], rest: Iterator[str]) -> Iterator[Part]:
    name, sign, value = word.partition("=")
    if name in flags:
        told, takes = flags[name]
        shown = word if sign or not takes else f"{name} {next(rest, '')}".strip()
        yield Part(shown, told)
        return
    if word.startswith("--") or word[0] == "+":
        yield Part(name, UNKNOWN, False)
        return
    for i, letter in enumerate(word[1:], 1):
        told, takes = flags.get(f"-{letter}", (UNKNOWN, False))
        if not takes:
            yield Part(f"-{letter}", told, f"-{letter}" in flags)
            continue
        yield Part(f"-{letter} {word[i + 1 :] or next(rest, '')}".strip(), told)
        return


def missing(line: str) -> list[str]:
    """Programs of the line that are not installed here."""
    try:
        found = commands(line)
    except ValueError:
        return []
    names = dict.fromkeys(c.program for c in found)
    plain = (n for n in names if re.fullmatch(r"[\w.+-]+", n))
    return [n for n in plain if n not in BUILTINS and not shutil.which(n)]


# what a person would want to read twice: a pattern over the raw line, and why
RAW = (
    (r":\s*\(\s*\)\s*\{.*\}\s*;\s*:", "starts processes without end"),
    (r">\s*/dev/(sd|nvme|hd|vd|mmcblk|disk|mapper)", "overwrites a disk"),
    (r"\b(curl|wget)\b[^|;]*\|\s*(sudo\s+)?(ba|z|da)?sh\b", "runs a script from the network"),
    (r"\b(curl|wget)\b[^|;]*\|\s*(sudo\s+)?(python3?|perl)\b", "runs a script from the network"),
    (r">\s*/etc/(passwd|shadow|fstab|sudoers)\b", "overwrites a file that the system needs"),
    (r"\bdrop\s+(table|database)\b", "deletes a database or table"),
)
ALWAYS = {
    "mkfs": "formats a disk",
    "wipefs": "erases a disk's file system",
    "shred": "destroys files beyond recovery",
    "fdisk": "changes a disk's partitions",
    "parted": "changes a disk's partitions",
    "mkswap": "overwrites a disk or file",
    "shutdown": "turns the machine off",
    "reboot": "restarts the machine",
    "poweroff": "turns the machine off",
    "halt": "stops the machine",
    "userdel": "deletes a user",
    "killall": "ends every process of that name",
}


def danger(line: str) -> str | None:
    """Why a command can destroy something, in a few words; None for one that does not."""
    for pattern, why in RAW:
        if re.search(pattern, line, re.IGNORECASE):
            return why
    try:
        found = commands(line)
    except ValueError:
        return "cannot be read: a quote is left open"
    for c in found:
        why = ALWAYS.get(c.program.split(".")[0]) or _why(c)
        if why:
            return why
    return None


def _has(c: Command, letters: str, *long: str) -> bool:
    """Whether the command has one of the short flags (also joined) or of the long ones."""
    short = (w for w in c.words if re.fullmatch(r"-[A-Za-z]+", w))
    return any(set(w[1:]) & set(letters) for w in short) or bool(set(long) & set(c.words))


def _why(c: Command) -> str | None:
    first = c.words[0] if c.words else ""
    match c.program:
        case "rm" | "unlink":
            deep = _has(c, "rR", "--recursive")
            return "deletes folders with everything in them" if deep else "deletes files for good"
        case "find" if "-delete" in c.words:
            return "deletes what it finds"
        case "dd" if any(w.startswith("of=/dev/") and w != "of=/dev/null" for w in c.words):
            return "overwrites a disk"
        case "dd" if any(w.startswith("of=") for w in c.words):
            return "overwrites a file"
        case "truncate":
            return "cuts files"
        case "chmod" | "chown" | "chgrp" if _has(c, "R", "--recursive"):
            wide = any(w in ("/", "777", "a+rwx", "/*", "~") for w in c.words)
            return "changes the rights of everything below" if wide else None
        case "kill" if "-1" in c.words[1:]:
            return "ends every process"
        case "crontab" if _has(c, "r"):
            return "deletes all scheduled commands"
        case "mv" if "/dev/null" in c.words:
            return "deletes files for good"
        case "rsync" if any(w.startswith("--delete") for w in c.words):
            return "deletes what the source lacks"
        case "docker" | "podman" if "prune" in c.words:
            return "deletes unused containers and images"
        case "git":
            return _why_git(first, c)
    return None


def _why_git(verb: str, c: Command) -> str | None:
    force = _has(c, "f", "--force", "--hard", "--mirror")
    match verb:
        case "reset" if "--hard" in c.words:
            return "throws away changes that are not committed"
        case "clean" if force and not _has(c, "n", "--dry-run"):
            return "deletes files that are not tracked"
        case "push" if force or _has(c, "d", "--delete"):
            return "replaces or deletes what others may have"
        case "checkout" | "switch" if _has(c, "f", "--force") or "--" in c.words or "." in c.words:
            return "throws away changes that are not committed"
        case "restore" if "--staged" not in c.words and "-S" not in c.words:
            return "throws away changes that are not committed"
        case "branch" if _has(c, "D"):
            return "deletes a branch that may not be merged"
        case "stash" if "drop" in c.words or "clear" in c.words:
            return "deletes changes that were put aside"
    return None
