"""Composed requests for grep and for columns of files: (form, phrase, command, values said)."""

from __future__ import annotations

import re

from .finds import Made
from .values import Value, Values

NOTES = {
    "i": {"en": ("ignoring case", "case insensitive", "case-insensitively", "regardless of case", "no matter upper or lower case"),
          "zh": ("不区分大小写", "忽略大小写", "大小写都算", "不分大小写")},
    "n": {"en": ("with line numbers", "and show line numbers", "showing the line numbers", "with the line number of each"),
          "zh": ("显示行号", "带行号", "并显示行号", "要有行号")},
    "w": {"en": ("as a whole word", "whole words only", "matching whole words"), "zh": ("全词匹配", "只匹配整个单词", "整词匹配")},
}  # fmt: skip
LINES = {
    "": {"en": ("lines containing {} in {}", "lines with {} in {}", "lines in {1} that contain {0}", "lines of {1} matching {0}",
                "occurrences of {} in {}", "lines mentioning {} in {}"),
         "zh": ("{1}里包含{0}的行", "{1}中含有{0}的行", "{1}里有{0}的行", "{1}中出现{0}的行")},
    "v": {"en": ("lines without {} in {}", "lines of {1} that don't contain {0}", "lines in {1} not containing {0}",
                 "everything in {1} except lines with {0}", "lines in {1} which do not match {0}"),
          "zh": ("{1}里不包含{0}的行", "{1}中没有{0}的行", "{1}里除了含{0}的所有行", "{1}中不含{0}的行")},
    "^": {"en": ("lines starting with {} in {}", "lines of {1} that begin with {0}", "lines in {1} beginning with {0}"),
          "zh": ("{1}里以{0}开头的行", "{1}中{0}开头的行")},
    "$": {"en": ("lines ending with {} in {}", "lines of {1} that end in {0}", "lines in {1} that end with {0}"),
          "zh": ("{1}里以{0}结尾的行", "{1}中{0}结尾的行")},
}  # fmt: skip
SEARCH = {
    "en": ("search for {} in {}", "find {} in {}", "grep {} in {}", "look for {} in {}", "search {1} for {0}", "grep for {} in {}"),
    "zh": ("在{1}里搜索{0}", "在{1}中查找{0}", "搜索{1}里的{0}", "在{1}里找{0}", "grep 一下{1}里的{0}", "查找{1}中的{0}"),
}  # fmt: skip
TREE = {
    "en": ("search for {} in all files{}", "find {} in every file{}", "grep {} recursively{}", "look for {} in all files{}",
           "recursively search for {}{}", "search all files{1} for {0}", "find where {} is used{}", "find all mentions of {}{}"),
    "zh": ("{1}在所有文件里搜索{0}", "递归搜索{1}{0}", "在{1}所有文件中查找{0}", "{1}全部文件里找{0}", "{1}哪里用到了{0}"),
}  # fmt: skip
FILES = {
    "l": {"en": ("files containing {}{}", "files that contain {}{}", "files with {} in them{}", "names of files{1} that mention {0}"),
          "zh": ("{1}包含{0}的文件", "{1}内容里有{0}的文件", "{1}含有{0}的文件名", "{1}哪些文件提到了{0}")},
    "L": {"en": ("files not containing {}{}", "files without {} in them{}", "files{1} that don't contain {0}"),
          "zh": ("{1}不包含{0}的文件", "{1}内容里没有{0}的文件")},
}  # fmt: skip
COUNT = {
    "en": ("count the {}", "count {}", "how many {}", "number of {}"),
    "zh": ("统计{}的数量", "数一下{}有多少", "{}有多少行", "统计{}有几行"),
}


def _fits(phrase: str, *parts: str) -> str:
    return phrase.format(*parts)


def _counted(values: Values, lang: str, thing: str) -> tuple[str, str]:
    how = values.rng.choice(COUNT[lang])
    form = (
        "?"
        if how[:3] == "how" or how[-2:] == "多少" or "有多少行" in how
        else "~"
        if how[0] == "n"
        else "!"
    )
    return form, how.format(thing)


def _notes(values: Values, lang: str, flags: str, phrase: str) -> str:
    told = [values.rng.choice(NOTES[f][lang]) for f in flags if f in NOTES]
    if not told:
        return phrase
    if lang == "en":
        return f"{phrase} {' '.join(told)}"
    return phrase + "," + ",".join(told)


