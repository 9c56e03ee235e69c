"""Words to build values from: lists of common ones, and made-up ones that never come twice."""

from __future__ import annotations

import json
import random
import zlib
from functools import cache
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
ONSETS = (
    "b br c ch cl d dr f fl g gr h j k kl l m n p pl qu r s sh sk st t th tr v vl w y z zh".split()
)
VOWELS = "a e i o u ai ea ee io oa ou y".split()
CODAS = ["", "", "", "n", "r", "l", "s", "x", "m", "th", "nd", "rk", "st", "ck", "p", "t"]
# the 3,755 common characters, in the order of the national code table
HANZI = tuple(
    char
    for row in range(0xB0, 0xD8)
    for char in bytes(b for cell in range(0xA1, 0xFF) for b in (row, cell)).decode(
        "gb2312", "ignore"
    )
)
LOWER = "abcdefghijkmnpqrstuvwxyz"
UPPER = LOWER.upper()
# patterns of identifiers: A and a are letters, 9 a digit, x a hexadecimal digit, w a made-up word
CODES = (
    "AAA-9999 AA-999 AA99999 A9999 9999 99999 999999 aaa_999 a9a9-99a xxxxxxx xxxxxxxx aa-9999-aa "
    "AAA-99-AAA 99-999-99 w-99 w_999 wAA9 AA_9999_a A9-B9-C9 xxxx-xxxx 9999-9999 #9999 AAAA99 "
    "aaa.999 W-9999 W9 xx:xx:xx 2026-9999 PO-99999 INV-9999 ORD-999999 TKT-999 usr_xxxxxx a99 "
    "aaaa-99aa-9 w-w-9 w.w 99A AA9-9AA req-xxxx 9-999-A"
).split()


@cache
def words() -> dict[str, tuple[str, ...]]:
    """The lists of `words.txt` by section name, for example `city.en`."""
    return sections(DATA / "words.txt")


def sections(path: Path) -> dict[str, tuple[str, ...]]:
    """The lines of a file written as `[section] item; item`, by section."""
    lists: dict[str, tuple[str, ...]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section, _, rest = line[1:].partition("]")
            lists[section] = tuple(word.strip() for word in rest.split(";"))
    return lists


@cache
def _phrases() -> dict[str, Any]:
    return json.loads((DATA / "phrases.json").read_text(encoding="utf-8"))


def phrases(name: str) -> Any:
    """A table of `phrases.json`: mostly lists of phrases by language."""
    return _phrases()[name]


def pick(rng: random.Random, items):
    """One item of a sequence; several times faster than `rng.choice`."""
    return items[int(rng.random() * len(items))]


def made_word(rng: random.Random, syllables: int = 0) -> str:
    """A lower-case Latin word that looks pronounceable and means nothing."""
    count = syllables or (1 if rng.random() < 0.2 else 2 if rng.random() < 0.7 else 3)
    return "".join(pick(rng, ONSETS) + pick(rng, VOWELS) + pick(rng, CODAS) for _ in range(count))


def made_hanzi(rng: random.Random, low: int = 2, high: int = 4) -> str:
    """A run of random common Chinese characters."""
    return "".join(pick(rng, HANZI) for _ in range(low + int(rng.random() * (high - low + 1))))


def made_code(rng: random.Random, pattern: str = "") -> str:
    """An identifier such as `INV-8842` or `a9f3-22k`."""
    out = []
    for char in pattern or pick(rng, CODES):
        if char == "9":
            out.append("0123456789"[int(rng.random() * 10)])
        elif char == "x":
            out.append("0123456789abcdef"[int(rng.random() * 16)])
        elif char == "A":
            out.append(pick(rng, UPPER))
        elif char == "a":
            out.append(pick(rng, LOWER))
        elif char in "wW":
            word = made_word(rng, 2)
            out.append(word.capitalize() if char == "W" else word)
        else:
            out.append(char)
    return "".join(out)


def holdout(text: str, percent: int) -> bool:
    """Whether a text falls into the fixed `percent` of all texts that are kept for tests."""
    return zlib.crc32(text.encode()) % 100 < percent
