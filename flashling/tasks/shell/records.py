"""Requests that look into data files: tables, JSON, logs, lists and settings, with what is known of the file.

The phrasings are intents in `data/records.txt`; here their slots are drawn, which belong together
(a file, its separator, its columns and their names), and what the asker adds about the file is put
before or after the request: the header line, the separator, which column is which, the folder.
"""

from __future__ import annotations

import re
from functools import cache
from itertools import accumulate
from pathlib import Path

from .finds import Made
from .grammar import Intent, expand, fill, parse
from .settings import CATEGORIES, FAMILIES, NUMBERS, Draft, plain
from .values import Value, Values

DOUBLED = re.compile(r"\b(\w+est|most|least|whose|each|every) the (?=[a-z0-9])")
SOURCE = Path(__file__).with_name("data") / "records.txt"
# how a fact about the file joins the request: before it, or as an afterthought
FIRST = {
    "en": ("{0}. {1}", "{0}: {1}", "{0}, {1}", "{0}; {1}", "{0} - {1}", "({0}) {1}"),
    "zh": ("{0},{1}", "{0},{1}", "{0}。{1}", "{0}:{1}", "({0}){1}"),
}
LAST = {
    "en": ("{1}, {0}", "{1}, {0}", "{1} ({0})", "{1}. {0}", "{1}; {0}", "{1} - {0}", "{1}, note: {0}", "{1}. btw {0}"),
    "zh": ("{1},{0}", "{1},{0}", "{1}({0})", "{1}。{0}", "{1},注意{0}"),
}  # fmt: skip
# a request that has facts around it asks by itself: nothing is put around it later
ASKED = {
    "en!": ("{}", "{}", "{}", "please {}", "can you {}", "I want to {}", "how do I {}"),
    "en~": ("{}", "show me {}", "print {}", "I need {}", "list {}", "give me {}"),
    "en?": ("{}",),
    "zh!": ("{}", "{}", "{}", "帮我{}", "请{}", "我想{}", "怎么{}"),
    "zh~": ("{}", "列出{}", "看看{}", "我要{}", "打印{}", "显示{}"),
    "zh?": ("{}",),
}
JOIN = {"en": ", ", "zh": ","}

NTH = "zeroth first second third fourth fifth sixth seventh eighth ninth".split()
ZH = "零一二三四五六七八九"
BARE = {
    "en": ("column {n}", "column {n}", "column {n}", "col {n}", "the {nth} column", "field {n}", "the {n}{th} column", "column number {n}"),
    "zh": ("第{n}列", "第{n}列", "第{z}列", "第 {n} 列", "第{n}个字段", "第{n}栏"),
}  # fmt: skip
CALLED = {
    "en": ("{name} (column {n})", "column {n} ({name})", "the {name} in column {n}", "the {name} column (column {n})", "{name} (the {nth} column)",
           "the {nth} column ({name})", "{name} (col {n})", "{name} (field {n})"),
    "zh": ("{name}(第{n}列)", "第{n}列{name}", "第{n}列的{name}", "{name}那列(第{n}列)", "第{z}列({name})", "{name}(第{z}列)", "{name}列(第{n}列)"),
}  # fmt: skip
LEGEND = {
    "en": ("{name} is column {n}", "{name} is in column {n}", "column {n} is {name}", "{name} = column {n}", "the {name} is the {nth} column",
           "{name} stands in column {n}", "column {n} holds the {name}"),
    "zh": ("{name}是第{n}列", "第{n}列是{name}", "{name}在第{n}列", "{name}是第{z}列", "{name}=第{n}列"),
}  # fmt: skip
# the separator: awk, cut, sort, and how it is said; "" may be said only where the name of the file tells it
SEPARATORS = {
    ",": (" -F,", " -d,", " -t,", {"en": ("the file is comma-separated", "the separator is a comma", "commas between the columns"), "zh": ("文件是逗号分隔的", "列之间是逗号", "分隔符是逗号")}),
    ";": (" -F';'", " -d';'", " -t';'", {"en": ("separated by semicolons", "semicolon-separated", "the delimiter is ;", "it uses semicolons", "columns split by ;"),
                                        "zh": ("文件是分号分隔的", "原文件用分号隔开", "分隔符是;", "列之间是分号")}),
    "\t": (" -F'\\t'", "", " -t$'\\t'", {"en": ("tab-separated", "separated by tabs", "tabs between the columns"), "zh": ("文件是制表符分隔", "分隔符是tab", "列之间是tab")}),
    ":": (" -F:", " -d:", " -t:", {"en": ("colon-separated", "separated by colons", "the separator is a colon", "fields split by :"), "zh": ("文件是冒号分隔", "字段之间是冒号", "分隔符是冒号")}),
    "|": (" -F'|'", " -d'|'", " -t'|'", {"en": ("pipe-separated", "separated by |", "the delimiter is a pipe"), "zh": ("文件是竖线分隔", "列之间是|", "分隔符是|")}),
    " ": ("", "", "", {"en": ("separated by spaces", "columns separated by whitespace"), "zh": ("空格分隔", "用空格隔开")}),
}  # fmt: skip
HEADER = {
    "en": ("the first line is the header", "skip the header", "first line is a header", "header not counted", "without the header", "it has a header line, skip it",
           "ignore the header row", "there's a header line", "leave out the header", "line 1 is the header", "the header doesn't count"),
    "zh": ("第一行是表头", "跳过表头", "表头不算", "首行是标题", "有表头", "第一行表头不要", "去掉表头", "不算表头", "第一行是标题行,跳过", "表头别算进去"),
}  # fmt: skip
HAS_HEADER = {
    "en": ("line 1 is the header", "there's a header line", "the first line is the header"),
    "zh": ("第一行是表头", "有表头", "首行是标题"),
}
NO_HEADER = {
    "en": (
        "there is no header",
        "no header line",
        "the file has no header",
        "it starts with data right away",
        "data from line 1 on",
    ),
    "zh": ("没有表头", "没表头", "文件不带表头", "第一行就是数据", "无标题行"),
}
KEEP = {
    "en": (
        "keep the header",
        "keep the header line too",
        "the header should stay",
        "print the header as well",
        "with the header on top",
    ),
    "zh": ("表头保留", "保留表头", "表头也要", "第一行表头也打印", "带上表头"),
}


