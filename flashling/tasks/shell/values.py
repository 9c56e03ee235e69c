"""Values that fill the slots of shell requests: drawn at random, typed one way, said in many."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import rare
from .names import Names, Value, listed, quoted

__all__ = ["MAKERS", "Unit", "Value", "Values", "chinese_number", "listed", "quoted"]
ONES = {
    "en": "zero one two three four five six seven eight nine ten".split(),
    "zh": "零 一 两 三 四 五 六 七 八 九 十".split(),
}


class Unit(NamedTuple):
    """A unit of time: how many of the number typed it is, how it is said, up to how many of it."""

    times: int
    en: str
    zh: tuple[str, ...]
    top: int
    weight: float


def chinese_number(n: int) -> str:
    """A number below 100 in Chinese numerals, as before a measure word."""
    ones = ONES["zh"]
    if n <= 10:
        return ones[n]
    ten, one = divmod(n, 10)
    one_said = "二" if one == 2 else ones[one] if one else ""
    return ("" if ten == 1 else "二" if ten == 2 else ones[ten]) + "十" + one_said


# how each kind of value is made; filled by kinds.py
MAKERS: dict[str, Callable[[Values], Value]] = {}


class Values(Names):
    """Draws values of every kind from one random generator."""

    def draw(self, kind: str) -> Value:
        """A value of the kind: a maker below, or a word list of that name; ValueError if neither."""
        if kind in MAKERS:
            return MAKERS[kind](self)
        if kind not in listed():
            raise ValueError(f"no kind of value is called {kind!r}: add it to words.txt or MAKERS")
        return self.of(kind)

    def number(self, low: int, high: int) -> Value:
        """A number, small ones now and then in words."""
        n = self.rng.randint(low, high)
        if n > 10 or n < 1:
            return Value(str(n))
        return Value(str(n), (str(n),) * 3 + (ONES["en"][n],), (str(n),) * 3 + (ONES["zh"][n],))

    def span(self, units: Sequence[Unit], named: dict[int, tuple[str, str]]) -> Value:
        """A length of time: `7` said as "7 days", "a week", "one week"; `named` are said otherwise."""
        rng = self.rng
        if named and rng.random() < 0.12:
            n = rng.choice(tuple(named))
            return Value(str(n), (named[n][0],), (named[n][1],))
        unit = rng.choices(units, [u.weight for u in units])[0]
        n = rng.choice((1, 2, 3, rng.randint(1, unit.top), rng.randint(1, unit.top)))
        en, zh = [f"{n} {unit.en}{'s' * (n > 1)}"] * 2, []
        for word in unit.zh:
            zh += [f"{n}{word}", f"{n} {word}", chinese_number(n) + word]
        if n == 1:
            en = [f"a{'n' * (unit.en == 'hour')} {unit.en}"] * 2 + [
                f"1 {unit.en}",
                f"one {unit.en}",
            ]
        elif n <= 10:
            en.append(f"{ONES['en'][n]} {unit.en}s")
        return Value(str(n * unit.times), tuple(en), tuple(zh))

    def size(self) -> Value:
        """A size as find writes it: `100M` said as "100 MB"."""
        rng = self.rng
        unit = rng.choice("MMMMkkG")
        n = rng.choice((1, 2, 5, 10, 20, 50, 100, 200, 500, 1, 3, rng.randint(1, 999)))
        return self.sized(min(n, 20) if unit == "G" else n, unit)

    def sized(self, n: int, unit: str) -> Value:
        """That many megabytes, kilobytes or gigabytes."""
        en = {
            "M": ("{}MB", "{} MB", "{}M", "{} megabytes", "{} mb"),
            "k": ("{}KB", "{} KB", "{}K", "{} kilobytes", "{}kb"),
            "G": ("{}GB", "{} GB", "{}G", "{} gigabytes", "{} gigs"),
        }
        zh = {
            "M": ("{}MB", "{}M", "{} MB", "{}兆"),
            "k": ("{}KB", "{}K", "{} KB"),
            "G": ("{}GB", "{}G", "{} GB", "{}个G"),
        }
        return Value(
            f"{n}{unit}",
            tuple(s.format(n) for s in en[unit]),
            tuple(s.format(n) for s in zh[unit]),
        )

    def word(self) -> Value:
        """A text to search for: one word."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.3:
            return self.of("term", marked=0.35)
        if chance < 0.38:
            return Value(self.pick("noun"), marked=0.4)
        if chance < 0.45:
            return Value(self.made_up(), marked=0.35)
        if chance < 0.75:
            return Value(rare.latin(rng), marked=0.35)
        if chance < 0.9:
            zh = self.pick("zhterm") if rng.random() < 0.4 else rare.chinese(rng)
            mixed = zh if rng.random() < 0.7 else rare.mixed(rng, zh)
            # a pattern would take parentheses for its own
            return Value(zh if re.search(r"[ ()（）]", mixed) else mixed, marked=0.4)
        return Value(f"{self.pick('ident')}{rng.choice(('', '_' + self.pick('noun')))}", marked=0.3)

    def text(self) -> Value:
        """A text of one word or several; those of several are said in quotes."""
        if self.rng.random() < 0.5:
            return self.word()
        if self.rng.random() < 0.3:
            return Value(self.pick("zhline"), marked=1.0)
        return Value(self.pick("line"), marked=1.0)

    def date(self) -> Value:
        """A day as `2026-03-01`, said in a few forms that hold the same digits."""
        rng = self.rng
        y, m, d = rng.randint(2018, 2027), rng.randint(1, 12), rng.randint(1, 28)
        iso = f"{y}-{m:02}-{d:02}"
        month = "January February March April May June July August September October November December".split()[m - 1]  # fmt: skip
        return Value(
            iso,
            (iso, iso, iso, f"{month} {d}, {y}", f"{d} {month} {y}", f"{y}/{m:02}/{d:02}"),
            (iso, iso, f"{y}年{m}月{d}日", f"{y}年{m}月{d}号", f"{y}/{m}/{d}"),
        )

    def ip(self) -> Value:
        """An IPv4 address."""
        rng = self.rng
        head = rng.choice(
            ("192.168", "10.0", "172.16", f"{rng.randint(11, 220)}.{rng.randint(0, 255)}")
        )
        return Value(f"{head}.{rng.randint(0, 255)}.{rng.randint(1, 254)}")

    def host(self) -> Value:
        """A machine's name or address."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.3:
            return self.ip()
        name = self.pick("hostword") + (str(rng.randint(1, 9)) if rng.random() < 0.3 else "")
        return Value(name if chance < 0.5 else f"{name}.{self.pick('domain')}")

    def url(self) -> Value:
        """A web address of a page or a file."""
        rng = self.rng
        host = rng.choice((f"{self.pick('hostword')}.{self.pick('domain')}", self.pick("domain")))
        path = rng.choice(
            (
                "",
                "/" + self.pick("noun"),
                "/" + re.sub(r"[ ()（）]+", "-", self.file().text).lstrip("/~"),
            )
        )
        return Value(f"{rng.choice(('https', 'https', 'http'))}://{host}{path}")

    def commit(self) -> Value:
        """A short commit id."""
        return Value("".join(self.rng.choice("0123456789abcdef") for _ in range(self.rng.choice((7, 7, 8)))))  # fmt: skip

    def branch(self) -> Value:
        """A git branch."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.4:
            return Value(rng.choice(("main", "master", "dev", "develop", "staging", "release")))
        name = rng.choice(
            (self.pick("noun"), self.made_up(), f"{self.pick('noun')}-{self.pick('noun')}")
        )
        head = rng.choice(("feature/", "fix/", "bugfix/", "hotfix/", "", "", ""))
        return Value(head + name)
