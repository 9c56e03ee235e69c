"""Composed requests that change a file with sed or show some of its lines."""

from __future__ import annotations

import re

from .finds import Made
from .values import Values, quoted

SEDS = {
    "in": {"en": ("replace {0} with {1} in {2}", "change {0} to {1} in {2}", "substitute {1} for {0} in {2}", "in {2}, replace every {0} with {1}",
                  "replace all occurrences of {0} with {1} in {2}", "swap {0} for {1} everywhere in {2}", "rename {0} to {1} inside {2}",
                  "turn every {0} into {1} in {2}", "edit {2} replacing {0} by {1}", "{2}: {0} should be {1}", "{2} - {0} to {1} everywhere",
                  "{0} is called {1} now, fix {2}", "make {2} say {1} instead of {0}", "{0} in {2} has to become {1}", "no more {0} in {2}, use {1}"),
           "zh": ("把{2}里的{0}替换成{1}", "将{2}中的{0}改成{1}", "{2}里所有的{0}都换成{1}", "把{2}中所有{0}替换为{1}", "把{0}改为{1},文件是{2}",
                  "在{2}里用{1}替换{0}", "{2}里的{0}全部改成{1}", "{2},{0}都换成{1}", "{0}改成{1},{2}里面", "{2}里{0}全给换成{1}", "{2}里头的{0}弄成{1}",
                  "给我把{2}里的{0}统统改成{1}", "{2}里的{0}不对,应该是{1}", "{0}改名叫{1}了,{2}里也改一下")},
    "out": {"en": ("print {2} with {0} replaced by {1}, without changing the file", "show {2} with {0} changed to {1}, don't modify the file",
                   "output {2} replacing {0} with {1} but leave the file alone", "{2} with {1} for {0}, just show it, the file stays as it is",
                   "just print {2} with {1} instead of {0}, don't save", "what would {2} look like with {1} instead of {0}"),
            "zh": ("输出把{0}换成{1}后的{2},不修改文件", "显示{2}把{0}替换成{1}的结果,不要改原文件", "{2}里{0}换成{1}打印出来,原文件别动",
                   "{2}把{0}换成{1}看看,只看不改", "只看不改,{2}里的{0}换成{1}是啥样")},
    "first": {"en": ("replace only the first {0} on each line with {1} in {2}", "change the first occurrence of {0} per line to {1} in {2}",
                     "{2}: only the first {0} of each line becomes {1}", "swap {0} for {1} in {2}, once per line"),
              "zh": ("把{2}每行第一个{0}替换成{1}", "只替换{2}每行的第一个{0}为{1}", "{2}每行只换头一个{0},换成{1}", "{2}里{0}改成{1},每行只改第一个")},
}  # fmt: skip
SED_TREE = {
    "en": (
        "replace {0} with {1} in all {2} files{3}",
        "change {0} to {1} in every {2} file{3}",
        "rename {0} to {1} across all {2} files{3}",
        "{0} is {1} now, fix all {2} files{3}, subfolders too",
        "swap {0} for {1} in all {2} files{3}, also those in subfolders",
        "all {2} files{3}: {0} to {1}",
    ),
    "zh": (
        "把{3}所有{2}文件里的{0}替换成{1}",
        "将{3}全部{2}文件中的{0}改成{1}",
        "{3}所有{2}文件,{0}都换成{1},子目录也算",
        "{0}改名叫{1}了,{3}所有{2}文件里都改掉",
        "{3}{2}文件里的{0}统统给我改成{1},包括子目录",
    ),
}
DROPS = {
    "{}": {"en": ("delete lines containing {0} from {1}", "remove all lines with {0} from {1}", "drop every line of {1} that has {0}", "{1}: lines with {0} can go",
                  "{1} - throw out the lines with {0}", "get rid of the lines in {1} that mention {0}", "lines with {0} in {1} have to go, edit the file"),
           "zh": ("删除{1}里包含{0}的行", "把{1}中含有{0}的行删掉", "去掉{1}里有{0}的行", "{1}里带{0}的行都干掉", "{1},有{0}的行删了", "{1}里凡是有{0}的行都不要了",
                  "把{1}里出现{0}的整行给删了")},
    "^{}": {"en": ("delete lines starting with {0} in {1}", "remove lines that begin with {0} from {1}", "{1}: drop lines starting with {0}",
                   "get rid of all lines of {1} that start with {0}"),
            "zh": ("删除{1}里以{0}开头的行", "去掉{1}中{0}开头的行", "{1}里开头是{0}的行都干掉", "{1},{0}打头的行删了")},
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
    "head": ({"en": ("the first {n} lines of {f}", "the top {n} lines of {f}", "the beginning {n} lines of {f}", "just the first {n} lines of {f}", "only the top {n} lines of {f}",
                     "{f}, the first {n} lines", "{f}: first {n} lines", "first {n} lines of {f}", "the first {n} rows of {f}"),
              "zh": ("{f}的前{n}行", "{f}开头{n}行", "{f} 最前面{n}行", "{f} 头{n}行", "{f},前{n}行", "{f}里打头的{n}行", "{f}只要前{n}行", "{f}前{n}行的内容", "{f} 最上面{n}行")}, "head -n {n} {f}"),
    "tail": ({"en": ("the last {n} lines of {f}", "the final {n} lines of {f}", "the bottom {n} lines of {f}", "just the last {n} lines of {f}", "only the bottom {n} lines of {f}",
                     "{f}, the last {n} lines", "{f}: last {n} lines", "last {n} lines of {f}", "the last {n} rows of {f}"),
              "zh": ("{f}的最后{n}行", "{f}末尾{n}行", "{f}的后{n}行", "{f} 尾巴{n}行", "{f},最后{n}行", "{f} 最下面{n}行", "{f}只要最后{n}行", "{f}最后{n}行的内容", "{f} 倒数{n}行")}, "tail -n {n} {f}"),
    "line": ({"en": ("line {n} of {f}", "line number {n} from {f}", "only line {n} of {f}", "{f}, line {n}", "{f}: line {n}", "just line {n} of {f}, nothing else", "what line {n} of {f} says",
                     "line no. {n} in {f}"),
              "zh": ("{f}的第{n}行", "{f}第 {n} 行的内容", "{f}里第{n}行", "{f},第{n}行", "{f} 第{n}行那一行", "{f} 就第{n}行", "{f}第{n}行写的啥", "{f} 的第 {n} 行是啥")}, "sed -n '{n}p' {f}"),
    "range": ({"en": ("lines {n} to {m} of {f}", "lines {n}-{m} of {f}", "lines {n} through {m} in {f}", "lines from {n} to {m} of {f}", "{f}, lines {n} to {m}", "{f}: lines {n}-{m}", "just lines {n} to {m} of {f}",
                      "the part of {f} between lines {n} and {m}", "the lines between {n} and {m} of {f}"),
               "zh": ("{f}的第{n}到{m}行", "{f}第{n}行到第{m}行", "{f}的{n}-{m}行", "{f},{n}到{m}行", "{f} {n} 到 {m} 行这一段", "{f}第{n}行到{m}行之间的内容", "{f} 中间{n}到{m}行")}, "sed -n '{n},{m}p' {f}"),
    "from": ({"en": ("{f} from line {n} on", "everything in {f} from line {n} to the end", "{f} starting at line {n}", "{f}, line {n} and everything after it", "the rest of {f} from line {n}", "{f} from line {n} onwards"),
              "zh": ("{f}从第{n}行开始的内容", "{f}第{n}行以后的内容(含第{n}行)", "{f}从{n}行到末尾", "{f} 第{n}行往后的内容(含第{n}行)", "{f},从第{n}行到最后", "{f}从第 {n} 行起的所有行")}, "tail -n +{n} {f}"),
}  # fmt: skip
AFTER = {
    " | sort": {"en": (", sorted", " in sorted order", ", sort them", " but sorted"), "zh": (",并排序", ",排序后显示", ",排个序", ",排好序")},
    " | wc -c": {"en": (" and count their bytes", ", how many bytes that is"), "zh": (",统计字节数", ",数一下字节")},
    " | grep '{w}'": {"en": (" that contain {w}", " and keep those with {w}", ", only those with {w}"), "zh": (",只要包含{w}的", ",再筛选出有{w}的", ",里面带{w}的")},
    " > {o}": {"en": (" and save them to {o}", ", written to {o}", " into the file {o}", ", save as {o}", ", put them in {o}"), "zh": (",保存到{o}", ",放到{o}里", ",另存为{o}", ",写入{o}", ",存成{o}")},
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
