"""Conversations with the tools of `flashling chat --tools`: sums, dates, units, files, commands."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from .shell.values import Values

# name and arguments of a call -> its result; ValueError where the tool refuses
Run = Callable[[str, dict[str, Any]], str]
# what is said, the call, and how the result is told: {} is the result
Asked = tuple[str, str, dict[str, Any], str]

SUMS = {
    "en": ("what is {}?", "what's {}", "{}", "{} = ?", "calculate {}", "compute {} please", "how much is {}?",
           "can you work out {}", "{} equals what?", "I need the value of {}", "evaluate {}"),
    "zh": ("{}等于多少?", "{}是多少", "{}", "{}=?", "算一下{}", "计算 {}", "帮我算{}", "{} 得多少?", "求 {} 的值", "{}等于几?"),
}  # fmt: skip
PERCENT = {
    "en": ("what is {}% of {}?", "{}% of {}", "how much is {} percent of {}", "calculate {} percent of {}"),
    "zh": ("{1}的{0}%是多少?", "{1}的百分之{0}等于多少", "算一下 {1} 的 {0}%"),
}  # fmt: skip
ROOT = {
    "en": ("square root of {}", "what is the square root of {}?", "sqrt({})", "the root of {}?"),
    "zh": ("{}的平方根是多少?", "{}开平方", "求{}的平方根", "sqrt({})"),
}
WORDS = {
    "en": {"*": ("times", "multiplied by"), "+": ("plus",), "-": ("minus",), "/": ("divided by",)},
    "zh": {"*": ("乘以", "乘"), "+": ("加",), "-": ("减",), "/": ("除以",)},
}
NOW = {
    "en": ("what time is it?", "what's the date today?", "which day is today", "what day of the week is it?",
           "current time", "today's date please", "time?", "do you know what time it is?"),
    "zh": ("现在几点?", "今天几号?", "今天星期几", "现在是什么时间", "当前时间", "今天是什么日子?", "几点了", "今天周几?"),
}  # fmt: skip
UNITS_OF_TIME = {
    "day": ("days", "天"), "week": ("weeks", "周"), "month": ("months", "个月"), "year": ("years", "年"),
    "hour": ("hours", "小时"), "minute": ("minutes", "分钟"),
}  # fmt: skip
LATER = {
    "en": ("what date is it in {n} {u}?", "the date {n} {u} from now", "{n} {u} from today", "when is it {n} {u} from now?",
           "what will the date be in {n} {u}"),
    "zh": ("{n}{u}后是几号?", "{n}{u}以后是哪天", "从现在起{n}{u}后是什么时候?", "再过{n}{u}是几号"),
}  # fmt: skip
EARLIER = {
    "en": ("what date was it {n} {u} ago?", "the date {n} {u} ago", "{n} {u} ago was which day?"),
    "zh": ("{n}{u}前是几号?", "{n}{u}以前是哪天", "往前推{n}{u}是什么日期"),
}
FROM = {
    "en": ("what is {n} {u} after {d}?", "the date {n} {u} after {d}", "{d} plus {n} {u}", "add {n} {u} to {d}"),
    "zh": ("{d}之后{n}{u}是几号?", "{d} 再过{n}{u}是哪天", "{d} 加 {n}{u}"),
}  # fmt: skip
BETWEEN = {
    "en": ("how many days from {a} to {b}?", "days between {a} and {b}", "how long is it from {a} to {b}?",
           "how far apart are {a} and {b}"),
    "zh": ("{a}到{b}有多少天?", "{a} 和 {b} 相差几天", "从{a}到{b}隔了多久?", "{a}距离{b}多少天"),
}  # fmt: skip
PAIRS = (
    ("km", "mile", "公里", "英里"), ("kg", "lb", "公斤", "磅"), ("m", "feet", "米", "英尺"), ("cm", "inch", "厘米", "英寸"),
    ("celsius", "fahrenheit", "摄氏度", "华氏度"), ("liter", "gallon", "升", "毫升"), ("g", "oz", "克", "两"),
    ("gb", "mb", "gb", "mb"), ("hour", "minute", "小时", "分钟"), ("km/h", "mph", "km/h", "mph"), ("kg", "g", "公斤", "斤"),
    ("acre", "m2", "亩", "平方米"), ("gib", "gb", "gib", "gb"), ("day", "hour", "天", "小时"),
)  # fmt: skip
CONVERT = {
    "en": ("convert {v} {a} to {b}", "{v} {a} in {b}", "how many {b} is {v} {a}?", "what is {v} {a} in {b}?", "{v} {a} to {b}"),
    "zh": ("{v}{a}等于多少{b}?", "把{v}{a}换成{b}", "{v} {a}是多少{b}", "{v}{a}换算成{b}", "{v}{a}有多少{b}?"),
}  # fmt: skip
LIST = {
    "en": (
        "what files are here?",
        "list the files",
        "show me this folder",
        "what's in this folder?",
    ),
    "zh": ("这里有什么文件?", "列出文件", "当前目录有哪些文件", "看看这个文件夹"),
}
LIST_IN = {
    "en": (
        "what's in {}?",
        "list {}",
        "show me the files in {}",
        "which files are in the folder {}?",
    ),
    "zh": ("{} 里有什么?", "列出 {}", "看看 {} 目录", "{} 文件夹里有哪些文件"),
}
READ = {
    "en": (
        "read {}",
        "show me {}",
        "open {}",
        "what does {} say?",
        "what's in the file {}?",
        "print {}",
    ),
    "zh": ("读一下 {}", "看看 {} 的内容", "打开 {}", "{} 里写了什么?", "显示文件 {}"),
}
FAILS = {"en": "That did not work: {}", "zh": "没成功：{}"}
TOLD = {"en": ("{}", "{}", "{}.", "It is {}."), "zh": ("{}", "{}", "{}。", "是 {}。")}
SENTENCES = ("the meeting moved to Friday", "port = 8080", "buy milk and bread", "# notes", "name,age,city", "hello",
             "total: 42", "todo: call the bank", "会议改到周五", "记得交房租", "版本 1.2", "姓名,年龄", "export PATH=$HOME/bin",
             "debug = false", "error: disk full", "import os", "ok")  # fmt: skip


class _Desk:
    """Draws requests of one kind after another."""

    def __init__(self, rng: random.Random, shell: Iterator[dict] | None) -> None:
        self.rng, self.values, self.shell = rng, Values(rng), shell
        self.kinds = (self.sum, self.sum, self.time, self.units, self.files, self.command)

    def ask(self, lang: str) -> Asked:
        """A request of any kind."""
        return self.rng.choice(self.kinds)(lang)

    def sum(self, lang: str) -> Asked:
        """Arithmetic in signs or in words."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.12:
            p, n = rng.choice((5, 8, 10, 12, 15, 20, 25, 30, 50, rng.randint(1, 99))), self.number()
            return (
                self.said(PERCENT[lang], p, n),
                "calculate",
                {"expression": f"{n} * {p} / 100"},
                "",
            )
        if chance < 0.2:
            n = rng.choice((2, 16, 144, 2025, rng.randint(2, 10_000)))
            return self.said(ROOT[lang], n), "calculate", {"expression": f"sqrt({n})"}, ""
        terms, signs = [self.number() for _ in range(rng.choice((2, 2, 2, 3, 3, 4)))], "*+-/"
        parts, words = [terms[0]], [terms[0]]
        for term in terms[1:]:
            sign = rng.choice(signs)
            parts += [sign, term]
            words += [rng.choice(WORDS[lang][sign]), term]
        if len(terms) == 2 and rng.random() < 0.35:
            gap = " " if lang == "en" else ""
            return (
                self.said(SUMS[lang], gap.join(words)),
                "calculate",
                {"expression": " ".join(parts)},
                "",
            )
        if len(terms) == 3 and rng.random() < 0.5:
            parts = ["(" + parts[0], *parts[1:3], *parts[3:]]
            parts[2] += ")"
        # as typed: with spaces or without
        text = (" " if rng.random() < 0.5 else "").join(parts)
        return self.said(SUMS[lang], text), "calculate", {"expression": text}, ""

    def number(self) -> str:
        """A number as people type it."""
        rng = self.rng
        return str(rng.choice((rng.randint(2, 20), rng.randint(10, 999), rng.randint(100, 99_999),
                               round(rng.uniform(0.1, 500), rng.choice((1, 2))))))  # fmt: skip

    def time(self, lang: str) -> Asked:
        """Now, a date some time away, the time between two dates."""
        rng, chance = self.rng, self.rng.random()
        if chance < 0.3:
            d = f"20{rng.randint(24, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
            day = rng.choice(
                ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
            )
            clock = f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:{rng.randint(0, 59):02}"
            return rng.choice(NOW[lang]), "current_time", {}, f"{d} {clock} ({day})"
        if chance < 0.6:
            a, b = sorted(self.values.date().text for _ in range(2))
            return (
                self.placed(BETWEEN[lang], a=a, b=b),
                "date_difference",
                {"start": a, "end": b},
                "",
            )
        unit = rng.choice(tuple(UNITS_OF_TIME))
        n, words = rng.randint(2, 100), UNITS_OF_TIME[unit]
        said = {"n": n, "u": words[0] if lang == "en" else words[1]}
        if chance < 0.75:
            d = self.values.date().text
            given = {"start": d, "amount": n, "unit": unit}
            return self.placed(FROM[lang], d=d, **said), "date_add", given, ""
        # what "now" gives would differ from run to run
        d = self.values.date().text
        told = f"{d} ({rng.choice(('Monday', 'Thursday', 'Sunday'))})"
        if chance < 0.88:
            return self.placed(LATER[lang], **said), "date_add", {"amount": n, "unit": unit}, told
        return self.placed(EARLIER[lang], **said), "date_add", {"amount": -n, "unit": unit}, told

    def units(self, lang: str) -> Asked:
        """A value in another unit, by the names that were said."""
        a, b, c, d = self.rng.choice(PAIRS)
        a, b = (a, b) if lang == "en" else (c, d)
        a, b = (a, b) if self.rng.random() < 0.6 else (b, a)
        v = self.number()
        given = {"value": float(v) if "." in v else int(v), "from": a, "to": b}
        return self.placed(CONVERT[lang], v=v, a=a, b=b), "convert_units", given, ""

    def files(self, lang: str) -> Asked:
        """Looking at folders and files."""
        rng, chance = self.rng, self.rng.random()
        names = [self.values.file().text.rpartition("/")[2] for _ in range(rng.randint(1, 5))]
        told = "\n".join(f"{n}  {rng.randint(1, 99_999)} bytes" for n in sorted(names))
        if chance < 0.25:
            return rng.choice(LIST[lang]), "list_files", {"path": "."}, told
        if chance < 0.55:
            folder = self.values.pick("folder")
            return self.said(LIST_IN[lang], folder), "list_files", {"path": folder}, told
        file = self.values.file().text
        text = "\n".join(rng.choice(SENTENCES) for _ in range(rng.randint(1, 3)))
        return self.said(READ[lang], file), "read_file", {"path": file}, text

    def command(self, lang: str) -> Asked:
        """A request for a shell command, which is suggested."""
        if self.shell is None:
            return self.sum(lang)
        while True:
            turns = [m for m in next(self.shell)["messages"] if m["role"] != "system"]
            if len(turns) == 2:
                told = self.rng.choice(("(no output)", "3", "a.txt\nb.txt", "The user did not allow this command. Do not try it again."))  # fmt: skip
                return turns[0]["content"], "shell", {"command": turns[1]["content"]}, told

    def said(self, forms: Sequence[str], *values: object) -> str:
        """One of the forms with values in its places."""
        return self.rng.choice(forms).format(*values)

    def placed(self, forms: Sequence[str], **values: object) -> str:
        """As `said`, by name."""
        return self.rng.choice(forms).format(**values)


