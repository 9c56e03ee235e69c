"""The kinds of values that a slot can name, and how each is made."""

from __future__ import annotations

from collections.abc import Callable

from .values import MAKERS, Unit, Value, Values

DAYS = (
    Unit(1, "day", ("天",), 90, 5), Unit(7, "week", ("周", "个星期", "个礼拜"), 8, 2.5),
    Unit(30, "month", ("个月",), 11, 2), Unit(365, "year", ("年",), 5, 1.2),
)  # fmt: skip
MINUTES = (
    Unit(1, "minute", ("分钟",), 90, 3),
    Unit(60, "hour", ("小时", "个小时", "个钟头"), 23, 3),
)
DAYS_NAMED = {1: ("24 hours", "24小时"), 2: ("48 hours", "48小时"), 15: ("15 days", "半个月"), 180: ("half a year", "半年"),
              14: ("a fortnight", "两星期"), 7: ("seven days", "一星期"), 45: ("45 days", "一个半月"), 3: ("72 hours", "72小时")}  # fmt: skip
MINUTES_NAMED = {30: ("half an hour", "半小时"), 720: ("half a day", "半天"), 90: ("an hour and a half", "一个半小时"),
                 15: ("a quarter of an hour", "一刻钟"), 60: ("an hour", "一个钟头")}  # fmt: skip


def _days(v: Values) -> Value:
    return v.span(DAYS, DAYS_NAMED)


def _minutes(v: Values) -> Value:
    return v.span(MINUTES, MINUTES_NAMED)


def _ordinal(v: Values) -> Value:
    n = v.rng.randint(1, 9)
    names = "first second third fourth fifth sixth seventh eighth ninth".split()
    tail = {1: "st", 2: "nd", 3: "rd"}.get(n, "th")
    zh = "一二三四五六七八九"[n - 1]
    return Value(
        str(n), (names[n - 1], f"{n}{tail}", names[n - 1]), (f"第{n}", f"第{zh}", f"第 {n} ")
    )


def _sized(n: int) -> Callable[[Values], Value]:
    return lambda v: v.number(2, n)


def _files(*kinds: str) -> Callable[[Values], Value]:
    return lambda v: v.file(*kinds)


def _dir(v: Values) -> Value:
    chance = v.rng.random()
    return Value(".") if chance < 0.43 else Value("~") if chance < 0.46 else v.folder()


def _name(v: Values) -> Value:
    name = v.stem()
    return Value(name, marked=0.2 if " " in name else 0.08)


def _id(v: Values) -> Value:
    return Value(v.made_up(), marked=0.05)


def _round(v: Values) -> Value:
    return Value(str(v.rng.choice((3, 5, 5, 10, 10, 20, 50, 100, v.rng.randint(2, 200)))))


# any other kind is a word list of words.txt
MADE: dict[str, Callable[[Values], Value]] = {
    "dir": _dir, "folder": Values.folder, "name": _name, "id": _id, "file": lambda v: v.file(),
    "txt": _files("txt", "txt", "md", "log", "csv", "conf", "py", "list", "ini"),
    "table": _files("txt", "txt", "log", "log", "dat", "out", "list"),
    "log": _files("log", "log", "log", "log.1", "out"), "csv": _files("csv"), "json": _files("json"),
    "tsv": _files("tsv", "tab"), "script": _files("sh", "py", "sh"), "py": _files("py"),
    "image": _files("jpg", "png", "jpeg", "webp", "gif"), "video": _files("mp4", "mkv", "mov", "avi"),
    "audio": _files("mp3", "wav", "flac", "m4a"), "pdf": _files("pdf"), "tgz": _files("tar.gz", "tgz"),
    "tar": _files("tar"), "zip": _files("zip"), "bz2": _files("tar.bz2"), "txz": _files("tar.xz"),
    "gz": _files("gz", "log.gz", "sql.gz", "csv.gz"), "iso": _files("iso", "img"), "sql": _files("sql"),
    "key": _files("pem", "key"), "md": _files("md"), "yaml": _files("yaml", "yml"), "xml": _files("xml"),
    "html": _files("html"), "patch": _files("patch", "diff"), "db": _files("db", "sqlite"),
    "n": _round, "few": _sized(9), "some": lambda v: v.number(1, 30), "line": lambda v: v.number(1, 400),
    "many": lambda v: v.number(100, 9999), "column": lambda v: v.number(1, 9), "nth": _ordinal,
    "port": lambda v: Value(str(v.rng.choice((80, 443, 22, 3000, 5000, 5432, 6379, 8000, 8080, 8888, 9000, v.rng.randint(1024, 65000))))),
    "pid": lambda v: Value(str(v.rng.randint(100, 65000))), "days": _days, "minutes": _minutes,
    "size": Values.size, "word": Values.word, "text": Values.text, "date": Values.date,
    "ip": Values.ip, "host": Values.host, "url": Values.url, "commit": Values.commit,
    "branch": Values.branch, "percent": lambda v: v.number(5, 95), "year": lambda v: v.number(1990, 2030),
}  # fmt: skip
MAKERS.update(MADE)
