"""Tools made by combination: some 150 kinds of records times what can be done with each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

from flashling.tasks.tools.spec import Param, Tool, read_tool, roles, use_param
from flashling.tasks.tools.words import DATA

GROUPS = {
    "core": "create get delete update list search count".split(),
    "doc": "share export rename duplicate archive move print".split(),
    "flow": "assign close reopen comment".split(),
    "ask": "approve reject".split(),
    "plan": "schedule cancel".split(),
    "switch": "enable disable".split(),
    "tag": "tag restore".split(),
    "media": ["upload"],
    "sub": ["subscribe"],
}
FILTERED = ("create", "list", "count", "update")


@dataclass(frozen=True, slots=True)
class Noun:
    """A kind of record: its words, what names one (`id` or `name`), its verbs and attributes."""

    en: str
    plural: str
    zh: str
    ident: str
    verbs: tuple[str, ...]
    attributes: tuple[str, ...]
    domain: str


@cache
def nouns() -> tuple[Noun, ...]:
    """All kinds of records, from `nouns.txt`."""
    found = []
    for line in (DATA / "nouns.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            en, plural, zh, ident, groups, attributes, domain = (c.strip() for c in line.split("|"))
            verbs = tuple(v for group in groups.split() for v in GROUPS[group])
            found.append(Noun(en, plural, zh, ident, verbs, tuple(attributes.split()), domain))
    return tuple(found)


@cache
def verbs() -> dict[str, tuple[str, ...]]:
    """The blocks of `verbs.txt` by verb, as lines with N, NS, AN, Z, I, J, W and A to fill in."""
    text = "\n" + (DATA / "verbs.txt").read_text(encoding="utf-8")
    blocks = [block.splitlines() for block in text.split("\n= ")[1:]]
    return {lines[0]: tuple(lines[1:]) for lines in blocks}


@cache
def noun_tool(noun: Noun, verb: str, variant: int) -> Tool:
    """One tool, for example create + ticket; variants 0 to 2 differ in their attributes."""
    count = len(noun.attributes)
    attributes = [
        roles()[noun.attributes[(variant + i) % count]] for i in range(min(count, 1 + variant))
    ]
    attributes = [a for a in attributes if verb in FILTERED and a.key not in ("name", noun.ident)]
    snake, plural = noun.en.replace(" ", "_"), noun.plural.replace(" ", "_")
    many = verb in ("list", "search", "count")
    head = f"{verb}_{plural if many else snake}"
    other = f"{snake}_{verb}" if not many else f"{plural}_{verb}"
    lines = [f"{head} {head} {other}"]
    for line in verbs()[verb]:
        lines += _expand(line, noun, attributes)
    if attributes:
        lines.append("p " + " ".join(f"{a.key}?" for a in attributes))
    lines.append(f"x {verb}:{snake}")
    return replace(read_tool(noun.domain, lines), made_of=(verb, snake))


def _expand(line: str, noun: Noun, attributes: list[Param]) -> list[str]:
    """A line of a verb for one noun; a line marked `>>` or `<<` once for each attribute."""
    mark, _, text = line.partition(" ")
    ident = use_param(f"{noun.ident}!")
    article = f"an {noun.en}" if noun.en[0] in "aeio" else f"a {noun.en}"
    groups_en = "".join(
        f"[{', ' if i else ' with '}{a.en} {{{a.key}}}]" for i, a in enumerate(attributes)
    )
    groups_zh = "".join(f"[，{a.zh}(是|为|){{{a.key}}}]" for a in attributes)
    text = (
        text.replace("@ ", f"{groups_en if mark == '>' else groups_zh} ") if mark in "><" else text
    )
    if text.endswith("@"):
        text = text[:-1] + (groups_en if mark == ">" else groups_zh)
    if mark == "p":
        return [f"p {text.replace('I!', noun.ident + '!')}"]
    words = {
        "AN": article,
        "NS": noun.plural,
        "N": noun.en,
        "Q": ident.en,
        "J": ident.zh,
        "Z": noun.zh,
    }
    text = text.replace("{I}", "{" + noun.ident + "}")
    if mark in (">>", "<<"):
        chinese = mark == "<<"
        return [
            f"{mark[0]} " + _fill(t, words | {"W": a.zh if chinese else a.en, "A": a.key})
            for a in attributes
            for t in text.split(" ; ")
        ]
    return [f"{mark} {_fill(text, words)}"]


def _fill(text: str, words: dict[str, str]) -> str:
    """Replaces capital placeholders that stand alone: N and NS, but not the N of `No`."""
    out, at = [], 0
    while at < len(text):
        char = text[at]
        alone = (
            char.isupper()
            and char.isascii()
            and (at == 0 or not (text[at - 1].isalpha() and text[at - 1].isascii()))
        )
        if alone:
            end = at
            while end < len(text) and text[end].isalpha() and text[end].isascii():
                end += 1
            out.append(words.get(text[at:end], text[at:end]))
            at = end
        else:
            out.append(char)
            at += 1
    return "".join(out)
