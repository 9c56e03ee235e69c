"""Values that fill the slots of shell requests: drawn at random, typed one way, said in many."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import rare

WORDS = Path(__file__).with_name("data") / "words.txt"
PLAIN = re.compile(r"[\w@%+=:,./-][\w@%+=:,./~-]*")
HERE = {
    "en": ("", "", "here", "in this folder", "in the current directory", "in this directory",
           "in the current folder", "under the current directory", "in here"),
    "zh": ("", "", "当前目录下", "当前目录里", "这里", "这个文件夹里", "当前文件夹", "本目录下", "当前目录中"),
}  # fmt: skip
INSIDE = {
    "en": ("in {}", "in {}", "in {}", "under {}", "inside {}", "in the {} folder",
           "in the {} directory", "in the directory {}", "in folder {}", "from {}"),
    "zh": ("{}里", "{}目录下", "{}目录里", "{}下", "{}文件夹里", "在{}里", "{} 目录中", "{}下面", "{}里面"),
}  # fmt: skip
# a file's name and its folder said apart
APART = {
    "en": ("{} in {}", "{} in {}", "{} in the {} folder", "{} from {}", "{} (in {})", "{} under {}",
           "{}, which is in {},", "{1}'s {0}", "the {} in {}"),
    "zh": ("{1}里的{0}", "{1}下的 {0}", "{1}目录里的{0}", "{1} 里面的 {0}", "{1}文件夹里的 {0}", "{0}(在{1}里)",
           "{0}(在 {1} 目录下)", "{1}目录下 {0}", "{1}底下的{0}", "{1}中的 {0}"),
}  # fmt: skip
ONES = {
    "en": "zero one two three four five six seven eight nine ten".split(),
    "zh": "零 一 两 三 四 五 六 七 八 九 十".split(),
}
MARKS = {"en": ('"{}"', "'{}'", "`{}`"), "zh": ("“{}”", '"{}"', "「{}」", "'{}'")}


def quoted(text: str) -> str:
    """`text` as one word of bash: bare when it can be, in single quotes when it must."""
    if PLAIN.fullmatch(text):
        return text
    if text.startswith("~/"):
        return "~/" + quoted(text[2:])
    return "'" + text.replace("'", "'\\''") + "'"


@dataclass(frozen=True)
class Value:
    """text: what is typed. en, zh: how it is said when not as typed; marked: may be said in quotes."""

    text: str
    en: tuple[str, ...] = ()
    zh: tuple[str, ...] = ()
    marked: float = 0.0

    def typed(self, how: str = "") -> str:
        """The value in a command: `'` always in quotes, `!` as it is, else in quotes if needed."""
        if how == "!":
            return self.text
        return "'" + self.text.replace("'", "'\\''") + "'" if how == "'" else quoted(self.text)

    def said(self, lang: str, rng: random.Random) -> str:
        """The value in a request."""
        options = self.zh if lang == "zh" else self.en
        text = rng.choice(options) if options else self.text
        if self.marked and rng.random() < self.marked:
            return rng.choice(MARKS[lang]).format(text)
        return text

    def place(self, lang: str, rng: random.Random) -> str:
        """A directory as a place: "in src", "here" or nothing at all when it is the current one."""
        if self.text == ".":
            return rng.choice(HERE[lang])
        return rng.choice(INSIDE[lang]).format(self.text)


@cache
def listed() -> dict[str, tuple]:
    """The word lists of `words.txt`; an entry `a = b | c ; d` is (typed, said in en, said in zh)."""
    lists: dict[str, tuple] = {}
    for block in WORDS.read_text(encoding="utf-8").split("\n["):
        head, _, body = block.lstrip("[").partition("]")
        entries = []
        for line in body.strip().splitlines():
            if " = " in line:
                typed, _, rest = line.partition(" = ")
                en, _, zh = rest.partition(";")
                entries.append((typed, *(tuple(o.strip() for o in s.split("|")) for s in (en, zh))))
            else:
                entries += line.split("\t") if "\t" in line else line.split()
        lists[head] = tuple(entries)
    return lists


# how each kind of value is made; filled by kinds.py
MAKERS: dict[str, Callable[[Values], Value]] = {}


class Values:
    """Draws values of every kind from one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def draw(self, kind: str) -> Value:
        """A value of the kind: a maker below, or a word list of that name; ValueError if neither."""
        if kind in MAKERS:
            return MAKERS[kind](self)
        if kind not in listed():
            raise ValueError(f"no kind of value is called {kind!r}: add it to words.txt or MAKERS")
        return self.of(kind)

    def of(self, kind: str, marked: float = 0.0) -> Value:
        """An entry of a word list."""
        entry = self.rng.choice(listed()[kind])
        return Value(entry, marked=marked) if isinstance(entry, str) else Value(*entry)

    def pick(self, kind: str) -> str:
        """The typed text of an entry of a word list."""
        entry = self.rng.choice(listed()[kind])
        return entry if isinstance(entry, str) else entry[0]

    def made_up(self) -> str:
        """A name nobody has seen: letters, digits, marks."""
        rng = self.rng
        parts = ["".join(rng.choice(("ka", "to", "mi", "re", "sol", "ban", "xi", "qu", "lo", "ver",
                 "dra", "pe", "zu", "nim", "ost", "gre", "fy", "hul", "ja", "wen", "teb", "ark"))
                 for _ in range(rng.randint(1, 3)))]  # fmt: skip
        if rng.random() < 0.5:
            parts.append(rng.choice((str(rng.randint(0, 2030)), self.pick("noun"), "v2", "old")))
        return rng.choice("_--.").join(parts) if len(parts) > 1 else parts[0]

    def stem(self) -> str:
        """A file's or folder's name without extension, now and then Chinese or with a space."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.36:
            return self.pick("noun")
        if chance < 0.52:
            tail = rng.choice((str(rng.randint(1, 30)), str(rng.randint(2015, 2027)), "final", "v2",
                               self.pick("noun"), f"{rng.randint(2019, 2027)}-{rng.randint(1, 12):02}"))  # fmt: skip
            return self.pick("noun") + rng.choice("_--") + tail
        if chance < 0.62:
            return self.made_up()
        if chance < 0.84:
            return rare.latin(rng)
        if chance < 0.94:
            return self.pick("zhname") if rng.random() < 0.6 else rare.chinese(rng)
        return f"{self.pick('noun')} {self.pick('noun')}"

    def file(self, *kinds: str) -> Value:
        """A file with one of these extensions (any when none are given), perhaps in a folder."""
        rng = self.rng
        ext = rng.choice(kinds) if kinds else self.pick("anyext")
        name = f"{self.stem()}.{ext}" if ext else self.stem()
        if rng.random() > 0.28:
            return Value(name, marked=0.06)
        folder = self.folder().text
        path = f"{folder}/{name}"
        if rng.random() < 0.6:
            return Value(path, marked=0.06)
        en, zh = (tuple(form.format(name, folder) for form in APART[lang]) for lang in APART)
        return Value(path, en, zh)

    def folder(self) -> Value:
        """A directory that is not the current one."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.16:
            return Value(self.pick("system"))
        if chance < 0.26:
            return Value("~/" + self.pick("home"))
        name = self.pick("folder") if chance < 0.72 else self.stem()
        if rng.random() < 0.15:
            name += "/" + self.pick("folder")
        return Value(("./" if rng.random() < 0.03 else "") + name, marked=0.04)

    def number(self, low: int, high: int) -> Value:
        """A number, small ones now and then in words."""
        n = self.rng.randint(low, high)
        if n > 10 or n < 1:
            return Value(str(n))
        return Value(str(n), (str(n),) * 3 + (ONES["en"][n],), (str(n),) * 3 + (ONES["zh"][n],))

    def span(self, one: tuple[str, str], names: dict[int, tuple[str, str]], top: int) -> Value:
        """A length of time: `7` said as "7 days", "a week"."""
        rng = self.rng
        n = rng.choice(tuple(names)) if rng.random() < 0.5 else rng.randint(2, top)
        en, zh = [f"{n} {one[0]}{'s' * (n > 1)}"] * 2, [f"{n}{one[1]}", f"{n} {one[1]}"]
        if n in names:
            en, zh = [*en, names[n][0]], [*zh, names[n][1]]
        elif n <= 10:
            en, zh = [*en, f"{ONES['en'][n]} {one[0]}s"], [*zh, ONES["zh"][n] + one[1]]
        return Value(str(n), tuple(en), tuple(zh))

    def size(self) -> Value:
        """A size as find writes it: `100M` said as "100 MB"."""
        rng = self.rng
        unit = rng.choice("MMMMkkG")
        n = rng.choice((1, 2, 5, 10, 20, 50, 100, 200, 500, 1, 3, rng.randint(1, 999)))
        n = min(n, 20) if unit == "G" else n
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
        if chance < 0.4:
            return self.of("term", marked=0.35)
        if chance < 0.5:
            return Value(self.pick("noun"), marked=0.4)
        if chance < 0.6:
            return Value(self.made_up(), marked=0.35)
        if chance < 0.78:
            return Value(rare.latin(rng), marked=0.35)
        if chance < 0.9:
            zh = self.pick("zhterm") if rng.random() < 0.5 else rare.chinese(rng)
            return Value(zh, marked=0.4)
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
            iso, (iso, iso, f"{month} {d}, {y}", f"{d} {month} {y}"), (iso, iso, f"{y}年{m}月{d}日")
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
        path = rng.choice(("", "/" + self.pick("noun"), "/" + self.file().text.replace(" ", "-")))
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
