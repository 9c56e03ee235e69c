"""Requests for `find`, composed: what is looked for, its conditions, where, and what is done with it."""

from __future__ import annotations

from . import rare
from .conditions import CONDITIONS, Found
from .tops import top
from .values import Value, Values, quoted

Made = tuple[str, str, str, list[str]]
SEEK = {
    "en": ("find", "find", "find all", "look for", "search for", "locate", "find me", "track down", "dig up"),
    "zh": ("查找", "找出", "找到", "找", "搜索", "找一下", "搜一下", "寻找", "查一下", "找找", "揪出", "翻出", "搜搜"),
}  # fmt: skip
NOUNS = {
    ("f", "en"): ("files", "files", "files", "regular files", "documents"),
    ("f", "zh"): ("文件", "文件", "文件", "普通文件", "文档"),
    ("d", "en"): ("directories", "folders", "folders", "subdirectories", "dirs"),
    ("d", "zh"): ("目录", "文件夹", "子目录"),
    ("l", "en"): ("symlinks", "symbolic links", "soft links"),
    ("l", "zh"): ("符号链接", "软链接", "软链"),
}
NAMED = {
    "exact": ({"en": ("{1} named {0}", "{1} called {0}", "{1} with the name {0}", "{1} whose name is {0}"), "zh": ("名为{0}的{1}", "叫{0}的{1}", "名字是{0}的{1}", "文件名是{0}的{1}", "名字就叫{0}的{1}")}, "{}"),
    "part": ({"en": ("{1} with {0} in the name", "{1} whose name contains {0}", "{1} that have {0} in their name", "{1} containing {0} in the name", "{1} that have {0} somewhere in the name"), "zh": ("名字里有{0}的{1}", "名字包含{0}的{1}", "文件名含有{0}的{1}", "名称带{0}的{1}", "名字里带着{0}的{1}", "叫什么{0}什么的{1}")}, "*{}*"),
    "head": ({"en": ("{1} starting with {0}", "{1} whose name starts with {0}", "{1} that begin with {0}", "{1} beginning with {0}"), "zh": ("以{0}开头的{1}", "名字以{0}开头的{1}", "{0}开头的{1}", "{0}打头的{1}")}, "{}*"),
    "tail": ({"en": ("{1} ending with {0}", "{1} ending in {0}", "{1} whose name ends with {0}", "{1} that end in {0}"), "zh": ("以{0}结尾的{1}", "名字以{0}结尾的{1}", "{0}结尾的{1}", "{0}收尾的{1}")}, "*{}"),
}  # fmt: skip


def _subject(f: Found) -> None:
    rng, values = f.values.rng, f.values
    chance = rng.random()
    f.kind = "f" if chance < 0.84 else "d" if chance < 0.95 else "l"
    plain = rng.choice(NOUNS[f.kind, f.lang])
    if chance < 0.1:
        _kinds(f)
        return
    if f.kind == "l" and rng.random() < 0.4:
        f.tests.append("-xtype l")
        f.noun = f.pick(BROKEN)
        return
    if f.kind == "f" and chance < 0.48:
        ext = values.of("ext")
        f.tests.append(f"-name '*.{ext.text}'")
        name = f.say(ext)
        if f.lang == "en":
            f.noun = rng.choice((f"{name} files",) * 5 + (f"files ending in .{ext.text}", f"*.{ext.text} files",
                                 f"files with the extension {ext.text}", f"*.{ext.text}", f".{ext.text} documents"))  # fmt: skip
        else:
            f.noun = rng.choice((f"{name}文件",) * 4 + (f"{name} 文件", f"扩展名为{ext.text}的文件", f"后缀是.{ext.text}的文件",
                                 f"所有{name}文件", f"*.{ext.text}", f"{ext.text}", f"{name}文档"))  # fmt: skip
        return
    f.tests.append(f"-type {f.kind}")
    f.noun = plain
    if chance < 0.72 or f.kind == "d" and rng.random() < 0.6:
        form = rng.choice(
            ("exact", "part", "part", "head", "tail") if f.kind == "f" else ("exact", "part")
        )
        phrases, pattern = NAMED[form]
        value = values.file() if form == "exact" and f.kind == "f" else values.draw("name")
        text = value.text.rsplit("/", 1)[-1]
        ignore = rng.random() < 0.15
        f.tests.append(f"-{'iname' if ignore else 'name'} '{pattern.format(text)}'")
        f.noun = f.pick(phrases).format(f.say(Value(text, marked=0.25)), plain)
        if ignore and f.lang == "en":
            f.conditions.append(
                rng.choice(("ignoring case", "case insensitive", "regardless of case"))
            )
        elif ignore:
            f.noun = rng.choice(("不区分大小写地", "忽略大小写", "不管大小写,")) + f.noun


