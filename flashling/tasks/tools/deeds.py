"""What fresh tools are made of: kinds of deeds, things they are done to, and afterthoughts."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from flashling.tasks.tools.spec import Param, use_param
from flashling.tasks.tools.words import DATA, holdout

HELD_OUT_PERCENT = 15
LANGS = ("en", "zh")
# marks of a deed's lines in English and in Chinese
MARKS = {"commands": "cC", "states": "sS", "wishes": "wW", "bare": "bB", "lists": "qQ"}


@dataclass(frozen=True, slots=True)
class Thing:
    """A kind of thing: `pump`, its Chinese word and classifier, and how one is named."""

    en: str
    zh: str
    classifier: str
    idents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """An optional argument and how it is added to a request in each language."""

    param: Param
    said: dict[str, str]


@dataclass(frozen=True, slots=True)
class Deed:
    """What can be done to a thing: words for its tool's name, descriptions, and ways to ask.

    Texts hold $N (the noun), $P (its plural), $A (with its article), $Z and $C (the Chinese noun
    and classifier), $I (the one that is meant) and slots. A state tells what is the case and ends
    in a wish about `it`; one marked `!` says enough alone. confuses: sets of deeds that one state
    could call for alike. item: one of several things in a list, with what differs for each.
    """

    key: str
    groups: tuple[str, ...]
    confuses: frozenset[str]
    verbs: tuple[str, ...]
    about: dict[str, tuple[str, ...]]
    params: tuple[Param, ...]
    tails: tuple[str, ...]
    says: dict[str, dict[str, tuple[str, ...]]]
    item: dict[str, str]


@cache
def deeds() -> dict[str, tuple[Deed, ...]]:
    """All deeds by group of things, from the `deeds_*.txt` files."""
    found: dict[str, list[Deed]] = {}
    for file in sorted(DATA.glob("deeds_*.txt")):
        for block in f"\n{file.read_text(encoding='utf-8')}".split("\n= ")[1:]:
            deed = _deed(block.splitlines())
            for group in deed.groups:
                found.setdefault(group, []).append(deed)
    return {group: tuple(rows) for group, rows in found.items()}


def _deed(lines: list[str]) -> Deed:
    cells = {line[0]: line[2:].strip() for line in lines[1:] if line}
    about = cells["d"].split(" / ")
    item = cells.get("i", "{x} / {x}").split(" / ")
    says = {
        lang: {
            part: tuple(t.strip() for t in cells.get(marks[at], "").split(" ; ") if t.strip())
            for part, marks in MARKS.items()
        }
        for at, lang in enumerate(LANGS)
    }
    return Deed(
        lines[0],
        tuple(cells["g"].split()),
        frozenset(cells.get("k", "").split()),
        tuple(cells["u"].split()),
        {lang: tuple(about[at].split("|")) for at, lang in enumerate(LANGS)},
        tuple(use_param(word) for word in cells.get("p", "").split()),
        tuple(cells.get("t", "").split()),
        says,
        dict(zip(LANGS, item, strict=True)),
    )


@cache
def tails() -> dict[str, Tail]:
    """All optional arguments by name, from `tails.txt`."""
    found = {}
    for line in (DATA / "tails.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, rest = line.partition(" = ")
            # the first bar ends the parameter; others stand within choices of words
            spec, en, zh = rest.split(" | ")
            found[name] = Tail(use_param(spec), {"en": en.rstrip(), "zh": zh.strip()})
    return found


@cache
def things(split: str) -> dict[str, tuple[tuple[Thing, ...], tuple[tuple[str, str], ...]]]:
    """Heads and modifiers (en, zh) by group; 15 % of the heads occur in the test split only."""
    found = {}
    for block in (DATA / "things.txt").read_text(encoding="utf-8").split("\n[")[1:]:
        head, mods, nouns = block.splitlines()[:3]
        group, _, rest = head.partition("] ")
        classifier, _, idents = rest.partition(" | ")
        kinds = tuple(idents.split())
        made = [Thing(*pair, classifier, kinds) for pair in _pairs(nouns)]
        kept = [t for t in made if holdout(f"thing {t.en}", HELD_OUT_PERCENT) == (split == "test")]
        found[group] = (tuple(kept or made[:2]), tuple(_pairs(mods)))
    return found


def _pairs(line: str) -> list[tuple[str, str]]:
    return [(en, zh) for en, _, zh in (cell.partition("/") for cell in line.split("; "))]