def _column(draft: Draft, n: int, names: tuple[str, str] | None, mode: str) -> Value:
    """Column n as said: by number, by name and number, or by name alone with a legend."""
    rng, lang = draft.values.rng, draft.lang
    if not names or mode == "bare":
        forms = BARE
        name = ""
    else:
        forms = CALLED
        name = names[lang == "zh" and rng.random() < 0.7]
        draft.held.append(name)
    fields = {"n": n, "nth": NTH[n], "z": ZH[n], "name": name, "th": {1: "st", 2: "nd", 3: "rd"}.get(n, "th")}  # fmt: skip
    if name and mode == "legend":
        draft.notes.append(draft.pick(LEGEND).format(**fields))
        said = name
    else:
        said = draft.pick(forms).format(**fields)
    return Value(str(n), (said,), (said,))


def _pair(draft: Draft, low: int, high: int) -> Value:
    """Two columns by number, in one breath."""
    en = (f"columns {low} and {high}", f"column {low} and {high}", f"column {low} and column {high}", f"fields {low} and {high}",
          f"the {NTH[low]} and {NTH[high]} columns", f"cols {low} and {high}", f"columns {low}, {high}")  # fmt: skip
    zh = (f"第{low}列和第{high}列", f"第{low}、{high}列", f"{low}、{high}两列", f"第{low}和第{high}列", f"第{ZH[low]}列跟第{ZH[high]}列", f"第{low}列、第{high}列")  # fmt: skip
    return Value(f"{low},{high}", en, zh)


def _separated(draft: Draft) -> None:
    """The file and its separator, told where the file's name does not tell it."""
    rng = draft.values.rng
    cuts = draft.wanted & {"x", "o"}
    mark = rng.choices((",", ";", "\t", ":", "|", " "), (7, 1.6, 2, 1.3, 0.8, 0 if cuts else 1.5))[
        0
    ]
    kinds = {",": ("csv",), "\t": ("tsv", "tsv", "tab"), " ": ("dat", "log", "txt", "out"), ";": ("csv", "csv", "txt")}  # fmt: skip
    known = mark in ",\t "
    draft.file("f", *kinds.get(mark, ("txt", "dat", "list")))
    awk, cut, sort, told = SEPARATORS[mark]
    for name, dash in (("d", awk), ("x", cut), ("o", sort)):
        draft.put(name, dash)
    if not known or rng.random() < 0.12:
        draft.notes.append(draft.pick(told))