# the order of tests in a command, whatever the order in which they were said
ORDER = ("-type", "-xtype", "\\(", "-name", "-iname", "-size", "-mtime", "-mmin", "-newermt", "-user", "-group",
         "-perm", "-executable", "-writable", "-empty", "-not")  # fmt: skip


def _kinds(f: Found) -> None:
    """Files of several extensions."""
    rng = f.values.rng
    count = rng.choice((2, 2, 2, 3))
    exts = list(dict.fromkeys(f.values.of("ext").text for _ in range(count)))
    if len(exts) == 1:
        exts.append("orig")
    tests = " -o ".join(f"-name '*.{ext}'" for ext in exts)
    f.tests.append(f"\\( {tests} \\)")
    dot = rng.choice(("", "", ".", ".", "*."))
    *first, last = (dot + ext for ext in exts)
    if f.lang == "en":
        word = rng.choice(("and", "and", "or", "&"))
        f.noun = f"{', '.join(first)} {word} {last}{rng.choice((' files', ' files', ' files', ''))}"
    else:
        f.noun = (
            "、".join(first)
            + rng.choice("和和或跟与、")
            + last
            + rng.choice(("文件", "文件", "", "的文件"))
        )


BROKEN = {
    "en": ("broken symlinks", "dangling symlinks", "broken links", "symlinks that point nowhere", "dead symlinks", "symbolic links whose target is gone"),
    "zh": ("坏掉的软链接", "失效的符号链接", "断掉的软链", "目标不存在的软链接", "无效的软链接", "死链接"),
}  # fmt: skip


def _around(f: Found) -> tuple[str, str]:
    """The start of the command, and the place as said."""
    rng, values = f.values.rng, f.values
    where = values.draw("dir")
    place = where.place(f.lang, rng)
    f.said.append(where.text)
    start = f"find {where.typed()}"
    chance = rng.random()
    if chance < 0.07:
        depth = rng.randint(1, 4)
        if depth == 1 and rng.random() < 0.7:
            how = {"en": ("not in subfolders", "without descending into subdirectories", "only this level, no subfolders", "ignoring subfolders", "at the top level only", "just one level", "no subfolders", "only directly in there, nothing deeper"),
                   "zh": ("不包括子目录", "不进子目录", "只看这一层", "子目录不算", "子目录里的不要", "只一层", "别进子目录", "只要第一层的")}  # fmt: skip
        else:
            how = {"en": (f"at most {depth} level{'s' * (depth > 1)} deep", f"with max depth {depth}", f"no deeper than {depth} level{'s' * (depth > 1)}", f"down to {depth} level{'s' * (depth > 1)}"),
                   "zh": (f"最多{depth}层", f"深度不超过{depth}层", f"往下最多{depth}层")}  # fmt: skip
        start += f" -maxdepth {depth}"
        f.conditions.append("" if f.lang == "zh" else f.pick(how))
        place = (
            place if f.lang == "en" else f"{place}({f.pick(how)})" if place else f"{f.pick(how)},"
        )
    elif chance < 0.14:
        skipped = values.pick("folder") if rng.random() < 0.5 else rare.latin(rng)
        f.said.append(skipped)
        f.tests.append(f"-not -path '*/{skipped}/*'")
        how = {"en": (f"skipping {skipped}", f"but not in {skipped}", f"excluding {skipped}", f"except in {skipped}", f"leaving out {skipped}", f"outside {skipped}", f"but skip {skipped}"),
               "zh": (f"{skipped}除外", f"排除{skipped}", f"不包括{skipped}", f"不算{skipped}", f"别管{skipped}", f"{skipped}里的不要")}  # fmt: skip
        f.conditions.append("" if f.lang == "zh" else f.pick(how))
        place = place if f.lang == "en" else f"{place}({f.pick(how)})"
    return start, place


