"""Whether a request asks for the harm that a command does: what is not asked for is not offered."""

from __future__ import annotations

import re
from fnmatch import fnmatch

from .explain import Command, commands, danger, tokens

# words with which people ask for something to go away or to be overwritten
AWAY = re.compile(
    "|".join(
        r"""delet remov rmeov reomv \brm\b rid\sof eras wip nuke clean clear empt prun purg trash
        throw discard drop destroy shred truncat cut\soff kill overwrit replac reset undo revert
        unlink uninstall strip \bbin\b junk toss chuck scrap forc lose go\saway mirror sync restor
        zero shrink blank zap power shut reboot restart turn.*\soff push image\b fill\s n't\sneed
        not\sneed roll\sback take\sout take\sback format flash write\s.*\sto burn --hard \bdd\b
        删 清 去掉 去除 移除 干掉 扔 丢 抹 擦 不要了 不用了 没用 弄掉 搞掉 处理掉 除掉 撤 回退 回滚
        还原 恢复 重置 放弃 覆盖 强制 强推 卸 截 销毁 粉碎 同步 镜 写入 烧 刻 格式化 解散 结束 杀
        关机 关闭 关掉 重启 复原 备份""".split()
    ),
    re.IGNORECASE,
)
# words with which people ask that nothing be changed
KEEP = re.compile(
    r"\b(?:only|just) (?:print|list|show|display|count|look|tell|see)|(?:print|list|show) only|"
    r"(?:don'?t|do not) (?:delete|remove|change|modify|edit|overwrite|save)|"
    r"without (?:changing|deleting|modifying|editing)|keep the original|print it|dry.?run|"
    r"leave the (?:file|original)|would (?:\S+ ){1,5}(?:go|remove|delete)|could delete|"
    "只(?:是|要|用|需)?(?:看|打印|显示|列|输出|数|统计)|别(?:删|改|覆盖)|不要(?:删|改|覆盖)|"
    "(?:先|暂时)(?:别|不|列|看|数)|原文件(?:不|别|保持|留)|不(?:改|修改|删除)(?:原|文件)|"
    "(?:会|将|能)(?:被)?(?:删|清)|打印一下就",
    re.IGNORECASE,
)
# words with which people ask that a file be changed where it lies
CHANGE = re.compile(
    r"chang|modif|edit|swap|convert|turn|fix|correct|updat|\badd\b|insert|\bput\b|prepend|comment|"
    r"renam|\bset\b|subst|mask|indent|sort|tick|bump|\bmake\b|translat|switch|trim|squeez|wrap|quot|"
    r"every .* (?:with|by|to|into) |in.?place|instead|"
    "改|换|替|加|补|插|更新|修|设|转|变|调|注释|统一|勾|缩进|排|翻|写|填|挪|移|合并|弄成|搞成|压成",
    re.IGNORECASE,
)
# words with which people ask to be told something
TELL = re.compile(
    r"(?<!\.)\b(?:which|who|whose|where|how many|what(?:'s| is| are| was| does)|are there|show|"
    r"list|count|look up)\b|啥|谁|哪|多少|几[个行次条]|是什么|查一?下|看看|有没有",
    re.IGNORECASE,
)
# a file that is to be left alone, named before or after the words for it
FILE = r"([\w*.+-]+\.[A-Za-z0-9]{1,8})"
SPARED = (
    re.compile(r"(?:don'?t|do not|never) (?:touch|delete|remove|harm) (?:the )?" + FILE, re.I),
    re.compile(r"(?:keep|except|but not|leave|spare|all but) (?:the |for )?" + FILE, re.I),
    re.compile(FILE + r"[^,，。;；]{0,4}(?:别|不要|不能|不许|不准)(?:动|碰|删)"),
    re.compile(FILE + r"[^,，。;；]{0,4}(?:留着|保留|留下)|(?:除了|保留|留着|别动|别删) ?" + FILE),
)
SAVE = re.compile(r"sav|stor|writ|\binto\b|\bto\b|\bas\b|append|存|写|输出到|放", re.IGNORECASE)
READERS = frozenset(
    "awk cat column comm cut grep head jq nl paste rev sed sort tac tail tr uniq".split()
)
WRITES = (">", ">|", "&>")


def unasked(request: str, command: str) -> str:
    """Why `command` does harm that `request` does not ask for; empty when it does not.

    Harm is what cannot be undone: files deleted or emptied, changes thrown away, a file changed in
    place where the request wants it kept.
    """
    try:
        found = commands(command)
    except ValueError:
        return "it cannot be read"
    if spilt := _spilt(command, found):
        return f"it empties {spilt} before reading it"
    why = danger(command)
    if why and not AWAY.search(request):
        return f"it {why}"
    changes = any(_in_place(c) for c in found)
    asks = TELL.search(request) and not (AWAY.search(request) or CHANGE.search(request))
    if asks and any(c.program in ("sed", "perl") for c in found if _in_place(c)):
        return "it changes a file in place"
    for spared in _spared(request):
        if any(_takes(c, spared) for c in found):
            return f"it deletes {spared}, which is to be kept"
    spills = _targets(command) and not SAVE.search(request)
    if KEEP.search(request) and (why or spills or changes):
        return why or "it changes a file that is to be kept"
    return ""


def _in_place(c: Command) -> bool:
    """Whether a program overwrites a file that it reads, or takes one away."""
    match c.program:
        case "sed" | "perl":
            return any(re.match(r"-[a-zA-Z]*i|--in-place", w) for w in c.words)
        case "sort":
            return "-o" in c.words
        case "rm" | "mv" | "truncate" | "shred" | "unlink":
            return True
        case "find":
            return "-delete" in c.words
    return False


def _spared(request: str) -> set[str]:
    """Names of files that the request wants left alone."""
    return {name for p in SPARED for m in p.finditer(request) for name in m.groups() if name}


def _takes(c: Command, name: str) -> bool:
    """Whether a program deletes a file of that name: it meets all that `find` asks of names, or a
    pattern of `rm`.
    """
    if c.program == "rm":
        return any(fnmatch(name, w.rsplit("/", 1)[-1]) for w in c.words)
    if c.program != "find" or not {"-delete", "rm"} & set(c.words):
        return False
    for i, word in enumerate(c.words[:-1]):
        is_test = word in ("-name", "-iname")
        wanted = not i or c.words[i - 1] not in ("!", "-not")
        # a name with spaces may have been seen in part
        meets = is_test and (fnmatch(name, c.words[i + 1]) or c.words[i + 1].endswith(name))
        if is_test and meets != wanted:
            return False
    return True


def _targets(command: str) -> set[str]:
    """Files that redirections of the line begin anew."""
    words = tokens(command)
    targets = {b for a, b in zip(words, words[1:], strict=False) if a in WRITES}
    return {t for t in targets if not t.startswith(("&", "/dev/"))}


def _spilt(command: str, found: list[Command]) -> str:
    """A file that a redirection empties though a program of the line reads it."""
    # what follows && or ; runs when the file has been read
    if {"&&", ";", "||"} & set(tokens(command)):
        return ""
    read = {w for c in found if c.program in READERS for w in c.words}
    return min(_targets(command) & read, default="")
