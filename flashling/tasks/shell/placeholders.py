"""Placeholders of tldr commands: what kind of value each wants, and filling values in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from .terms import is_chinese
from .tldr import PLACEHOLDER

TABLES: dict = json.loads(
    Path(__file__).with_name("data").joinpath("lookup.json").read_text("utf-8")
)
# more text than a request would hold, or marks that a person would not type as a value
ODD = re.compile(r"[^\w@%+=:,./~#-]")
SAFE = re.compile(r"[\w@%+=:,./~\u4e00-\u9fff-]+")
RESULT = re.compile(r"output|dest|target|result|\\bnew|/to_|converted|输出|目标|保存|结果")
NOT_FILES = frozenset("com org net io dev ext".split())
# first that fits wins; read against the placeholder in lower case with _ as a space
KINDS = tuple((kind, re.compile(pattern)) for kind, pattern in TABLES["kinds"])


@dataclass(frozen=True)
class Slot:
    """A placeholder: its text, the kind of value it wants ("literal" when only itself will do), the
    text of one item, and whether it takes several items, separated by `gap`.
    """

    text: str
    kind: str
    item: str
    gap: str = ""


@cache
def slot(text: str) -> Slot:
    """What a placeholder wants, by its text."""
    if text.endswith("...") and "|" not in text:
        items = re.split(r"[ ,]+", text.removesuffix("...").strip(" ,"))
        gap = "," if "," in text else " "
        stem = re.sub(r"(_?\d+)(?=(\.\w+)*$)", "", items[0])
        if items and len({re.sub(r"\d", "", i) for i in items}) == 1:
            return Slot(text, kind_of(stem), stem, gap)
        return Slot(text, "literal", text)
    if "|" in text:
        parts = [p for p in text.split("|") if p != "..."]
        plain = all(re.fullmatch(r"[\w.+:-]{1,24}", p) for p in parts)
        kinds = [kind_of(p) for p in parts]
        if plain and all(k in ("literal", "number", "decimal", "color") for k in kinds):
            return Slot(text, "choice", "|".join(parts))
        known = [(k, p) for k, p in zip(kinds, parts, strict=True) if k != "literal"]
        return Slot(text, *known[0]) if known else Slot(text, "literal", parts[0])
    return Slot(text, kind_of(text), text)


def kind_of(text: str) -> str:
    """The kind of value that a placeholder of one item wants."""
    plain = text.lower().replace("_", " ")
    for kind, pattern in KINDS:
        if pattern.search(plain):
            if kind == "file" and plain.rpartition(".")[2] in NOT_FILES and "/" not in plain:
                continue
            return kind
    return "literal"


@dataclass(frozen=True)
class Spot:
    """Where a command wants a value: what for, whether a word starts there unquoted, and the name of
    the long option before it ("" without one). is_stem: an ending follows (".avi").
    """

    want: Slot
    at_start: bool
    option: str
    is_stem: bool = False

    @property
    def is_result(self) -> bool:
        """Whether the command writes there."""
        return RESULT.search(f"{self.want.item} {self.option}".lower()) is not None


def spots(command: str) -> dict[str, Spot]:
    """The command's placeholders, by their text, in order."""
    found: dict[str, Spot] = {}
    for match in PLACEHOLDER.finditer(command):
        before = command[: match.start()]
        at_start = before[-1:] in ("", " ") and not quote_before(before)
        option = re.search(r"(?:^| )--([a-z][a-z-]+)[ =]$", before)
        first = found.get(match[1])
        if first is None:
            found[match[1]] = Spot(
                slot(match[1]),
                at_start,
                option[1] if option else "",
                re.match(r"\.[a-z]", command[match.end() :]) is not None,
            )
        elif not at_start:
            found[match[1]] = replace(first, at_start=False)
    return found


def quote_before(text: str) -> str:
    """The quote that is open at the end of `text`: ', " or none."""
    opened = ""
    for c in text:
        if c in "'\"" and (not opened or c == opened):
            opened = "" if opened else c
    return opened


def fill(command: str, values: dict[str, tuple[str, ...]]) -> str:
    """The command with placeholders replaced by values, quoted where bash needs it.

    A placeholder without values keeps its own words: of alternatives the first, of a list without
    the dots.
    """

    def filled(match: re.Match[str]) -> str:
        text = match[1]
        given = values.get(text)
        if not given:
            return kept(text)
        if quote_before(command[: match.start()]):
            return (slot(text).gap or " ").join(given)
        if slot(text).kind in ("command", "literal"):
            return given[0]
        return (slot(text).gap or " ").join(_quoted(v) for v in given)

    return PLACEHOLDER.sub(filled, command)


def kept(text: str) -> str:
    """A placeholder's own words, as they stand in a command when the user gave no value."""
    if text.endswith("..."):
        text = text.removesuffix("...").rstrip(" ,|")
    first = text.split("|")[0]
    return first if first and not re.search(r"[\"'()\\]", text) else text


def _quoted(value: str) -> str:
    if SAFE.fullmatch(value):
        return value
    if value.startswith("~/"):
        return "~/" + _quoted(value[2:])
    return f"'{value}'"


def label(want: Slot, lang: str, option: str = "") -> str:
    """How a request calls a slot's value: "container name", "端口", or as the option before it."""
    if option and want.kind in ("number", "decimal", "choice", "literal", "size", "duration"):
        return option.replace("-", " ")
    words = re.sub(r"[_\s]+", " ", want.item.rpartition("/")[2]).strip()
    words = re.sub(r"\.\w+$|\d+$", "", words).strip()
    if lang == "zh" and not is_chinese(words):
        return TABLES["labels_zh"].get(want.kind, words)
    if want.kind in ("port", "url", "email", "ip", "domain", "version") or ODD.search(
        words.replace(" ", "")
    ):
        return want.kind
    return words if re.search(r"[^\W\d]{2}", words) else want.kind