def _thing(f: Found, place: str) -> str:
    """All of it as a noun phrase."""
    rng = f.values.rng
    conditions = [c for c in f.conditions if c]
    # an afterthought: "log files in src (older than a week)"
    after = f"({(', ' if f.lang == 'en' else ',').join(conditions)})"
    late = bool(conditions) and rng.random() < 0.08
    if f.lang == "zh":
        told = "" if late else "".join(c + "的" for c in conditions)
        noun = f.adjective + f.noun
        if f.adjective and "的" in f.noun:
            head, _, tail = f.noun.rpartition("的")
            noun = f"{head}的{f.adjective}{tail}"
        gap = "的" if place and place[-1] not in "(),的" and rng.random() < 0.6 else ""
        return f"{place}{gap}{told}{noun}{after if late else ''}"
    parts = [f.adjective + f.noun, *conditions]
    parts.insert(rng.choice((1, len(parts))), place)
    if late:
        parts = [f.adjective + f.noun, place, after]
    return " ".join(p for p in parts if p)


def find(values: Values, lang: str) -> Made:
    """A request for find, (form, phrase, command, values said)."""
    rng = values.rng
    f = Found(values, lang)
    _subject(f)
    bare = f.tests in (["-type f"], ["-type d"], ["-type l"])
    wanted = rng.choices((0, 1, 2), (0 if bare else 4, 5, 1.2 if f.kind == "f" else 0))[0]
    chosen = rng.choices(CONDITIONS, [weight for _, weight in CONDITIONS], k=wanted)
    for condition, _ in dict.fromkeys(chosen):
        condition(f)
    start, place = _around(f)
    f.tests.sort(key=lambda test: ORDER.index(test.split()[0]))
    command = " ".join([start, *f.tests])
    if not place or rng.random() > 0.14:
        return _action(f, command, _thing(f, place))
    form, phrase, command, said = _action(f, command, _thing(f, ""))
    if rng.random() < 0.3 and form == "?":
        return form, f"{place}, {phrase}" if lang == "en" else f"{place},{phrase}", command, said
    place = place[1:-1] if place[0] == "(" else place
    told = f.pick(AFTERWARDS).format(place)
    return form, phrase + told, command, said


# the place as an afterthought
AFTERWARDS = {
    "en": (", the ones {}", " - the ones {}", " ({})", ", those {}", ", only {}", ", just the ones {}", ", I mean the ones {}"),
    "zh": (",{}的", ",{}的那些", "({})", ",就{}的", ",只要{}的", ",我说的是{}的"),
}  # fmt: skip


def _action(f: Found, command: str, thing: str) -> Made:
    """What is done with the files found: shown, counted, deleted, taken elsewhere, looked at."""
    rng, en = f.values.rng, f.lang == "en"
    broken = "-xtype" in command
    if f.kind == "l" and not broken and rng.random() < 0.3:
        return "~", f.pick(POINTED).format(thing), command + " -printf '%p -> %l\\n'", f.said
    if rng.random() < 0.13 and not broken:
        return top(f, command, thing)
    chance = rng.random()
    if 0.7 <= chance < 0.92 and command.startswith("find . ") and not any(f.conditions):
        # "delete all log files here" alone means this folder only
        deep = f.pick(DEEP)
        thing = f"{thing} {deep}" if en else f"{thing}({deep})"
    if 0.56 <= chance < 0.7:
        form, phrase = _counting(f, thing)
        return form, phrase, command + " | wc -l", f.said
    if 0.7 <= chance < 0.8 and (f.kind != "l" or broken):
        form = f.pick(DELETE)
        how = form.format(_every(f) + thing)
        tail = " -delete" if f.kind != "d" or "-empty" in command else " -exec rm -r {} +"
        return "?" if en and form[0] == "{" else "!", how, command + tail, f.said
    if 0.8 <= chance < 0.92 and f.kind == "f":
        target = f.values.folder().text
        f.said.append(target)
        verb = rng.choice(("mv", "cp"))
        form = f.pick(TAKE[verb])
        how = form.format(_every(f) + thing, target)
        command += f" -exec {verb} -t {quoted(target)} {{}} +"
        return "?" if en and form[0] == "{" else "!", how, command, f.said
    if chance >= 0.92 and f.kind == "f":
        tail = rng.choice(tuple(TAILS))
        form = "~" if "ls" in tail or "wc" in tail else "!"
        return form, rng.choice(TAILS[tail][f.lang]).format(thing), command + tail, f.said
    said = rng.random()
    if said < 0.3:
        return "?", f.pick(ASKED).format(thing), command, f.said
    if said < 0.6 or chance >= 0.56:
        return "~", thing, command, f.said
    seek = f.pick(SEEK)
    return "!", f"{seek} {thing}" if en else seek + thing, command, f.said