def grep(values: Values, lang: str) -> Made:
    """Search in one file or in a tree, with its everyday flags."""
    rng = values.rng
    value = values.word() if rng.random() < 0.75 else values.text()
    word = value.said(lang, rng)
    flags = "".join(f for f, p in (("i", 0.22), ("n", 0.2), ("w", 0.07)) if rng.random() < p)
    if rng.random() < 0.55:
        return _in_file(values, lang, value, word, flags)
    where, extra, said = values.draw("dir"), "", ""
    place = where.place(lang, rng)
    if rng.random() < 0.35:
        ext = values.of("ext")
        name = ext.said(lang, rng)
        extra, said = f" --include='*.{ext.text}'", f"{name} " if lang == "en" else f"{name}"
    names = rng.random() < 0.35
    kind = ("L" if rng.random() < 0.15 else "l") if names else ""
    if names:
        flags = flags.replace("n", "")
    where_said = f" {place}" if lang == "en" and place else place
    phrase = rng.choice(FILES[kind][lang] if names else TREE[lang])
    if said and "files" not in phrase and "文件" not in phrase:
        phrase = rng.choice(TREE[lang][:1])
    if said:
        phrase = (
            phrase.replace("every file", f"every {said}file")
            .replace("files", f"{said}files")
            .replace("文件", f"{said}文件")
        )
    text = _fits(phrase, word, where_said)
    form = "~" if names else "!"
    if lang == "zh" and text.startswith("哪") or "哪些" in text or "哪里" in text:
        form = "?"
    command = f"grep -r{flags}{kind}{extra} {value.typed(chr(39))} {where.typed()}"
    return form, _notes(values, lang, flags, text), command, [value.text, where.text]


def _in_file(values: Values, lang: str, value: Value, word: str, flags: str) -> Made:
    rng, file = values.rng, values.draw("txt")
    name = file.said(lang, rng)
    kind = rng.choices(("", "v", "^", "$"), (6, 2.5, 1, 0.7))[0]
    pattern = value.text
    if kind in "^$" and kind:
        plain = re.sub(r"([.*\[\]^$\\])", r"\\\1", pattern)
        pattern = f"^{plain}" if kind == "^" else f"{plain}$"
        flags = flags.replace("w", "")
    count = rng.random() < 0.25
    if count:
        flags = flags.replace("n", "")
        form, phrase = _counted(values, lang, _fits(rng.choice(LINES[kind][lang]), word, name))
        flags += "c"
    elif not kind and rng.random() < 0.6:
        form, phrase = "!", _fits(rng.choice(SEARCH[lang]), word, name)
    else:
        form, phrase = "~", _fits(rng.choice(LINES[kind][lang]), word, name)
    letters = flags + ("v" if kind == "v" else "")
    dash = f" -{letters}" if letters else ""
    command = f"grep{dash} '{pattern}' {file.typed()}"
    return form, _notes(values, lang, flags, phrase), command, [value.text, file.text]


SEPARATORS = {
    ",": ("csv", {"en": ("", "comma-separated", "separated by commas"), "zh": ("", "逗号分隔", "以逗号分隔")}),
    ":": ("txt", {"en": ("colon-separated", "separated by colons", "split on :"), "zh": ("冒号分隔", "以冒号分隔")}),
    "\\t": ("tsv", {"en": ("", "tab-separated", "separated by tabs"), "zh": ("", "制表符分隔", "tab分隔")}),
    "|": ("txt", {"en": ("pipe-separated", "separated by |"), "zh": ("竖线分隔", "以|分隔")}),
    ";": ("txt", {"en": ("semicolon-separated", "separated by ;"), "zh": ("分号分隔",)}),
    "": ("table", {"en": ("",), "zh": ("",)}),
}  # fmt: skip
COLUMN = {
    "en": ("column {}", "the {} column", "field {}", "the {} field"),
    "zh": ("第{}列", "第 {} 列", "第{}个字段"),
}
ACTS = {
    "print": ({"en": ("print {0} of {1}", "extract {0} from {1}", "only {0} of {1}", "cut out {0} of {1}", "get {0} from {1}"),
               "zh": ("打印{1}的{0}", "提取{1}的{0}", "只显示{1}的{0}", "取出{1}的{0}", "输出{1}{0}")}, "{{print ${0}}}", ""),
    "sum": ({"en": ("sum {0} of {1}", "add up {0} in {1}", "calculate the total of {0} in {1}", "total {0} of {1}"),
             "zh": ("求{1}{0}的和", "把{1}的{0}加起来", "计算{1}{0}的总和", "{1}{0}求和")}, "{{s+=${0}}} END{{print s}}", ""),
    "mean": ({"en": ("average {0} of {1}", "calculate the mean of {0} in {1}", "compute the average of {0} in {1}"),
              "zh": ("求{1}{0}的平均值", "计算{1}{0}的平均数", "{1}的{0}平均是多少")}, "{{s+=${0}}} END{{print s/NR}}", ""),
    "distinct": ({"en": ("list the distinct values of {0} in {1}", "unique values in {0} of {1}", "get all different values of {0} in {1}"),
                  "zh": ("列出{1}{0}的不同取值", "{1}的{0}去重后有哪些值", "提取{1}{0}并去重")}, "{{print ${0}}}", " | sort -u"),
    "tally": ({"en": ("count how often each value of {0} occurs in {1}", "count each value in {0} of {1}", "tally the values of {0} in {1}"),
               "zh": ("统计{1}{0}每个值出现的次数", "数一下{1}{0}各个值有多少个")}, "{{print ${0}}}", " | sort | uniq -c"),
    "equal": ({"en": ("print lines of {1} where {0} is {2}", "rows of {1} whose {0} equals {2}", "filter {1} for rows with {2} in {0}"),
               "zh": ("打印{1}中{0}等于{2}的行", "找出{1}里{0}是{2}的行", "筛选{1}{0}为{2}的行")}, '${0} == "{1}"', ""),
    "above": ({"en": ("print lines of {1} where {0} is greater than {2}", "rows of {1} with {0} above {2}", "find rows in {1} whose {0} is over {2}"),
               "zh": ("打印{1}中{0}大于{2}的行", "找出{1}里{0}超过{2}的行", "筛选{1}{0}大于{2}的行")}, "${0} > {1}", ""),
    "below": ({"en": ("print lines of {1} where {0} is less than {2}", "rows of {1} with {0} below {2}"),
               "zh": ("打印{1}中{0}小于{2}的行", "筛选{1}{0}小于{2}的行")}, "${0} < {1}", ""),
}  # fmt: skip


