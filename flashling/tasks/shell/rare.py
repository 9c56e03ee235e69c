"""Names that no list holds: words of the tldr pages, cut, joined and spelt at random.

A model that has seen only listed names copies only those, and a token that was never copied cannot
be: so the words of the tokenizer's own vocabulary are among them.
"""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

from .tldr import Index

LETTERS = "abcdefghijklmnopqrstuvwxyz"
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "June", "July", "Aug", "Sept", "Oct", "Nov", "Dec")
# what people put before and behind a Chinese name
ZH_TAILS = ("最终版", "副本", "修改版", "初稿", "定稿", "备份", "新", "旧版", "草稿", "汇总")
EN_TAILS = ("final", "copy", "draft", "new", "old", "backup", "signed", "edited", "v2", "scan")


# three letters or more that are one token of the embedded model, in the case that they are
TOKENS = Path(__file__).with_name("data") / "tokens.txt"
# the first level of GB 2312: the 3,755 characters in common use
COMMON = tuple(
    bytes((high, low)).decode("gb2312")
    for high in range(0xB0, 0xD8)
    for low in range(0xA1, 0xFF)
    if (high, low) < (0xD7, 0xFA)
)


@cache
def words() -> tuple[str, ...]:
    """English words of the pages' sentences in lower case, and whole tokens, sorted."""
    found = {w for e in Index.load().entries for w in re.findall(r"[A-Za-z]{3,12}", e.ask)}
    tokens = TOKENS.read_text(encoding="utf-8").split()
    return tuple(sorted({w.lower() for w in found} | set(tokens)))


@cache
def pairs() -> tuple[str, ...]:
    """Neighbouring Chinese characters of the pages' sentences, sorted."""
    runs = [r for e in Index.load().entries for r in re.findall(r"[\u4e00-\u9fff]{2,}", e.ask)]
    return tuple(sorted({r[i : i + 2] for r in runs for i in range(len(r) - 1)}))


def plural(word: str) -> str:
    """The word as a plural."""
    if word.endswith("s"):
        return word
    if word.endswith(("x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def stamp(rng: random.Random) -> str:
    """A date as file names hold it."""
    y, m, d = rng.randint(1998, 2030), rng.randint(1, 12), rng.randint(1, 28)
    return rng.choice((f"{y}", f"{y}", f"{y}{m:02}{d:02}", f"{y}-{m:02}-{d:02}", f"{y}-{m:02}", f"{y}_{m:02}",
                       f"{y}.{m:02}", f"{y}q{rng.randint(1, 4)}", f"{m:02}{d:02}"))  # fmt: skip


def version(rng: random.Random) -> str:
    """A version as file names hold it."""
    a, b, c = rng.randint(0, 12), rng.randint(0, 20), rng.randint(0, 9)
    return rng.choice((f"v{a}", f"v{a}.{b}", f"{a}.{b}.{c}", f"v{a}.{b}.{c}", f"{a}.{b}"))


def latin(rng: random.Random) -> str:
    """A name of letters and digits, in one word."""
    word, chance = rng.choice(words()), rng.random()
    if chance < 0.22:
        return word
    if chance < 0.32:
        return plural(word)
    if chance < 0.4:
        return word.capitalize() if rng.random() < 0.6 else word.upper()
    other = rng.choice(words())
    if chance < 0.6:
        return rng.choice((f"{word}_{other}", f"{word}-{other}", word + other.capitalize(), f"{word}.{other}",
                           word.capitalize() + other.capitalize(), f"{word}_{other}".upper(), f"{word}{other}"))  # fmt: skip
    if chance < 0.72:
        return f"{word}{rng.choice(('', '_', '-'))}{rng.randint(0, 9999)}"
    if chance < 0.84:
        tail = stamp(rng) if rng.random() < 0.6 else version(rng)
        return f"{rng.choice((word, word, word.capitalize()))}{rng.choice('-_-_.')}{tail}"
    if chance < 0.9:
        return rng.choice((f"IMG_{rng.randint(1000, 9999)}", f"{stamp(rng)}_{word}", f"{stamp(rng)}-{word}",
                           f"{rng.randint(1, 99):02}-{word}", f"{word}_{rng.choice(EN_TAILS)}", f"DSC{rng.randint(10000, 99999)}"))  # fmt: skip
    spelt = "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 7)))
    return spelt if rng.random() < 0.6 else f"{spelt}{rng.randint(0, 99)}"


def spaced(rng: random.Random) -> str:
    """A name with spaces or parentheses, as people's own documents have."""
    word, other = rng.choice(words()), rng.choice(words())
    big, chance = word.capitalize(), rng.random()
    if chance < 0.2:
        return f"{rng.choice((word, big, plural(big)))} {rng.choice((str(rng.randint(1998, 2030)), str(rng.randint(1, 40)), stamp(rng)))}"
    if chance < 0.4:
        name = rng.choice(
            (word, big, f"{word}_{other}", f"{word}-{other}", f"{big} {other.capitalize()}")
        )
        return f"{name}{rng.choice((' ', ' ', ''))}({rng.choice((str(rng.randint(1, 12)),) * 3 + EN_TAILS)})"
    if chance < 0.6:
        return f"{big} {other.capitalize()}"
    if chance < 0.75:
        return f"{word} {other}"
    if chance < 0.87:
        return f"{big} {other.capitalize()} {rng.randint(1998, 2030)}"
    return rng.choice((f"{big} {version(rng)}", f"{word} - {rng.choice(EN_TAILS)}", f"{rng.choice(MONTHS)} {rng.randint(2009, 2030)}",
                       f"{big} {rng.choice(EN_TAILS)}", f"{big} and {other.capitalize()}", f"{word} {other} {rng.randint(1, 99)}"))  # fmt: skip


def chinese(rng: random.Random) -> str:
    """A name of two to six Chinese characters."""
    if rng.random() < 0.3:
        return "".join(rng.choice(COMMON) for _ in range(rng.randint(2, 5)))
    return "".join(rng.choice(pairs()) for _ in range(rng.choice((1, 1, 1, 2, 2, 3))))


def mixed(rng: random.Random, name: str) -> str:
    """The Chinese name with digits, Latin letters or parentheses."""
    chance = rng.random()
    if chance < 0.4:
        return f"{name}{rng.choice(('', '', '_', '-'))}{rng.choice((str(rng.randint(1, 60)), stamp(rng), stamp(rng), version(rng)))}"
    if chance < 0.55:
        return f"{stamp(rng)}{rng.choice(('', '', '年', '_'))}{name}"
    if chance < 0.75:
        return rng.choice((f"{rng.choice(words()).capitalize()}{name}", f"{name}{rng.choice(words()).upper()}", f"{name}_{rng.choice(words())}",
                           f"{name}{rng.choice(ZH_TAILS)}", f"{name}-{rng.choice(ZH_TAILS)}"))  # fmt: skip
    inner = rng.choice(
        (str(rng.randint(1, 9)), str(rng.randint(1, 9)), rng.choice(ZH_TAILS), stamp(rng))
    )
    return rng.choice(
        (
            f"{name}({inner})",
            f"{name}({inner})",
            f"{name}（{inner}）",
            f"{name} ({inner})",
            f"{name} {rng.randint(1, 2030)}",
        )
    )
