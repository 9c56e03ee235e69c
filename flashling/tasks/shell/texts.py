"""Composed requests for grep and for columns of files: (form, phrase, command, values said)."""

from __future__ import annotations

import re

from .finds import Made
from .values import Value, Values

NOTES = {
    "i": {"en": ("ignoring case", "case insensitive", "case-insensitively", "regardless of case", "no matter upper or lower case",
                 ", case doesn't matter", ", upper and lower case alike", ", ignore case"),
          "zh": ("不区分大小写", "忽略大小写", "大小写都算", "不分大小写", "大小写无所谓", "不管大小写")},
    "n": {"en": ("with line numbers", "and show line numbers", "showing the line numbers", "with the line number of each",
                 ", I need the line numbers", ", tell me the line numbers too"),
          "zh": ("显示行号", "带行号", "并显示行号", "要有行号", "行号也要", "标上行号", "告诉我是第几行")},
    "w": {"en": ("as a whole word", "whole words only", "matching whole words", ", not inside longer words"),
          "zh": ("全词匹配", "只匹配整个单词", "整词匹配", "要整个词,不要词的一部分")},
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
# said another way round: the file first, the wish as a question or an afterthought
TALK = {
    "": {"en": ("{1}: lines with {0}", "{1}, any {0} in there", "any {} in {}", "I'm looking for {} in {}", "gimme the {} lines of {}",
                "{1} - only the lines with {0}", "which lines of {1} have {0}", "is {} anywhere in {}, show me the lines",
                "there should be {} somewhere in {}, find it", "{1}, just the {0} lines please"),
         "zh": ("{1}里有没有{0}", "{1}里的{0}找一下", "{1},带{0}的行揪出来", "把{1}里带{0}的行挑出来", "{1}哪些行有{0}", "{1}里搜下{0}",
                "瞅瞅{1}里有{0}的行", "{1}里应该有{0},帮我找找", "{1}只看带{0}的行,别的不要", "{0},在{1}里找找", "{1}有{0}的行都给我列出来")},
    "v": {"en": ("{1}, hide the lines with {0}", "{1} without the {0} lines", "{1}: everything but the {0} lines", "which lines of {1} have no {0}",
                 "too many {} lines in {}, show me the others", "{1}, drop the {0} lines, just print the rest"),
          "zh": ("{1},带{0}的行不要,其余的显示", "把{1}里带{0}的行过滤掉再显示", "{1}哪些行没有{0}", "{1}里{0}太多了,只看别的行",
                 "{1}不要有{0}的行,只看不改", "{1},没{0}的行列出来")},
    "^": {"en": ("which lines of {1} start with {0}", "{1}: only lines starting with {0}", "{1}, just what begins with {0}"),
          "zh": ("{1}哪些行以{0}开头", "{1}里{0}打头的行", "{1},只要{0}开头的行", "{1}里行首是{0}的行揪出来")},
    "$": {"en": ("which lines of {1} end with {0}", "{1}: only lines ending in {0}", "{1}, just what ends with {0}"),
          "zh": ("{1}哪些行以{0}结尾", "{1}里{0}收尾的行", "{1},只要{0}结尾的行", "{1}里行尾是{0}的行揪出来")},
}  # fmt: skip
SEARCH = {
    "en": ("search for {} in {}", "find {} in {}", "grep {} in {}", "look for {} in {}", "search {1} for {0}", "grep for {} in {}",
           "look up {} in {}", "hunt for {} in {}", "check {1} for {0}", "go through {1} and find {0}"),
    "zh": ("在{1}里搜索{0}", "在{1}中查找{0}", "搜索{1}里的{0}", "在{1}里找{0}", "grep 一下{1}里的{0}", "查找{1}中的{0}",
           "在{1}里搜一下{0}", "翻翻{1}找{0}", "从{1}里扒出{0}", "到{1}里找找{0}", "搜搜{1}里的{0}"),
}  # fmt: skip
TREE = {
    "en": ("search for {} in all files{}", "find {} in every file{}", "grep {} recursively{}", "look for {} in all files{}",
           "recursively search for {}{}", "search all files{1} for {0}", "find where {} is used{}", "find all mentions of {}{}",
           "go through all files{1} and look for {0}", "where in the files{1} is {0}", "any {} in the files{}, subfolders too", "which lines of all files{1} have {0}",
           "look for {} in all files{}, subfolders included", "where do I use {} in my files{}"),
    "zh": ("{1}在所有文件里搜索{0}", "递归搜索{1}{0}", "在{1}所有文件中查找{0}", "{1}全部文件里找{0}", "{1}哪里用到了{0}",
           "{1}所有文件里找找{0},子目录也算", "{1}把文件都翻一遍找{0}", "{1}的文件里哪里有{0}", "{1}每个文件都搜一下{0},包括子目录", "{1}翻翻全部文件,哪里写了{0}"),
}  # fmt: skip
FILES = {
    "l": {"en": ("files containing {}{}", "files that contain {}{}", "files with {} in them{}", "names of files{1} that mention {0}",
                 "which files{1} contain {0}", "which files{1} mention {0}, names only", "in which files{1} did I write {0}", "any files with {} in them{}, just the names"),
          "zh": ("{1}包含{0}的文件", "{1}内容里有{0}的文件", "{1}含有{0}的文件名", "{1}哪些文件提到了{0}",
                 "{1}哪些文件里有{0},只列名字", "{1}哪些文件写了{0}", "{1}有{0}的文件都叫什么", "{1}里面带{0}的文件,只要名字")},
    "L": {"en": ("files not containing {}{}", "files without {} in them{}", "files{1} that don't contain {0}",
                 "which files{1} have no {0}", "which files{1} don't mention {0}, names only", "files{1} where {0} is missing"),
          "zh": ("{1}不包含{0}的文件", "{1}内容里没有{0}的文件", "{1}哪些文件没有{0}", "{1}没提到{0}的文件,只要名字", "{1}哪些文件里缺{0}")},
}  # fmt: skip
COUNT = {
    "en": ("!count the {}", "!count {}", "?how many {}", "~number of {}", "?just count the {}, don't print them", "?how many {} are there",
           "!tell me how many {}", "?{}, just the number", "?{}: how many"),
    "zh": ("!统计{}的数量", "?数一下{}有多少", "?{}有多少行", "!统计{}有几行", "?{}有几个", "?{}一共几行", "!数数{}有几行", "?{},只要个数", "?{}多不多,数一下",
           "!统计下{}的行数,不用打印"),
}  # fmt: skip


def _fits(phrase: str, *parts: str) -> str:
    return phrase.format(*parts)


def _counted(values: Values, lang: str, thing: str) -> tuple[str, str]:
    how = values.rng.choice(COUNT[lang])
    return how[0], how[1:].format(thing)


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
    asks = ("which", "where", "any ", "in which")
    if "哪些" in text or "哪里" in text or text.endswith("什么") or text.startswith(asks):
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
    elif rng.random() < 0.4:
        form, phrase = "?", _fits(rng.choice(TALK[kind][lang]), word, name)
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
    "print": ({"en": ("print {0} of {1}", "extract {0} from {1}", "only {0} of {1}", "cut out {0} of {1}", "get {0} from {1}", "pull {0} out of {1}",
               "?{1}, only {0}", "?{1} - {0}, nothing else", "?I just need {0} from {1}", "?gimme {0} of {1}"),
               "zh": ("打印{1}的{0}", "提取{1}的{0}", "只显示{1}的{0}", "取出{1}的{0}", "输出{1}{0}", "?{1},只要{0}", "把{1}的{0}拎出来",
                      "?{1}的{0}给我", "只看{1}的{0},其他列不要", "?{1}{0}都有啥")}, "{{print ${0}}}", ""),
    "sum": ({"en": ("sum {0} of {1}", "add up {0} in {1}", "calculate the total of {0} in {1}", "total {0} of {1}", "?{1}, total of {0}", "?what does {0} of {1} add up to", "?{1}: add up {0}"),
             "zh": ("求{1}{0}的和", "把{1}的{0}加起来", "计算{1}{0}的总和", "{1}{0}求和", "?{1}{0}加起来是多少",
                    "把{1}的{0}合计一下", "?{1},{0}加一块总共多少")}, "{{s+=${0}}} END{{print s}}", ""),
    "mean": ({"en": ("average {0} of {1}", "calculate the mean of {0} in {1}", "compute the average of {0} in {1}", "?what's the average of {0} in {1}",
              "?{1}, average of {0}", "?{1}: {0} on average"),
              "zh": ("求{1}{0}的平均值", "计算{1}{0}的平均数", "{1}的{0}平均是多少", "算算{1}{0}的均值", "?{1},{0}平均多少", "把{1}的{0}平均一下")}, "{{s+=${0}}} END{{print s/NR}}", ""),
    "distinct": ({"en": ("list the distinct values of {0} in {1}", "unique values in {0} of {1}", "get all different values of {0} in {1}",
                  "?what different values are in {0} of {1}", "?{1}, {0}, each value only once"),
                  "zh": ("列出{1}{0}的不同取值", "{1}的{0}去重后有哪些值", "提取{1}{0}并去重", "?{1}的{0}有哪些不同的值", "把{1}的{0}提出来去个重")}, "{{print ${0}}}", " | sort -u"),
    "tally": ({"en": ("count how often each value of {0} occurs in {1}", "count each value in {0} of {1}", "tally the values of {0} in {1}", "?how many of each value are in {0} of {1}", "?{1}: count each value in {0}"),
               "zh": ("统计{1}{0}每个值出现的次数", "数一下{1}{0}各个值有多少个", "?{1}的{0}每个值各有几个", "数数{1}{0}里每种值的个数")}, "{{print ${0}}}", " | sort | uniq -c"),
    "equal": ({"en": ("print lines of {1} where {0} is {2}", "rows of {1} whose {0} equals {2}", "filter {1} for rows with {2} in {0}",
               "?which rows of {1} have {2} in {0}", "?{1}, only rows where {0} is {2}", "?{1}: {0} is {2}, those rows"),
               "zh": ("打印{1}中{0}等于{2}的行", "找出{1}里{0}是{2}的行", "筛选{1}{0}为{2}的行", "?{1}里哪些行的{0}是{2}", "?{1},只要{0}是{2}的行", "挑出{1}{0}是{2}的行")}, '${0} == "{1}"', ""),
    "above": ({"en": ("print lines of {1} where {0} is greater than {2}", "rows of {1} with {0} above {2}", "find rows in {1} whose {0} is over {2}",
               "?which rows of {1} have {0} above {2}", "?{1}, only rows with {0} over {2}"),
               "zh": ("打印{1}中{0}大于{2}的行", "找出{1}里{0}超过{2}的行", "筛选{1}{0}大于{2}的行", "?{1}里哪些行的{0}大于{2}", "?{1},只要{0}超过{2}的行", "挑出{1}{0}高于{2}的行")}, "${0} > {1}", ""),
    "below": ({"en": ("print lines of {1} where {0} is less than {2}", "rows of {1} with {0} below {2}", "find rows in {1} whose {0} is under {2}",
               "?which rows of {1} have {0} below {2}", "?{1}, only rows with {0} under {2}"),
               "zh": ("打印{1}中{0}小于{2}的行", "筛选{1}{0}小于{2}的行", "?{1}里哪些行的{0}小于{2}", "?{1},只要{0}不到{2}的行", "挑出{1}{0}低于{2}的行")}, "${0} < {1}", ""),
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
        if phrase[0] == "?" or lang == "zh" and phrase[-1] in "少"
        else "!"
        if lang == "zh" or phrase.split()[0] in VERBS
        else "~"
    )
    return form, phrase.lstrip("?"), command, [file.text, other]


VERBS = frozenset(
    "print extract cut get pull sum add calculate total average compute list count tally filter find sort".split()
)
SORTS = {
    "en": (
        "sort {0} by {1}",
        "order {0} by {1}",
        "sort the lines of {0} on {1}",
        "?{0}, sort it by {1}",
        "?{0}: by {1}, sorted",
        "arrange {0} by {1}",
    ),
    "zh": (
        "按{1}排序{0}",
        "把{0}按{1}排序",
        "对{0}按照{1}排序",
        "?{0},按{1}排一下",
        "把{0}照着{1}排个序",
        "?{0}按{1}排个序",
    ),
}
ORDERS = {
    "": {"en": ("", "alphabetically"), "zh": ("", "按字母顺序")},
    "n": {"en": ("numerically", "as numbers", ", smallest number first", "from low to high as numbers"), "zh": ("按数值大小", "数字排序", "数字小的在前", "数值升序")},
    "nr": {"en": ("numerically, largest first", "in descending numeric order", "from high to low as numbers", ", highest number first"),
           "zh": ("数值从大到小", "按数字降序", "数值降序", "数字大的在前", "数值高的排前面")},
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
    return "?" if phrase[0] == "?" else "!", phrase.lstrip("?"), command, [file.text]
