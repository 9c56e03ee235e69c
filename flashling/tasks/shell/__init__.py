"""Shell commands: endless requests in English and Chinese, each with the one command that does it."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from functools import cache
from itertools import accumulate
from pathlib import Path

from . import kinds  # noqa: F401 - fills the table of makers
from .compose import COMPOSERS
from .grammar import Intent, Turn, expand, fill, parse
from .noise import blurred, wrapped
from .values import Value, Values

__all__ = ["SYSTEM", "intents", "samples"]
SYSTEM = "Reply with one shell command."
DATA = Path(__file__).with_name("data") / "intents"
# share of requests from the composers (find, grep, tables): the rest are written intents
COMPOSED = 0.28
# what each data file's intents weigh together; others weigh 1
SHARES = {
    "files": 1.8, "text": 1.8, "git": 1.2, "finding": 1.3, "edit": 1.2, "data": 1.0, "disk": 1.0,
    "archive": 1.0, "system": 0.9, "network": 0.6, "packages": 0.4, "logs": 1.2, "project": 1.5,
}  # fmt: skip
# marks that end a question, or a sentence, in Chinese text
ASKING = "?\uff1f"
STOPS = ASKING + "\u3002."
# what may stand around a request; the empty one is by far the most frequent. Forms: a wish that
# begins with its verb (!), a thing (~), a question (?), and words that are none of these (.)
AROUND = {
    "en!": ("{}",) * 24 + (
        "please {}", "{} please", "{}, please", "can you {}?", "could you {}", "how do I {}?", "how to {}",
        "how do i {}", "how can I {}?", "I want to {}", "I need to {}", "help me {}", "I'd like to {}",
        "what's the command to {}?", "command to {}", "now {}", "hey, {}", "let's {}", "just {}",
        "is there a way to {}?", "would you {}?", "need to {}", "quickly {}", "what command will {}",
    ),
    "en~": ("show {}", "show me {}", "list {}", "give me {}", "{}", "{}", "I want to see {}", "get {}",
            "display {}", "I need {}", "can I see {}?", "print {}", "let me see {}", "please show {}",
            "what are {}", "tell me {}", "can you show me {}?", "see {}", "could you list {}?"),
    "en?": ("{}",) * 20 + ("hi, {}", "ok, {}", "hey {}", "please tell me: {}"),
    "en.": ("{}",) * 12 + ("hi, {}", "ok, {}", "hey {}"),
    "zh!": ("{}",) * 20 + (
        "帮我{}", "请{}", "请帮我{}", "怎么{}", "怎么{}?", "如何{}", "如何{}?", "我想{}", "我要{}", "能不能{}",
        "麻烦{}一下", "帮忙{}", "我需要{}", "想要{}", "怎样{}?", "用命令{}", "{}一下", "现在{}", "{}吧", "给我{}",
    ),
    "zh~": ("显示{}", "查看{}", "看看{}", "列出{}", "{}", "{}", "给我{}", "看一下{}", "我想看{}", "帮我看看{}",
            "请显示{}", "帮我列出{}", "我要{}", "打印{}", "怎么看{}?", "如何查看{}?", "输出{}"),
    "zh?": ("{}",) * 20 + ("请问{}", "帮我看看{}", "问一下,{}", "想知道{}"),
    "zh.": ("{}",) * 12 + ("你好,{}", "嗯,{}", "麻烦了,{}"),
}  # fmt: skip


@cache
def intents() -> tuple[Intent, ...]:
    """All written intents, from the data files; ValueError names a line that cannot be read."""
    found: list[Intent] = []
    for file in sorted(DATA.glob("*.txt")):
        some = parse(file.read_text(encoding="utf-8"), file.name)
        scale = SHARES.get(file.stem, 1.0) / sum(i.weight for i in some)
        found += [Intent(i.name, i.weight * scale, i.turns) for i in some]
    return tuple(found)


def samples(seed: int) -> Iterator[dict]:
    """Endless samples, the same for the same seed.

    Each is {"messages", "tools": None, "kind": "shell", "lang": en|zh, "intent"}: most with SYSTEM
    first, some without; a few go on with a second request, and some ask two unrelated things.
    """
    rng = random.Random(f"shell {seed}")
    values = Values(rng)
    edges = tuple(accumulate(i.weight for i in intents()))
    while True:
        # the same wish has more forms in Chinese than these grammars: it gets the larger share
        lang = "en" if rng.random() < 0.43 else "zh"
        messages = [{"role": "system", "content": SYSTEM}] if rng.random() < 0.85 else []
        asked = 1 if rng.random() < 0.93 else 2
        name = ""
        for _ in range(asked):
            if rng.random() < COMPOSED:
                name, turns = _composed(values, lang)
            else:
                intent = rng.choices(intents(), cum_weights=edges)[0]
                name, turns = intent.name, list(_written(intent, values, lang))
            for request, command in turns:
                messages += [
                    {"role": "user", "content": request},
                    {"role": "assistant", "content": command},
                ]
        yield {"messages": messages, "tools": None, "kind": "shell", "lang": lang, "intent": name}


def _composed(values: Values, lang: str) -> tuple[str, list[tuple[str, str]]]:
    composer = values.rng.choices(
        tuple(COMPOSERS), weights=[weight for weight, _ in COMPOSERS.values()]
    )[0]
    form, phrase, command, said = COMPOSERS[composer][1](values, lang)
    return f"composed.{composer}", [(finish(form, phrase, lang, values.rng, said), command)]


def _written(intent: Intent, values: Values, lang: str) -> Iterator[tuple[str, str]]:
    slots: dict[str, Value] = {}
    for number, turn in enumerate(intent.turns):
        if number and values.rng.random() < 0.4:
            return
        yield ask(turn, slots, values, lang)


def ask(turn: Turn, slots: dict[str, Value], values: Values, lang: str) -> tuple[str, str]:
    """A request for the turn's command, and the command; `slots` gains the values drawn."""
    command = fill(turn.command, slots, values)
    form, tree = values.rng.choice(turn.phrases[lang])
    phrase = expand(tree, slots, lang, values.rng)
    return finish(form, phrase, lang, values.rng, [v.text for v in slots.values()]), command


