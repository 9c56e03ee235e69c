"""Small talk: short and honest, in the user's language, about what the model is and can do."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from flashling.tasks.tools.spec import Template, compile_template
from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import phrases

DATA = Path(__file__).with_name("talk.txt")
# kinds whose answer also fits when tools are declared
SOCIAL = frozenset("greet how who thanks bye other maker size can limits ling self".split())
WEIGHTS: dict[str, int] = phrases("talk_weights")
THINGS: dict[str, list[str]] = phrases("talk_things")
# each kind as often as it weighs
KINDS = tuple(kind for kind, weight in WEIGHTS.items() for _ in range(weight))


def samples(seed: int, shell: Iterator[dict] | None = None) -> Iterator[dict]:
    """Endless conversations of one to four exchanges, the same for the same seed.

    shell: samples of the shell task; now and then one in chat form (no system message, no tools)
    follows the small talk. Each sample is {"messages", "tools": None, "kind": "talk", "lang"}.
    """
    rng = random.Random(f"talk {seed}")
    while True:
        lang = "en" if rng.random() < 0.5 else "zh"
        messages: list[dict] = []
        for _ in range(1 if rng.random() < 0.55 else 2 + int(rng.random() * 3)):
            _, asked, told = exchange(rng, lang)
            messages += [{"role": "user", "content": asked}, {"role": "assistant", "content": told}]
        if shell is not None and rng.random() < 0.25:
            messages += _plain(next(shell))
        yield {"messages": messages, "tools": None, "kind": "talk", "lang": lang}


def _plain(sample: dict) -> list[dict]:
    """A shell sample's turns without its system message; nothing when it uses tools."""
    turns = [m for m in sample["messages"] if m["role"] != "system"]
    is_plain = not sample.get("tools") and all(m["role"] in ("user", "assistant") for m in turns)
    return turns if is_plain else []


def exchange(rng: random.Random, lang: str, kind: str = "") -> tuple[str, str, str]:
    """A kind of small talk (drawn when not given), a thing said, and the answer, in `lang`."""
    kind = kind or KINDS[int(rng.random() * len(KINDS))]
    asks, answers = table()[f"{kind}.{lang}"]
    asked = _said(rng, asks[int(rng.random() * len(asks))], lang)
    if lang == "en" and rng.random() < 0.5:
        asked = asked[0].upper() + asked[1:]
    if asked[-1] in "?？" and rng.random() < 0.25:
        asked = asked[:-1]
    return kind, asked, answers[0 if rng.random() < 0.7 else -1]


def _said(rng: random.Random, template: Template, lang: str) -> str:
    values = Values(rng)
    out: list[str] = []

    def walk(nodes) -> None:
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
            elif node[0] == "c":
                walk(node[1][int(rng.random() * len(node[1]))])
            elif node[1] == "thing":
                out.append(values.pick(THINGS[lang]))
            elif node[1] == "noun":
                out.append(values.listed("noun", lang))
            else:
                out.append(values.text_of("person" if node[1] == "name" else node[1], lang))

    walk(template.nodes)
    return "".join(out)


@cache
def table() -> dict[str, tuple[tuple[Template, ...], tuple[str, ...]]]:
    """Questions and answers by kind and language, for example `who.en`, from `talk.txt`."""
    found = {}
    for block in DATA.read_text(encoding="utf-8").split("\n["):
        head, *lines = block.lstrip("[").splitlines()
        asks = tuple(_question(line) for line in lines if line and not line.startswith("= "))
        answers = tuple(line[2:] for line in lines if line.startswith("= "))
        found[head.rstrip("]")] = (asks, answers)
    return found


def _question(line: str) -> Template:
    """A template whose leading `?` would mean nothing here."""
    return compile_template(line)