def samples(
    seed: int, schemas: Sequence[dict], run: Run, shell: Iterator[dict] | None = None
) -> Iterator[dict]:
    """Endless conversations of one to three requests, the same for the same seed.

    schemas: the tools as a chat declares them. run: computes the results of those that depend on
    nothing but their arguments. shell: samples of the shell task, asked for through a tool. Each
    sample is {"messages", "tools", "kind": "desk", "lang"}.
    """
    rng = random.Random(f"desk {seed}")
    desk = _Desk(rng, shell)
    while True:
        lang = "en" if rng.random() < 0.5 else "zh"
        messages: list[dict] = []
        for number in range(rng.choice((1, 1, 2, 3))):
            messages += _exchange(desk.ask(lang), number, lang, run, rng)
        yield {"messages": messages, "tools": list(schemas), "kind": "desk", "lang": lang}


def _exchange(asked: Asked, number: int, lang: str, run: Run, rng: random.Random) -> list[dict]:
    request, name, given, result = asked
    said = request[0].upper() + request[1:] if rng.random() < 0.3 else request
    said = (
        said
        if name in ("read_file", "list_files")
        else said.rstrip("?")
        if rng.random() < 0.2
        else said
    )
    failed = False
    if not result:
        try:
            result = run(name, given)
        except ValueError as error:
            result, failed = f"error: {error}", True
    answer = rng.choice(TOLD[lang]).format(result)
    if failed:
        answer = FAILS[lang].format(result.removeprefix("error: "))
    elif name in ("list_files", "read_file", "shell") or "\n" in result:
        answer = result
    call = {"name": name, "arguments": given}
    key = f"call_{number}"
    return [
        {"role": "user", "content": said},
        {"role": "assistant", "content": None, "tool_calls": [{"id": key, "type": "function", "function": call}]},
        {"role": "tool", "tool_call_id": key, "name": name, "content": result},
        {"role": "assistant", "content": answer},
    ]  # fmt: skip
