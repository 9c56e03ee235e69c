"""Whether a request asks for the harm that a command does: what is not asked for is not offered."""

from __future__ import annotations

import re

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
    spills = _targets(command) and not SAVE.search(request)
    if KEEP.search(request) and (why or spills or any(_in_place(c) for c in found)):
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
