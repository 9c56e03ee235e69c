"""Composed requests that change a file with sed or show some of its lines."""

from __future__ import annotations

import re

from .finds import Made
from .values import Values, quoted

SEDS = {
    "in": {"en": ("replace {0} with {1} in {2}", "change {0} to {1} in {2}", "substitute {1} for {0} in {2}", "in {2}, replace every {0} with {1}",
                  "replace all occurrences of {0} with {1} in {2}", "swap {0} for {1} everywhere in {2}", "rename {0} to {1} inside {2}",
                  "turn every {0} into {1} in {2}", "edit {2} replacing {0} by {1}"),
           "zh": ("把{2}里的{0}替换成{1}", "将{2}中的{0}改成{1}", "{2}里所有的{0}都换成{1}", "把{2}中所有{0}替换为{1}", "把{0}改为{1},文件是{2}",
                  "在{2}里用{1}替换{0}", "{2}里的{0}全部改成{1}")},
    "out": {"en": ("print {2} with {0} replaced by {1}, without changing the file", "show {2} with {0} changed to {1}, don't modify the file",
                   "output {2} replacing {0} with {1} but leave the file alone"),
            "zh": ("输出把{0}换成{1}后的{2},不修改文件", "显示{2}把{0}替换成{1}的结果,不要改原文件")},
    "first": {"en": ("replace only the first {0} on each line with {1} in {2}", "change the first occurrence of {0} per line to {1} in {2}"),
              "zh": ("把{2}每行第一个{0}替换成{1}", "只替换{2}每行的第一个{0}为{1}")},
}  # fmt: skip
SED_TREE = {
    "en": (
        "replace {0} with {1} in all {2} files{3}",
        "change {0} to {1} in every {2} file{3}",
        "rename {0} to {1} across all {2} files{3}",
    ),
    "zh": ("把{3}所有{2}文件里的{0}替换成{1}", "将{3}全部{2}文件中的{0}改成{1}"),
}
DROPS = {
    "{}": {"en": ("delete lines containing {0} from {1}", "remove all lines with {0} from {1}", "drop every line of {1} that has {0}"),
           "zh": ("删除{1}里包含{0}的行", "把{1}中含有{0}的行删掉", "去掉{1}里有{0}的行")},
    "^{}": {"en": ("delete lines starting with {0} in {1}", "remove lines that begin with {0} from {1}"),
            "zh": ("删除{1}里以{0}开头的行", "去掉{1}中{0}开头的行")},
}  # fmt: skip


def sed(values: Values, lang: str) -> Made:
    """Replace or delete in files, in place unless the request says otherwise."""
    rng = values.rng
    old, new = values.word(), values.word()
    file = values.draw("txt")
    names = [old.said(lang, rng), new.said(lang, rng), file.said(lang, rng)]
    a, b = (re.sub(r"([/&.\[\]*])", r"\\\1", v.text) for v in (old, new))
    said = [old.text, new.text, file.text]
    chance = rng.random()
    if chance < 0.2:
        pattern = rng.choice(tuple(DROPS))
        phrase = rng.choice(DROPS[pattern][lang]).format(names[0], names[2])
        return "!", phrase, f"sed -i '/{pattern.format(a)}/d' {file.typed()}", said
    if chance < 0.36:
        where, ext = values.draw("dir"), values.of("ext")
        place = where.place(lang, rng)
        place = f" {place}" if lang == "en" and place else place
        phrase = rng.choice(SED_TREE[lang]).format(*names[:2], ext.said(lang, rng), place)
        command = f"find {where.typed()} -name '*.{ext.text}' -exec sed -i 's/{a}/{b}/g' {{}} +"
        return "!", phrase, command, said
    kind = "in" if chance < 0.86 else "out" if chance < 0.94 else "first"
    phrase = rng.choice(SEDS[kind][lang]).format(*names)
    flag, tail = ("" if kind == "out" else " -i"), ("" if kind == "first" else "g")
    return "!", phrase, f"sed{flag} 's/{a}/{b}/{tail}' {file.typed()}", said


PARTS = {
    "head": ({"en": ("the first {n} lines of {f}", "the top {n} lines of {f}", "the beginning {n} lines of {f}"),
              "zh": ("{f}的前{n}行", "{f}开头{n}行", "{f} 最前面{n}行")}, "head -n {n} {f}"),
    "tail": ({"en": ("the last {n} lines of {f}", "the final {n} lines of {f}", "the bottom {n} lines of {f}"),
              "zh": ("{f}的最后{n}行", "{f}末尾{n}行", "{f}的后{n}行")}, "tail -n {n} {f}"),
    "line": ({"en": ("line {n} of {f}", "line number {n} from {f}", "only line {n} of {f}"),
              "zh": ("{f}的第{n}行", "{f}第 {n} 行的内容", "{f}里第{n}行")}, "sed -n '{n}p' {f}"),
    "range": ({"en": ("lines {n} to {m} of {f}", "lines {n}-{m} of {f}", "lines {n} through {m} in {f}", "lines from {n} to {m} of {f}"),
               "zh": ("{f}的第{n}到{m}行", "{f}第{n}行到第{m}行", "{f}的{n}-{m}行")}, "sed -n '{n},{m}p' {f}"),
    "from": ({"en": ("{f} from line {n} on", "everything in {f} from line {n} to the end", "{f} starting at line {n}"),
              "zh": ("{f}从第{n}行开始的内容", "{f}第{n}行以后的内容(含第{n}行)", "{f}从{n}行到末尾")}, "tail -n +{n} {f}"),
}  # fmt: skip
AFTER = {
    " | sort": {"en": (", sorted", " in sorted order"), "zh": (",并排序", ",排序后显示")},
    " | wc -c": {"en": (" and count their bytes",), "zh": (",统计字节数")},
    " | grep '{w}'": {"en": (" that contain {w}", " and keep those with {w}"), "zh": (",只要包含{w}的", ",再筛选出有{w}的")},
    " > {o}": {"en": (" and save them to {o}", ", written to {o}", " into the file {o}"), "zh": (",保存到{o}", ",写入{o}", ",存成{o}")},
}  # fmt: skip


def lines(values: Values, lang: str) -> Made:
    """Some lines of a file, now and then passed on."""
    rng = values.rng
    part = rng.choices(tuple(PARTS), (4, 4, 3, 3, 1.2))[0]
    phrases, command = PARTS[part]
    file = values.draw("txt")
    n = rng.choice((5, 10, 20, 50, 100, rng.randint(1, 300)))
    m = n + rng.choice((5, 10, 20, rng.randint(1, 200)))
    slots = {"n": n, "m": m, "f": file.said(lang, rng)}
    phrase, said = rng.choice(phrases[lang]).format(**slots), [file.text]
    command = command.format(n=n, m=m, f=file.typed())
    if rng.random() < 0.15:
        tail = rng.choice(tuple(AFTER))
        word, out = values.word().text, values.draw("txt").text
        told = AFTER[tail][lang]
        phrase += (rng.choice(told) if isinstance(told, tuple) else told).format(w=word, o=out)
        command += tail.format(w=word, o=quoted(out))
        said += [word, out]
    return "~", phrase, command, said