def _every(f: Found) -> str:
    return f.pick({"en": ("all ", "all the ", "every one of the ", ""), "zh": ("所有", "全部", "")})


def _counting(f: Found, thing: str) -> tuple[str, str]:
    form = f.values.rng.choice("?!")
    return form, f.pick(HOW_MANY if form == "?" else COUNT).format(thing)


ASKED = {
    "en": ("any {}", "are there any {}", "which {} are there", "what {} do I have", "{}, where are they", "{}, which ones", "{}, just list them", "{} - list them, don't delete anything", "got any {}", "I'm after {}, where are they"),
    "zh": ("{}有哪些", "{}都有啥", "有没有{}", "{}有没有", "{}都在哪", "{}列一下", "把{}都找出来", "{}给我揪出来", "{}列出来,先别删", "只看不删,{}有哪些", "{}有的话列出来", "{}都是哪些来着"),
}  # fmt: skip
POINTED = {
    "en": ("{} and where they point", "{} with their targets", "{}, and what each points to", "the targets of {}", "where the {} lead"),
    "zh": ("{}和它们指向哪里", "{}及其目标", "{},指向哪也要", "{}各指向什么", "{}分别链到哪"),
}  # fmt: skip
HOW_MANY = {
    "en": ("how many {} are there", "how many {}", "how many {} do I have", "{} - how many", "{}, just the number", "what's the number of {}"),
    "zh": ("{}有多少个", "有多少{}", "{}一共有几个", "{}的数量", "{}有几个", "{}拢共几个", "{}多少个,别列出来", "只要数字,{}有几个"),
}  # fmt: skip
COUNT = {
    "en": ("count {}", "count the number of {}", "count all {}", "tell me how many {} there are", "just count {}"),
    "zh": ("统计{}的数量", "数一下{}", "统计{}有多少个", "计算{}的个数", "数数{}", "统计下{}有几个"),
}  # fmt: skip
DEEP = {
    "en": ("recursively", "including subfolders", "here and in all subfolders", "at any depth", "no matter how deep", "here and below"),
    "zh": ("包括子目录在内", "子目录也算", "连子目录一起", "各级目录都要", "所有子目录里的", "不管多深"),
}  # fmt: skip
DELETE = {
    "en": ("delete {}", "remove {}", "delete {}", "get rid of {}", "erase {}", "nuke {}", "trash {}", "{}: delete them", "{}, remove them", "{} can go, delete them", "find {} and delete them"),
    "zh": ("删除{}", "删掉{}", "把{}删了", "清理掉{}", "移除{}", "{}全删了", "{}都给我删掉", "{}不要了,删掉", "{}统统干掉", "找出{}然后删掉", "把{}清掉"),
}  # fmt: skip
TAKE = {
    "mv": {"en": ("move {} to {}", "move {} into {}", "put {} into {}", "{}: move them to {}", "{}, put them in {}", "chuck {} into {}", "find {} and move them to {}"), "zh": ("把{}移动到{}", "将{}移到{}", "{}都挪到{}", "{}给我搬到{}去", "把{}塞到{}里", "找出{},移到{}")},
    "cp": {"en": ("copy {} to {}", "copy {} into {}", "{}: copy them to {}", "{}, copy them into {}, keep the originals", "find {} and copy them to {}"), "zh": ("把{}复制到{}", "将{}拷贝到{}", "复制{}到{}", "{}拷一份到{}", "{}都复制到{},原来的留着", "找出{},拷到{}")},
}  # fmt: skip
TAILS = {
    " -exec ls -lh {} +": {"en": ("{} with their sizes", "{} with details", "{}, sizes and dates too"), "zh": ("{}的详细信息", "{}和它们的大小", "{},大小也要")},
    " -exec wc -l {} +": {"en": ("the line counts of {}", "the number of lines in each of the {}", "{} with the line count of each"), "zh": ("{}各有多少行", "{}的行数", "{}每个几行")},
    " -exec chmod +x {} +": {"en": ("make {} executable", "give {} the x bit", "chmod +x {}"), "zh": ("给{}加上执行权限", "让{}可执行", "{}都加上x权限")},
    " -exec gzip {} +": {"en": ("gzip {}", "compress {} with gzip", "compress each of the {} with gzip"), "zh": ("用gzip压缩{}", "把{}压缩成gz", "{}都gzip一下")},
}  # fmt: skip
