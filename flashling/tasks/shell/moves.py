"""Composed requests that move, copy, rename, pack, unpack, delete: several things, new places."""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import cache
from itertools import accumulate

from . import rare
from .deeds import SEVERAL, Deed
from .finds import Made
from .keeps import PACKED, RIGHTS, SINGLE
from .values import Value, Values, quoted

# pairs of extensions that people change into one another
SPELT = (
    ("JPG", "jpg"), ("jpeg", "jpg"), ("JPEG", "jpg"), ("PNG", "png"), ("txt", "md"), ("htm", "html"), ("TXT", "txt"), ("yml", "yaml"),
    ("jpg", "jpeg"), ("md", "txt"), ("log", "txt"), ("MP4", "mp4"), ("MOV", "mov"), ("PDF", "pdf"), ("js", "ts"), ("text", "txt"),
    ("yaml", "yml"), ("csv", "CSV"), ("js", "mjs"), ("tiff", "tif"), ("c", "cpp"), ("dat", "csv"), ("conf", "ini"), ("htm", "HTML"),
)  # fmt: skip
DONE = {
    "mv": {"en": (("move", "moved"), ("move", "moved"), ("shift", "shifted"), ("transfer", "transferred")), "zh": ("移", "移动", "挪", "搬", "移")},
    "cp": {"en": (("copy", "copied"),), "zh": ("复制", "拷贝", "拷", "复制一份")},
}  # fmt: skip


@cache
def deeds() -> tuple[tuple[Deed, ...], tuple[float, ...]]:
    """All deeds, and their weights added up."""
    found = SEVERAL + SINGLE + PACKED + RIGHTS
    return found, tuple(accumulate(deed[0] for deed in found))


def _plain(values: Values) -> Value:
    name = values.unlisted() if values.rng.random() < 0.7 else values.stem()
    return Value(name, marked=0.15 if " " in name else 0.05)


def _file(*kinds: str) -> Callable[[Values], Value]:
    def make(values: Values) -> Value:
        name = values.file_name(*kinds)
        return Value(name, marked=0.12 if " " in name else 0.05)

    return make


def _spaced(values: Values) -> Value:
    name = rare.spaced(values.rng)
    while " " not in name:
        name = rare.spaced(values.rng)
    return Value(f"{name}.{values.pick('ext')}", marked=0.2)


def _piece(values: Values) -> Value:
    name = rare.latin(values.rng) if values.rng.random() < 0.75 else rare.chinese(values.rng)
    return Value(name + values.rng.choice(("", "", "", "_", "-")), marked=0.25)


MAKERS: dict[str, Callable[[Values], Value]] = {
    "a": Values.folder, "b": Values.folder, "d": lambda v: Value(".") if v.rng.random() < 0.4 else v.folder(),
    "n": _plain, "o": _plain, "p": _plain, "f": _file(), "g": _file(), "h": _file(), "s": _spaced, "k": _piece,
    "t": _file("tar.gz", "tar.gz", "tgz"), "z": _file("zip"), "c": _file("gz", "csv.gz", "log.gz"), "r": _file("sh", "sh", "py", "pl", "bin"),
    "x": lambda v: v.of("ext"), "y": lambda v: v.of("ext"),
}  # fmt: skip


class Slots(dict):
    """The values of one request by their letters, drawn when first asked for, all different."""

    def __init__(self, values: Values, lang: str) -> None:
        self.source, self.lang = values, lang

    def __missing__(self, letter: str) -> Value:
        rng = self.source.rng
        if letter in ("u", "v"):
            self["u"], self["v"] = (Value(ext) for ext in rng.choice(SPELT))
        elif letter == "s_":
            self["s_"] = Value(self["s"].text.replace(" ", "_"))
        elif letter == "g" and "f" in self and rng.random() < 0.6:
            # two files of one request, or its new name, are often of one kind
            tail = self["f"].text.rpartition(".")[2]
            self["g"] = _file(tail.lower())(self.source)
        else:
            self[letter] = MAKERS[letter](self.source)
        if any(self[letter].text == v.text for other, v in self.items() if other != letter):
            del self[letter]
        return self[letter]

    def path(self, key: str) -> str:
        """The path of a key like `d/f`."""
        folder, _, name = key.partition("/")
        where = self[folder].text
        return self[name].text if where == "." else f"{where}/{self[name].text}"


class Typed(dict):
    """Slots as a command has them."""

    def __init__(self, slots: Slots, verb: str) -> None:
        super().__init__(V=verb)
        self.slots = slots

    def __missing__(self, key: str) -> str:
        if key.endswith("/"):
            where = self.slots[key[0]]
            return "" if where.text == "." else where.typed() + "/"
        if "/" in key:
            return quoted(self.slots.path(key))
        return self.slots[key[0]].text if key.endswith("=") else self.slots[key].typed()


class Spoken(dict):
    """Slots as a request says them, and what it said."""

    def __init__(self, slots: Slots, verb: str, rng: random.Random) -> None:
        done = rng.choice(DONE[verb][slots.lang])
        super().__init__(do=done if isinstance(done, str) else done[0], done=done[-1])
        self.slots, self.rng = slots, rng
        self.said: list[str] = []

    def __missing__(self, key: str) -> str:
        text = self._say(key)
        self.said.append(text.strip())
        self[key] = text
        return text

    def _say(self, key: str) -> str:
        slots, lang, rng = self.slots, self.slots.lang, self.rng
        if key.endswith("="):
            return slots[key[0]].text
        if key.startswith("@") and "/" in key:
            folder, name = slots[key[1]], slots[key[3:]]
            if folder.text == ".":
                return name.said(lang, rng)
            if rng.random() < 0.25:
                return slots.path(key[1:])
            return slots.source.apart(name.text, folder).said(lang, rng)
        if key.startswith("@"):
            place = slots[key[1:]].place(lang, rng)
            if lang == "en":
                return f" {place}" if place else ""
            return place + "的" * (bool(place) and place[-1] not in ")的" and rng.random() < 0.75)
        return slots[key].said(lang, rng)


def moves(values: Values, lang: str) -> Made:
    """A request to move, copy, pack or the like, (form, phrase, command, values said)."""
    rng = values.rng
    found, edges = deeds()
    _, command, *phrases = rng.choices(found, cum_weights=edges)[0]
    slots, verb = Slots(values, lang), rng.choice(("mv", "cp"))
    typed = command.format_map(Typed(slots, verb))
    spoken = Spoken(slots, verb, rng)
    phrase = rng.choice(phrases[lang == "zh"])
    # what begins with no verb is a question or words of another order
    form, phrase = (".", phrase[1:]) if phrase[0] == "?" else ("!", phrase)
    phrase = phrase.format_map(spoken)
    said = spoken.said + [value.text for value in slots.values()]
    return form, phrase, typed, list(dict.fromkeys(said))
