"""Names of files and folders: drawn at random, typed one way, said in many."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from . import rare
from .places import APART, DESKTOP, END, GAP, HERE, HOME, IN_WORDS, INSIDE, KINDS, OPEN

WORDS = Path(__file__).with_name("data") / "words.txt"
PLAIN = re.compile(r"[\w@%+=:,./-][\w@%+=:,./~-]*")
# extensions that cameras and old programs write in capitals
CAPITALS = frozenset("jpg jpeg png gif mp4 mov mp3 wav pdf txt csv doc docx xlsx zip".split())
MARKS = {"en": ('"{}"', "'{}'", "`{}`"), "zh": ("“{}”", '"{}"', "「{}」", "'{}'")}


def quoted(text: str) -> str:
    """`text` as one word of bash: bare when it can be, in single quotes when it must."""
    if PLAIN.fullmatch(text):
        return text
    if text == "~" or text.startswith("~/"):
        return "~/" + quoted(text[2:]) if text[2:] else text
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
        if self.text in (".", "~"):
            return rng.choice((HERE if self.text == "." else HOME)[lang])
        names = (self.zh if lang == "zh" else self.en) or (self.text,)
        name = rng.choice(names)
        if self.text == "Desktop" and rng.random() < 0.4:
            return rng.choice(
                {"en": ("on the {}", "on my {}"), "zh": ("{}上", "我{}上")}[lang]
            ).format(name)
        return fitting(rng, INSIDE[lang], name).format(name)


def fitting(rng: random.Random, forms: tuple[str, ...], folder: str) -> str:
    """One of the forms; nobody says "my /tmp folder"."""
    form = rng.choice(forms)
    while folder[0] in "/~我" and ("my " in form or "我" in form):
        form = rng.choice(forms)
    return form


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


class Names:
    """Draws names from one random generator."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

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

    def unlisted(self) -> str:
        """A name that no list holds: Latin or Chinese, mixed, with spaces or parentheses."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.5:
            return rare.latin(rng)
        if chance < 0.6:
            return self.made_up()
        if chance < 0.75:
            return rare.spaced(rng)
        zh = self.pick("zhname") if rng.random() < 0.4 else rare.chinese(rng)
        return zh if chance < 0.84 else rare.mixed(rng, zh)

    def stem(self) -> str:
        """A file's or folder's name without extension, about half the time one nobody listed."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.54:
            return self.unlisted()
        if chance < 0.77:
            return self.pick("noun")
        if chance < 0.91:
            tail = rng.choice((str(rng.randint(1, 30)), str(rng.randint(2015, 2027)), "final", "v2",
                               self.pick("noun"), f"{rng.randint(2019, 2027)}-{rng.randint(1, 12):02}"))  # fmt: skip
            return self.pick("noun") + rng.choice("_--") + tail
        if chance < 0.98:
            return self.pick("zhname")
        return f"{self.pick('noun')} {self.pick('noun')}"

    def file_name(self, *kinds: str) -> str:
        """A file's name with one of these extensions, any when none are given."""
        ext = self.rng.choice(kinds) if kinds else self.pick("anyext")
        if ext in CAPITALS and self.rng.random() < 0.05:
            ext = ext.upper()
        return f"{self.stem()}.{ext}" if ext else self.stem()

    def file(self, *kinds: str) -> Value:
        """A file with one of these extensions (any when none are given), perhaps in a folder."""
        rng, name = self.rng, self.file_name(*kinds)
        marked = 0.15 if " " in name else 0.06
        chance, folder = rng.random(), self.folder()
        if chance < 0.08:
            return self.in_words(name if chance < 0.04 else f"{folder.text}/{name}")
        if chance > 0.38:
            return Value(name, marked=marked)
        if rng.random() < 0.4:
            return Value(f"{folder.text}/{name}", marked=marked)
        return self.apart(name, folder)

    def in_words(self, path: str) -> Value:
        """A file that is called something, with its path in brackets."""
        rng, ext = self.rng, path.rsplit(".", 1)[-1]
        said = {}
        for lang, word in (("en", self.pick("noun")), ("zh", self.pick("zhname"))):
            kind = KINDS[lang].get(ext, KINDS[lang][""])
            said[lang] = (rng.choice(IN_WORDS[lang]).format(kind=kind, word=word, file=path),)
        return Value(path, said["en"], said["zh"])

    def apart(self, name: str, folder: Value) -> Value:
        """The file of that folder, its name and its folder said apart."""
        rng = self.rng
        said: dict[str, tuple[str, ...]] = {}
        for lang in ("en", "zh"):
            where = folder.said(lang, rng)
            if rng.random() < 0.25:
                said[lang] = (f"{OPEN}{name}{GAP}{where}{END}",)
            else:
                said[lang] = (fitting(rng, APART[lang], folder.text).format(name, where),)
        return Value(f"{folder.text}/{name}", said["en"], said["zh"])

    def folder(self) -> Value:
        """A directory that is not the current one."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.12:
            return Value(self.pick("system"))
        if chance < 0.2:
            return Value("~/" + self.pick("home"))
        if chance < 0.27:
            latin, zh = rng.choice(DESKTOP)
            return Value(latin, (latin,), (zh, zh, latin))
        name = (
            self.pick("folder")
            if chance < 0.5
            else self.unlisted()
            if chance < 0.9
            else self.stem()
        )
        if rng.random() < 0.13:
            name += "/" + (self.pick("folder") if rng.random() < 0.5 else rare.latin(rng))
        return Value(
            ("./" if rng.random() < 0.03 else "") + name, marked=0.12 if " " in name else 0.04
        )