def columns(values: Values, lang: str) -> Made:
    """Columns of delimited files, with awk and sort."""
    rng = values.rng
    mark = rng.choices(tuple(SEPARATORS), (5, 1.2, 2, 0.8, 0.8, 4))[0]
    kind, told = SEPARATORS[mark]
    file = values.draw(kind)
    name, note = file.said(lang, rng), rng.choice(told[lang])
    column = values.draw(rng.choice(("column", "nth")) if lang == "en" else "column")
    ordinal = column.en and not column.en[0].isdigit()
    forms = COLUMN[lang] if lang == "zh" else COLUMN["en"][1::2] if ordinal else COLUMN["en"][0::2]
    said = rng.choice(forms).format(
        column.said(lang, rng) if ordinal or lang == "zh" else column.text
    )
    if lang == "zh" and said[1] == "两":
        said = said.replace("两", "二")
    dash = {"": "", "\\t": " -F'\\t'", ",": " -F,", ":": " -F:"}.get(mark, f" -F'{mark}'")
    if rng.random() < 0.2:
        return _sorted(values, lang, mark, (name, note, said), (file, column))
    act = rng.choices(tuple(ACTS), (6, 3, 2, 2, 2, 2.5, 2, 1))[0]
    phrases, program, tail = ACTS[act]
    other = ""
    if act in ("above", "below"):
        other = str(rng.choice((0, 10, 50, 100, 500, 1000, rng.randint(1, 9999))))
    elif act == "equal":
        other = values.word().text
    phrase = rng.choice(phrases[lang]).format(said, name, other)
    if note:
        phrase = (
            f"{phrase} ({note})"
            if rng.random() < 0.4
            else f"{phrase}, {note}"
            if lang == "en"
            else f"{phrase},{note}"
        )
    command = f"awk{dash} '{program.format(column.text, other)}' {file.typed()}{tail}"
    form = (
        "?"
        if lang == "zh" and phrase[-1] in "少"
        else "!"
        if lang == "zh" or phrase.split()[0] in VERBS
        else "~"
    )
    return form, phrase, command, [file.text, other]


VERBS = frozenset(
    "print extract cut get sum add calculate total average compute list count tally filter find sort".split()
)
SORTS = {
    "en": ("sort {0} by {1}", "order {0} by {1}", "sort the lines of {0} on {1}"),
    "zh": ("按{1}排序{0}", "把{0}按{1}排序", "对{0}按照{1}排序"),
}
ORDERS = {
    "": {"en": ("", "alphabetically"), "zh": ("", "按字母顺序")},
    "n": {"en": ("numerically", "as numbers"), "zh": ("按数值大小", "数字排序")},
    "nr": {"en": ("numerically, largest first", "in descending numeric order", "from high to low as numbers"),
           "zh": ("数值从大到小", "按数字降序", "数值降序")},
    "r": {"en": ("in reverse order", "in reverse alphabetical order"), "zh": ("倒序", "逆序")},
}  # fmt: skip


def _sorted(values: Values, lang: str, mark: str, told: tuple, used: tuple[Value, Value]) -> Made:
    rng, (name, note, said), (file, column) = values.rng, told, used
    order = rng.choices(tuple(ORDERS), (3, 4, 4, 1))[0]
    dash = {"": "", "\\t": " -t$'\\t'", ",": " -t,", ":": " -t:"}.get(mark, f" -t'{mark}'")
    phrase = rng.choice(SORTS[lang]).format(name, said)
    extra = [t for t in (rng.choice(ORDERS[order][lang]), note) if t]
    phrase += "".join((f" {t}" if lang == "en" else f",{t}") for t in extra)
    command = f"sort{dash} -k{column.text},{column.text}{order} {file.typed()}"
    return "!", phrase, command, [file.text]
