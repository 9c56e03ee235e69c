"""Argument values: what the user says for a parameter, and what the call must hold."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from flashling.tasks.tools.words import (
    DATA,
    made_code,
    made_hanzi,
    made_word,
    phrases,
    sections,
    words,
)

NUMBERS_EN: tuple[str, ...] = tuple(phrases("numbers_en"))
NUMBERS_ZH: tuple[str, ...] = tuple(phrases("numbers_zh"))
# kinds whose words come from a list of their own, with how often a made-up one replaces them
LISTED: dict[str, float] = phrases("listed")
DIGITS_ZH = "零一二三四五六七八九"
TEENS_EN = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
    "fifteen sixteen seventeen eighteen nineteen"
).split()
TENS_EN = "twenty thirty forty fifty sixty seventy eighty ninety".split()
DOZENS = {
    "en": (("a dozen", 12), ("half a dozen", 6), ("two dozen", 24)),
    "zh": (("一打", 12), ("半打", 6), ("两打", 24)),
}
CLASSIFIERS = "个箱包件盒袋"
OPEN = frozenset("text title query item song movie book note".split())
NO_PREPOSITION = ("today", "tom", "ton", "yes", "this", "next", "in ", "the day", "last")
PIECE = re.compile(r"\{([^}]+)\}")
Piece = str | tuple[str, str] | tuple[int, int, int]


class Values:
    """Makes values of every kind, in one of the languages `en` and `zh`.

    A kind is a list of `words.txt`, a list of forms in `forms.txt` or one of the methods below
    that take the language alone.
    """

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.random = rng.random
        self.lists = words()
        self.forms = forms()
        self.makers: dict[str, Callable[[str], str]] = {
            "date": self.said_date,
            "iso_date": self.iso_date,
            "time": self.time,
            "month": self.month,
            "person": self.person,
            "title": self.title,
            "song": self.title,
            "movie": self.title,
            "book": self.title,
            "thing": self.nounish,
            "nounish": self.nounish,
            "id": lambda lang: made_code(rng),
            "latin": lambda lang: made_word(rng),
            "Latin": lambda lang: made_word(rng).capitalize(),
            "Noun": lambda lang: self.listed("noun", "en").capitalize(),
            "lowname": lambda lang: self.listed("first", "en").lower(),
            "listed_branch": lambda lang: self.pick(self.lists["branch"]),
        }
        for count in range(1, 5):
            self.makers[f"hanzi{count}"] = lambda lang, n=count: made_hanzi(rng, n, n)

    def pick(self, items: Sequence[Any]) -> Any:
        """One item of a sequence."""
        return items[int(self.random() * len(items))]

    def listed(self, section: str, lang: str) -> str:
        """A word of a list, for example `noun`."""
        return self.pick(self.lists[f"{section}.{lang}"])

    def between(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return low + int(self.random() * (high - low + 1))

    def text_of(self, kind: str, lang: str) -> str:
        """A string of a kind: a listed word, a made-up one or a form filled."""
        if kind in LISTED:
            return self.invented(lang) if self.random() < LISTED[kind] else self.listed(kind, lang)
        found = self.forms.get(f"{kind}.{lang}") or self.forms.get(kind)
        if found:
            return self._formed(self.pick(found), lang)
        if kind in self.makers:
            return self.makers[kind](lang)
        if kind[-3:] in (".en", ".zh"):
            return self.text_of(kind[:-3], kind[-2:])
        return self.pick(self.lists.get(f"{kind}.{lang}") or self.lists[kind])

    def _formed(self, pieces: tuple[Piece, ...], lang: str) -> str:
        out = []
        for piece in pieces:
            if isinstance(piece, str):
                out.append(piece)
            elif len(piece) == 3:
                low, high, width = piece
                out.append(str(self.between(low, high)).zfill(width))
            elif piece[0] == "code":
                out.append(made_code(self.rng, piece[1]))
            else:
                out.append(self.text_of(piece[1], lang))
        return "".join(out)

    def invented(self, lang: str) -> str:
        """A name that nobody has seen."""
        if lang == "zh":
            return made_hanzi(self.rng)
        word = made_word(self.rng).capitalize()
        return word if self.random() < 0.7 else f"{word} {self.listed('noun', 'en').capitalize()}"

    def nounish(self, lang: str) -> str:
        """A noun, listed or made up."""
        if self.random() < 0.65:
            return self.listed("noun", lang)
        return made_hanzi(self.rng, 2, 3) if lang == "zh" else made_word(self.rng)

    def said_date(self, lang: str) -> str:
        """A day as people say it."""
        chance = self.random()
        if chance < 0.5:
            return self.listed("date", lang)
        day, month = self.between(1, 28), self.between(1, 12)
        if chance < 0.65:
            return self.iso_date(lang)
        if lang == "zh":
            return f"{month}月{day}{self.pick('日号')}"
        name = self.lists["month.en"][month - 1]
        form = self.pick(("{m} {d}", "{m} {d}th", "{d} {m}", "{s} {d}", "{n}/{d}"))
        day = day if "th" not in form or 3 < day < 21 else 14
        return form.format(m=name, d=day, s=name[:3], n=month)

    def iso_date(self, lang: str) -> str:
        """A day as YYYY-MM-DD."""
        return f"20{self.between(23, 29)}-{self.between(1, 12):02}-{self.between(1, 28):02}"

    def full_date(self, lang: str) -> tuple[str, str]:
        """A day with its year, as people write it and as YYYY-MM-DD."""
        iso = self.iso_date(lang)
        year, month, day = (int(part) for part in iso.split("-"))
        if self.random() < 0.45:
            return iso, iso
        if lang == "zh":
            return f"{year}年{month}月{day}{self.pick('日日号')}", iso
        name = self.lists["month.en"][month - 1]
        form = self.pick(("{m} {d}, {y}", "{d} {m} {y}", "{s} {d}, {y}", "{y}/{i:02}/{d:02}"))
        return form.format(m=name, s=name[:3], d=day, y=year, i=month), iso

    def time(self, lang: str) -> str:
        """A time of day as people say it."""
        if self.random() < 0.5:
            return self.listed("time", lang)
        hour, minute = self.between(0, 23), self.pick(("00", "15", "30", "45", "05", "20", "50"))
        if lang == "zh":
            return self.pick((f"{hour}:{minute}", f"{hour}点", f"{hour}点{minute}分"))
        half = hour % 12 or 12
        return self.pick((f"{hour:02}:{minute}", f"{half}:{minute} pm", f"{half}am", f"{half} pm"))

    def month(self, lang: str) -> str:
        """The name of a month."""
        number = self.between(1, 12)
        return f"{number}月" if lang == "zh" else self.lists["month.en"][number - 1]

    def person(self, lang: str) -> str:
        """A person: a full name, a first name or what one is called."""
        chance = self.random()
        if lang == "zh":
            if chance < 0.15:
                return self.listed("nick", "zh")
            given = made_hanzi(self.rng, 1, 2) if chance < 0.4 else self.listed("given", "zh")
            return self.listed("surname", "zh") + given
        if chance < 0.08:
            return self.listed("nick", "en")
        first = made_word(self.rng).capitalize() if chance < 0.25 else self.listed("first", "en")
        last = made_word(self.rng).capitalize() if chance > 0.8 else self.listed("last", "en")
        return first if 0.45 < chance < 0.75 else f"{first} {last}"

    def title(self, lang: str) -> str:
        """A title of one to four words; in English in one of three fashions of capitals."""
        if lang == "zh":
            return self._formed(self.pick(self.forms["title.zh"]), lang)
        chance = self.random()
        form = self._formed(self.pick(self.forms["title.low.en"]), lang)
        if chance < 0.08:
            return f"The {form}".title()
        return form.title() if chance < 0.45 else form.capitalize() if chance < 0.6 else form

    def number(self, low: float, high: float, whole: bool, lang: str) -> tuple[str, int | float]:
        """A number as said (mostly digits) and as meant."""
        chance = self.random()
        if not whole:
            digits = 1 if chance < 0.6 else 2
            value = round(low + self.random() * (high - low), digits)
            return (f"{value}", value) if value != int(value) else (f"{int(value)}", int(value))
        value = self.between(int(low), int(high))
        if chance < 0.3 and value > 20:
            value = max(int(low), value - value % (10 if value < 200 else 100))
        if 0 < value <= 12 and chance > 0.85:
            return (NUMBERS_EN if lang == "en" else NUMBERS_ZH)[value], value
        if value >= 1000 and chance > 0.9 and lang == "en":
            return f"{value:,}", value
        return str(value), value

    def tally(self, kind: str, low: float, high: float, lang: str) -> tuple[str, int]:
        """A count as said, often in words; a `lot` in Chinese has its classifier or is a dozen."""
        value, chance = self.between(int(low), int(high)), self.random()
        has_dozens = low <= 6 <= 24 <= high and (lang == "en" or kind == "lot")
        if chance < 0.12 and has_dozens:
            return self.pick(DOZENS[lang])
        said = str(value) if chance < 0.6 else counted(value, lang)
        return (said + self.pick(CLASSIFIERS) if lang == "zh" and kind == "lot" else said), value

    def with_preposition(self, text: str, kind: str) -> str:
        """An English date or time with the small word before it: `on March 3`, `at noon`."""
        if text.startswith(NO_PREPOSITION):
            return text
        if kind in ("date", "iso_date"):
            return f"at {text}" if text.startswith("the end") else f"on {text}"
        return f"at {text}"


def counted(value: int, lang: str) -> str:
    """A number up to 99 in words, others in digits."""
    if value > 99:
        return str(value)
    tens, ones = divmod(value, 10)
    if lang == "zh":
        head = "" if not tens else "十" if tens == 1 else f"{DIGITS_ZH[tens]}十"
        return "两" if value == 2 else head + (DIGITS_ZH[ones] if ones or not tens else "")
    if value < 20:
        return TEENS_EN[value]
    return TENS_EN[tens - 2] + (f"-{TEENS_EN[ones]}" if ones else "")


@cache
def forms() -> dict[str, tuple[tuple[Piece, ...], ...]]:
    """The forms of `forms.txt` by kind, for example `email` or `text.en`, as pieces to join.

    A piece is plain text, a range of whole numbers (low, high, digits at least), a pattern of
    letters and digits ("code", pattern) or another kind ("kind", name).
    """
    return {
        kind: tuple(_pieces(form) for form in found)
        for kind, found in sections(DATA / "forms.txt").items()
    }


def _pieces(form: str) -> tuple[Piece, ...]:
    out: list[Piece] = []
    for at, text in enumerate(PIECE.split(form)):
        low, dash, high = text.partition("-")
        if not at % 2:
            out += [text] if text else []
        elif dash and low.isdigit():
            out.append((int(low), int(high), len(low) if low[0] == "0" else 0))
        elif not text.strip("9Ax"):
            out.append(("code", text))
        else:
            out.append(("kind", text))
    return tuple(out)