def finish(form: str, phrase: str, lang: str, rng: random.Random, said: list[str]) -> str:
    """The phrase as a person sends it: politeness, capitals, punctuation, a typo now and then.

    said: the values in the phrase, whose letters are never touched.
    """
    phrase = re.sub(r"\s+", " ", phrase).strip()
    phrase = re.sub(r" ([,.?!])(?=\s|$)", r"\1", phrase)
    phrase = blurred(phrase, said, lang, rng)
    text = (
        rng.choice(AROUND[lang + form]).format(phrase.replace("{", "{{").replace("}", "}}"))
        if "{" not in phrase
        else phrase
    )
    text = wrapped(text, lang, rng)
    if lang == "zh":
        spaced = _chinese(text, form, rng)
        return text if any(v in text and v not in spaced for v in said) else spaced
    if rng.random() < 0.06:
        text = _typo(text, said, rng)
    first = text.split(" ", 1)[0]
    if rng.random() < 0.45 and first.isalpha() and first not in said:
        text = text[0].upper() + text[1:]
    question = form == "?" or text.lower().startswith(("how ", "what ", "can ", "could ", "is "))
    if question and text[-1] != "?" and rng.random() < 0.6:
        text += "?"
    elif not question and text[-1].isalnum() and rng.random() < 0.12:
        text += "."
    return text


def _chinese(text: str, form: str, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.4:
        # a space between Chinese and Latin letters is a habit of some writers only
        text = re.sub(
            r"(?<=[\u4e00-\u9fff]) (?=[A-Za-z0-9./~])|(?<=[A-Za-z0-9./~]) (?=[\u4e00-\u9fff])",
            "",
            text,
        )
    elif chance < 0.6:
        text = re.sub(
            r"(?<=[\u4e00-\u9fff])(?=[A-Za-z0-9./~])|(?<=[A-Za-z0-9/])(?=[\u4e00-\u9fff])",
            " ",
            text,
        )
    if form == "?" and text[-1] not in ASKING and rng.random() < 0.5:
        text += "?"
    elif text[-1] not in STOPS and rng.random() < 0.08:
        text += "\u3002"
    if rng.random() < 0.75 and "http" not in text:
        # full-width marks between Chinese letters, as most people's keyboards give
        text = re.sub(r"(?<=[\u4e00-\u9fff]),", "\uff0c", text)
        text = re.sub(r"\?$", "\uff1f", text)
    return text


def _typo(text: str, said: list[str], rng: random.Random) -> str:
    """Two letters swapped or one lost in a plain word that is no part of a value."""
    kept = " ".join(said).lower()
    words = [m for m in re.finditer(r"(?<![\w./-])[a-z]{5,}(?![\w./-])", text) if m[0] not in kept]
    if not words:
        return text
    word = rng.choice(words)
    at = rng.randrange(word.start() + 1, word.end() - 1)
    middle = text[at + 1] + text[at] if rng.random() < 0.5 else text[at]
    skip = 2
    return text[:at] + middle + text[at + skip :]
