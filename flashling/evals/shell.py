"""Shell requests written by hand, each judged by what its command does to a small folder.

An item is a row of `data/shell.jsonl`: {"id", "lang", "request", "tree", "cwd", "gold", "judge"}
and perhaps "before" and "after" (command lines run in the same shell around the command) and
"note". The command's result is compared with that of `gold`, a command that is right. A judge may
hold:

- "stdout": a mode of `outputs.MODES`, by which the output must agree with the gold's
- "also": other right commands; agreeing with one of them is enough
- "contains", "lacks": texts that the output must and must not hold; "matches": regular expressions
- "tree": a likeness of `snapshot.LIKENESS`, "same" unless told; "modes": also of new files

What "after" prints, and in the git repository branches, commits and status, must be the gold's.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from . import sandbox, trees
from .outputs import Place, agree, clean
from .snapshot import Snapshot, difference, lost, take

DATA = Path(__file__).parent / "data"
KEYS = frozenset(("stdout", "also", "contains", "lacks", "matches", "tree", "modes"))
_MARK = "--- git ---"
_GIT = f"""echo '{_MARK}'
cd /home/dev/garden
git symbolic-ref -q HEAD || git rev-parse HEAD
git for-each-ref --format='%(refname) %(tree)%(*tree) %(contents:subject)' refs/heads refs/tags
git status --porcelain
git remote -v
git stash list --format='stash %T'
git log --all --format='commit %T %s'
"""


@dataclass(frozen=True)
class Verdict:
    """Whether a command did what was asked, else why not; and whether it destroyed something that
    the request leaves alone.
    """

    ok: bool
    why: str = ""
    destroyed: bool = False


@dataclass(frozen=True)
class Outcome:
    """What a command printed and left behind; `git` tells the state of the git repository."""

    out: str
    after: str
    git: tuple[str, ...]
    files: Snapshot
    late: bool


@cache
def load() -> list[dict]:
    """The items, English ones first."""
    text = (DATA / "shell.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def judge(item: Mapping[str, Any], command: str) -> Verdict:
    """Run a command for an item and judge its result.

    ValueError when there is no sandbox on this machine, or for a judge with unknown keys.
    """
    asked = item["judge"]
    if unknown := set(asked) - KEYS:
        raise ValueError(f"item {item['id']}: no such key in a judge: {', '.join(unknown)}")
    if not command.strip() or "\0" in command:
        return Verdict(False, "no command")
    got, base = _run(item, command), _outcome(item["tree"], ".", "", "", "true")
    whys, harms = [], []
    for reference in (item["gold"], *asked.get("also", ())):
        gold = _reference(item, reference)
        whys.append(_wrong(item, base, gold, got))
        harms.append(_destroyed(base, gold, got))
        if not whys[-1]:
            return Verdict(True, "", bool(harms[-1]))
    harm = min(harms, key=len)
    why = whys[0] + (f"; destroyed {', '.join(harm)}" if harm else "")
    return Verdict(False, why, bool(harm))


def _wrong(item: Mapping[str, Any], base: Outcome, gold: Outcome, got: Outcome) -> str:
    """Why an outcome is not what was asked for; empty when it is."""
    asked = item["judge"]
    if got.late:
        return f"took more than {sandbox.SECONDS:.0f} s"
    likeness, modes = asked.get("tree", "same"), asked.get("modes", False)
    if why := difference(base.files, gold.files, got.files, likeness, modes=modes):
        return why
    if clean(got.after) != clean(gold.after):
        return f"afterwards: {got.after.strip()[:80]!r}, not {gold.after.strip()[:80]!r}"
    if got.git != gold.git:
        return f"git: {sorted(set(got.git) ^ set(gold.git))[:2]}"
    said = clean(got.out)
    for text in asked.get("contains", ()):
        if text not in said:
            return f"the output lacks {text!r}"
    for text in asked.get("lacks", ()):
        if text in said:
            return f"the output holds {text!r}"
    for pattern in asked.get("matches", ()):
        if not re.search(pattern, said, re.M):
            return f"nothing in the output matches {pattern!r}"
    if mode := asked.get("stdout"):
        kinds = {path: e.kind for path, e in (base.files | gold.files | got.files).items()}
        place = Place(item.get("cwd", "."), trees.mount(item["tree"]), kinds)
        if not agree(mode, gold.out, got.out, place):
            return f"printed {said[:120]!r}, not {clean(gold.out)[:120]!r} ({mode})"
    return ""


def _destroyed(base: Outcome, gold: Outcome, got: Outcome) -> list[str]:
    """Files, branches and commits that the reference keeps and the outcome has no more."""
    # a command that was stopped, or left the shell, could not be asked about git afterwards
    if not any(got.git):
        return lost(base.files, gold.files, got.files)
    refs = (
        {line.split(" ")[0] if line.startswith("refs/") else line for line in outcome.git}
        for outcome in (base, gold, got)
    )
    before, kept, left = ({r for r in s if r.startswith(("refs/", "commit "))} for s in refs)
    return lost(base.files, gold.files, got.files) + sorted((before & kept) - left)


def _run(item: Mapping[str, Any], command: str) -> Outcome:
    around = item.get("before", ""), item.get("after", "")
    return _outcome.__wrapped__(item["tree"], item.get("cwd", "."), *around, command)


def _reference(item: Mapping[str, Any], command: str) -> Outcome:
    around = item.get("before", ""), item.get("after", "")
    return _outcome(item["tree"], item.get("cwd", "."), *around, command)


@lru_cache(2048)
def _outcome(tree: str, cwd: str, before: str, after: str, command: str) -> Outcome:
    look = f"{after}\n{_GIT}" if tree == "repo" else after
    with trees.fresh(tree) as folder:
        place = trees.mount(tree)
        ran = sandbox.run(command, folder, mount=place, cwd=cwd, before=before, after=look)
        files = take(folder)
    seen, _, git = ran.after.partition(_MARK)
    # the same commit may be reached by several names
    return Outcome(ran.out, seen, tuple(sorted(set(git.split("\n")))), files, ran.late)


def score(
    items: Sequence[Mapping[str, Any]], commands: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Shares over all items and by language: right with the `first` command, right `within_three`;
    and the number of first commands that `destroyed` something unasked.

    `commands` holds up to three for each item's id, best first; none counts as wrong.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        tried = list(pool.map(lambda i: _tried(i, commands.get(i["id"], ())[:3]), items))
    groups: dict[str, list[list[Verdict]]] = {"all": tried}
    for item, verdicts in zip(items, tried, strict=True):
        groups.setdefault(item["lang"], []).append(verdicts)
    return {lang: _summary(rows) for lang, rows in groups.items() if rows}


def _tried(item: Mapping[str, Any], commands: Sequence[str]) -> list[Verdict]:
    return [judge(item, command) for command in commands]


def _summary(rows: list[list[Verdict]]) -> dict[str, float]:
    firsts = [row[0] for row in rows if row]
    return {
        "items": len(rows),
        "first": sum(v.ok for v in firsts) / len(rows),
        "within_three": sum(any(v.ok for v in row) for row in rows) / len(rows),
        "destroyed": sum(v.destroyed for v in firsts),
    }
