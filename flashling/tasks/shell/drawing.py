"""Values that a person might give for the placeholders of tldr commands."""

from __future__ import annotations

import random
import re

from .placeholders import ODD, TABLES, Slot, Spot

POOLS = {
    k: v.split("|") if "|" in v and k != "pattern" else v.split()
    for k, v in TABLES["pools"].items()
}
EXTENSIONS = {k: v.split() for k, v in TABLES["extensions"].items()}


def draw(spot: Spot, lang: str, rng: random.Random) -> tuple[str, ...]:
    """Values for a spot, one or, where it takes several, up to three; () when none can be made."""
    want = spot.want
    if want.kind == "literal":
        return () if ODD.search(want.text) or len(want.text) < 2 else (want.text,)
    count = rng.choice((1, 2, 2, 3)) if want.gap else 1
    # a leading ~ is a home directory only where a word starts
    tilde = spot.at_start and want.gap != ","
    values = [_one(want, lang, tilde, rng) for _ in range(count)]
    if spot.is_stem:
        values = [re.sub(r"(?<=\w)\.\w+$", "", v) for v in values]
    return tuple(dict.fromkeys(values))


def _one(want: Slot, lang: str, at_start: bool, rng: random.Random) -> str:
    kind, item = want.kind, want.item
    if kind == "choice":
        return rng.choice(item.split("|"))
    if kind == "file":
        return _path(_file(item, lang, rng), at_start, rng)
    if kind == "dir":
        last = rng.choice(POOLS["nounzh" if lang == "zh" and rng.random() < 0.3 else "dir"])
        return _path(last, at_start, rng)
    if kind in MAKERS:
        return MAKERS[kind](rng, item)
    if kind == "name" or kind not in POOLS:
        return _name(rng)
    return rng.choice(POOLS[kind])


def _name(rng: random.Random) -> str:
    name = rng.choice(POOLS["name"])
    chance = rng.random()
    if chance < 0.25:
        return f"{name}{rng.choice('-_')}{rng.choice(POOLS['noun'])}"
    if chance < 0.4:
        return f"{rng.choice(POOLS['noun'])}{rng.choice(('', '-', '_'))}{rng.randrange(1, 100)}"
    return name if chance < 0.75 else rng.choice(POOLS["noun"])


def _file(item: str, lang: str, rng: random.Random) -> str:
    last = item.rpartition("/")[2]
    if re.fullmatch(r"[A-Z][a-z]+file", last):
        return last
    match = re.search(r"((?:\.[a-z0-9]{1,8}){1,3})$", last.lower())
    if match and match[1] not in (".ext", ".扩展名"):
        ending = match[1][1:]
    else:
        fits = (e for word, e in EXTENSIONS.items() if word and word in last.lower())
        ending = rng.choice(next(fits, EXTENSIONS[""]))
        if re.search(r"executable|binary|program|可执行|二进制", last.lower()):
            ending = ""
    if lang == "zh" and rng.random() < 0.25:
        stem = rng.choice(POOLS["nounzh"])
    else:
        stem = rng.choice(POOLS["noun"])
        chance = rng.random()
        if chance < 0.15:
            stem += rng.choice("-_") + rng.choice(POOLS["noun"])
        elif chance < 0.35:
            stem += rng.choice(
                (
                    "-2024",
                    "_2025",
                    "1",
                    "2",
                    "-v2",
                    "_final",
                    "_old",
                    "-07",
                    "03",
                    "_new",
                    "-copy",
                    "2023",
                )
            )
        elif chance < 0.4:
            stem = stem.capitalize()
        elif chance < 0.43:
            stem += " " + rng.choice(POOLS["noun"])
    return f"{stem}.{ending}" if ending else stem


def _path(last: str, at_start: bool, rng: random.Random) -> str:
    chance = rng.random()
    if chance < 0.5:
        return last
    if chance < 0.68:
        return f"{rng.choice(POOLS['dir'])}/{last}"
    if chance < 0.82 and at_start:
        return f"~/{rng.choice(POOLS['home'])}/{last}" if rng.random() < 0.7 else f"~/{last}"
    if chance < 0.95:
        return f"{rng.choice(POOLS['root'])}/{last}"
    return f"{rng.choice(('./', '../'))}{last}"


def _url(rng: random.Random, item: str) -> str:
    site = rng.choice(POOLS["domain"])
    word = rng.choice(POOLS["noun"])
    if "git" in item or "repo" in item:
        return f"https://github.com/{rng.choice(POOLS['user'])}/{word}{rng.choice(('', '.git'))}"
    match = re.search(r"/[^/]+(\.[a-z0-9]{2,5})$", item)
    ending = match[1] if match else rng.choice(("", "", "/" + rng.choice(POOLS["dir"]), ".html"))
    scheme = "http" if rng.random() < 0.15 else "https"
    return (
        f"{scheme}://{site}"
        if rng.random() < 0.3 and not match
        else f"{scheme}://{site}/{word}{ending}"
    )


def _ip(rng: random.Random, item: str) -> str:
    start = rng.choice(
        ("192.168.1.", "192.168.0.", "10.0.0.", "10.1.2.", "172.16.5.", "203.0.113.")
    )
    bits = item.rpartition("/")[2] if "/" in item else ""
    return f"{start}0/24" if bits else f"{start}{rng.randrange(1, 255)}"


def _number(rng: random.Random, item: str) -> str:
    digits = len(item) if item.isdigit() else rng.choice((1, 2, 2, 3))
    if digits > 2 and rng.random() < 0.6:
        return str(rng.randrange(1, 10) * 10 ** (digits - 1))
    return str(rng.randrange(max(1, 10 ** (digits - 1)), 10**digits))


def _hex(rng: random.Random, count: int) -> str:
    return f"{rng.getrandbits(4 * count):0{count}x}"


def _version(rng: random.Random, item: str) -> str:
    parts = [rng.randrange(0, 22) for _ in range(rng.choice((2, 3, 3)))]
    return ("v" if item.startswith("v") and item[1:2].isdigit() else "") + ".".join(map(str, parts))


MAKERS = {
    "url": _url,
    "ip": _ip,
    "number": _number,
    "version": _version,
    "decimal": lambda rng, _: f"{rng.randrange(0, 4)}.{rng.randrange(1, 10)}",
    "port": lambda rng, _: rng.choice(
        ("8080", "22", "2222", "443", "80", "5432", "3306", "6379", "9000", str(rng.randrange(1024, 65536)))
    ),
    "pid": lambda rng, _: str(rng.randrange(300, 60000)),
    "resolution": lambda rng, _: rng.choice(("1920x1080", "1280x720", "800x600", "640x480", "2560x1440", "300x200")),
    "email": lambda rng, _: f"{rng.choice(POOLS['user'])}@{rng.choice(POOLS['domain'])}",
    "hash": lambda rng, _: _hex(rng, rng.choice((7, 7, 8, 10))),
    "uuid": lambda rng, _: "-".join(_hex(rng, n) for n in (8, 4, 4, 4, 12)),
    "id": lambda rng, _: rng.choice((str(rng.randrange(1, 5000)), _hex(rng, 8), f"{_name(rng)}-{rng.randrange(1, 99)}")),
    "phone": lambda rng, _: f"{rng.choice(('+1', '+49', '+86', ''))}{rng.randrange(10**9, 10**10)}",
    "arn": lambda rng, _: f"arn:aws:iam::{rng.randrange(10**11, 10**12)}:role/{_name(rng)}",
    "tag": lambda rng, item: "v" + _version(rng, item) if rng.random() < 0.6 else _name(rng),
}  # fmt: skip