def _header(draft: Draft) -> None:
    """The header line: told or not, skipped, kept, or not there at all."""
    rng, matters = draft.values.rng, draft.wanted & {"h", "hc", "hn", "m", "o", "x"}
    told = matters and rng.random() < 0.45
    keeps = told and "hc" in draft.wanted and rng.random() < 0.4
    if keeps:
        draft.notes.append(draft.pick(KEEP))
    elif told:
        draft.notes.append(draft.pick(HEADER))
        # only pipelines that start with the file itself lose its first line
        draft.headed = not draft.wanted & {"h", "hc", "hn", "m"}
    elif rng.random() < 0.08:
        # a header that the test itself passes over changes nothing
        draft.notes.append(draft.pick(NO_HEADER if matters or rng.random() < 0.5 else HAS_HEADER))
    draft.put("h", "NR>1" if told else "")
    draft.put("hc", "NR == 1 || " if keeps else "NR > 1 && " if told else "")
    draft.put("hn", "NR > 1 && " if told else "")
    draft.put("m", "(NR-1)" if told else "NR")


def table(draft: Draft) -> None:
    """A table: c and e hold numbers, g and b categories, v is a value of g, p two columns."""
    values, rng = draft.values, draft.values.rng
    if draft.wanted == {"f"}:
        # the header line itself is asked for: no more is to be told
        draft.file("f", "csv", "csv", "tsv")
        return
    _separated(draft)
    _header(draft)
    mode = rng.choices(("bare", "called", "legend"), (5, 3, 2))[0]
    numbers = rng.sample(range(1, 10 if rng.random() < 0.4 else 7), 4)
    categories, counts = rng.sample(CATEGORIES, 2), rng.sample(NUMBERS, 2)
    if counts[0][1] == counts[1][1]:
        counts[1] = ("price", "单价")
    for slot, n, what in zip("gbce", numbers, (*categories, *counts), strict=True):
        if slot in draft.wanted:
            draft.slots[slot] = _column(draft, n, what[:2], mode)
    known = [v for v in categories[0][2] if mode != "bare" or rng.random() < 0.3]
    text = rng.choice(known) if known and rng.random() < 0.75 else plain(values)
    draft.put("v", text, marked=0.3)
    draft.put("w", plain(values, spaced=False), marked=0.3)
    draft.put("n", str(rng.choice((0, 1, 5, 10, 18, 50, 100, 500, 1000, rng.randint(2, 9999), rng.randint(2, 99)))))  # fmt: skip
    draft.put("k", str(rng.choice((3, 5, 10, 20, rng.randint(2, 40)))))
    if "p" in draft.wanted:
        draft.slots["p"] = _pair(draft, *sorted(numbers[:2]))


DRAWN = {**FAMILIES, "t": table}


@cache
def intents() -> tuple[tuple[Intent, ...], tuple[float, ...]]:
    """The intents of `data/records.txt` and their running weights."""
    found = tuple(parse(SOURCE.read_text(encoding="utf-8"), SOURCE.name))
    return found, tuple(accumulate(i.weight for i in found))


def records(values: Values, lang: str) -> Made:
    """One question to a data file, or a change to it."""
    rng = values.rng
    found, edges = intents()
    intent = rng.choices(found, cum_weights=edges)[0]
    turn = intent.turns[0]
    draft = Draft(values, lang, set(re.findall(r"\{([a-z]\w*)", turn.command)))
    DRAWN[intent.name.partition(".")[0]](draft)
    command = fill(turn.command, draft.slots, values)
    if draft.headed and not command.startswith("awk"):
        # tools that know no line numbers get the table without its first line
        file = draft.slots["f"].typed()
        command = f"tail -n +2 {file} | " + command.replace(f" {file}", "", 1)
    form, tree = rng.choice(turn.phrases[lang])
    # "the highest {c}" takes a column that brings an article of its own
    phrase = DOUBLED.sub(r"\1 ", expand(tree, draft.slots, lang, rng))
    held = [v.text for v in draft.slots.values()] + draft.held
    return *noted(draft, form, phrase), command, held


def noted(draft: Draft, form: str, phrase: str) -> tuple[str, str]:
    """The form and the phrase with the draft's facts about the file around it."""
    rng, lang, notes = draft.values.rng, draft.lang, list(draft.notes)
    if not notes:
        return form, phrase
    rng.shuffle(notes)
    phrase = rng.choice(ASKED[lang + form]).replace("{}", phrase)
    before = [n for n in notes if rng.random() < 0.4]
    after = [n for n in notes if n not in before]
    if after:
        phrase = rng.choice(LAST[lang]).format(JOIN[lang].join(after), phrase)
    if before:
        phrase = rng.choice(FIRST[lang]).format(JOIN[lang].join(before), phrase)
    return ".", phrase
