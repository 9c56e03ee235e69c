"""Intents: what a request means as a command, and the many ways to say it, in a small notation.

A data file holds intents and macros:

    @ look = find|search for|look for         a macro, used as <look>
    = find.ext 3                              an intent and its weight
    $ find {dir} -name '*.{ext}'              its one command
    en
    <look> [all ]{ext} files {@dir}           an imperative
    ~ {ext} files {@dir}                      a thing: "show me ..." may come before it
    ? where are my {ext} files                a whole sentence: nothing is put around it
    zh
    找出{@dir}所有{ext}文件
    +$ find {dir} -name '*.{ext}' -size +{size}       a follow-up turn, and how it is said
    +en
    only those above {size}

`[a|b]` may be left out, `(a|b)` is one of them, both nest. `{dir}` is a slot: the type is its name
without a trailing digit, or stands after a colon, `{to:dir}`. In a command `{word}` is quoted when it
must be, `{word'}` always, `{word!}` never. In a phrase `{dir}` is the value as said, `{@dir}` a place
("in src", "here", nothing at all).
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass, field

from .values import Value, Values

Node = str | tuple
PIECE = re.compile(r"[\[\](|)]|\{[^{}]*\}|<\w+>|[^\[\](|){}<]+|[<{}]")


@dataclass
class Turn:
    """One command and its phrasings by language."""

    command: str
    phrases: dict[str, list[tuple[str, Node]]] = field(default_factory=lambda: {"en": [], "zh": []})


@dataclass
class Intent:
    """name, weight, and one turn or more: the first says all, the others go on from it."""

    name: str
    weight: float
    turns: list[Turn]


def parse(text: str, source: str, shared: dict[str, str] | None = None) -> list[Intent]:
    """The intents of a data file; ValueError names the line that cannot be read."""
    macros, found = dict(shared or {}), []
    lang = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        where = f"{source}:{number}"
        if not line or line.startswith("#"):
            continue
        if line.startswith("@ "):
            name, _, value = line[2:].partition("=")
            macros[name.strip()] = value.strip()
        elif line.startswith("= "):
            name, *weight = line[2:].split()
            found.append(Intent(name, float(weight[0]) if weight else 1.0, []))
        elif line.startswith(("$ ", "+$ ")):
            found[-1].turns.append(Turn(line.partition("$ ")[2]))
        elif line.lstrip("+") in ("en", "zh"):
            lang = line.lstrip("+")
        else:
            form = line[0] if line[0] in "~?" and line[1:2] == " " else "!"
            body = line[2:] if form != "!" else line
            tree = _tree(body, macros, where)
            found[-1].turns[-1].phrases[lang].append((form, tree))
    for intent in found:
        _check(intent, source)
    return found


def _check(intent: Intent, source: str) -> None:
    if not intent.turns or not all(t.phrases["en"] and t.phrases["zh"] for t in intent.turns):
        raise ValueError(f"{source}: intent {intent.name} needs commands with en and zh phrases")
    known: set[str] = set()
    for turn in intent.turns:
        known |= {slot_of(s)[0] for s in re.findall(r"\{([^{}]*)\}", turn.command)}
        for forms in turn.phrases.values():
            for _, tree in forms:
                for slot in _slots(tree):
                    if slot_of(slot)[0] not in known:
                        raise ValueError(
                            f"{source}: intent {intent.name}: slot {{{slot}}} is not in its command"
                        )


def _slots(node: Node) -> list[str]:
    if isinstance(node, str):
        return []
    kind, body = node
    if kind == "slot":
        return [body]
    return [s for n in body for s in _slots(n)]


def slot_of(text: str) -> tuple[str, str]:
    """A slot's name and type: "to:dir" -> ("to", "dir"), "@dir2" -> ("dir2", "dir")."""
    name, _, kind = text.strip("@!'").partition(":")
    return name, kind or name.rstrip("0123456789")


def _tree(text: str, macros: dict[str, str], where: str) -> Node:
    tokens = PIECE.findall(text)
    if "".join(tokens) != text:
        raise ValueError(f"{where}: cannot read {text!r}")
    at = 0

    def some(closing: str) -> list[Node]:
        nonlocal at
        options: list[list[Node]] = [[]]
        while at < len(tokens):
            t = tokens[at]
            at += 1
            if t == closing:
                return [("all", o) for o in options]
            if t == "|" and closing:
                options.append([])
            elif t in "[(":
                inner = some("]" if t == "[" else ")")
                options[-1].append(("may" if t == "[" else "one", inner))
            elif t.startswith("{") and len(t) > 1:
                options[-1].append(("slot", t[1:-1]))
            elif re.fullmatch(r"<\w+>", t):
                if t[1:-1] not in macros:
                    raise ValueError(f"{where}: no macro {t}")
                options[-1].append(_tree(f"({macros[t[1:-1]]})", macros, where))
            else:
                options[-1].append(t)
        if closing:
            raise ValueError(f"{where}: {closing!r} is missing in {text!r}")
        return [("all", o) for o in options]

    [node] = some("")
    return node


def expand(node: Node, slots: dict[str, Value], lang: str, rng: random.Random) -> str:
    """One phrase of a tree, with the slots' values as `lang` says them."""
    if isinstance(node, str):
        return node
    kind, body = node
    if kind == "all":
        return "".join([expand(n, slots, lang, rng) for n in body])
    if kind == "one":
        return expand(rng.choice(body), slots, lang, rng)
    if kind == "may":
        return expand(rng.choice(body), slots, lang, rng) if rng.random() < 0.5 else ""
    value = slots[slot_of(body)[0]]
    return value.place(lang, rng) if body.startswith("@") else value.said(lang, rng)


def fill(command: str, slots: dict[str, Value], values: Values) -> str:
    """The command with every slot's value; slots that have none yet are drawn into `slots`."""

    def put(match: re.Match) -> str:
        text = match[1]
        name, kind = slot_of(text)
        if name not in slots:
            slots[name] = values.draw(kind)
        return slots[name].typed(text[-1])

    return re.sub(r"\{([a-z]\w*(?::\w+)?['!]?)\}", put, command)
