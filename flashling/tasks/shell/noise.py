"""How people wrap and blur what they ask: reasons, thanks, fillers, words left out, slips."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

from .places import APART, END, FIRST, GAP, LATER, OPEN

BEFORE = {
    "en": ("ok so ", "hmm, ", "sorry, ", "quick question: ", "one more thing: ", "before I forget, ", "my disk is full, ",
           "I always forget this: ", "for my report, ", "I'm new to linux, ", "as a test, ", "for the backup: ", "hello! ",
           "this folder is a mess, ", "no idea how to do this: ", "next, ", "and now ", "first ", "then ", "morning! ", "right, ",
           "my boss wants this: ", "in bash, ", "on linux, ", "with one command ", "in the terminal ", "urgent: ", "step 2: ",
           "I need your help: ", "todo: ", "task: ", "- ", "so, ", "well, ", "same again: ", "for the meeting: "),
    "zh": ("那个,", "嗯,", "我忘了命令,", "老板要的,", "急用,", "顺便", "然后", "接下来", "首先", "再", "不好意思,", "硬盘快满了,",
           "新手求助,", "写报告要用,", "终端里", "用一条命令", "在bash里", "linux下", "问个问题,", "小问题:", "麻烦你,", "哥,", "亲,",
           "这个目录太乱了,", "我想知道,", "刚才那个不对,", "下一步", "备份用:", "测试一下,", "任务:", "待办:", "就是", "先", "现在要"),
}  # fmt: skip
AFTER = {
    "en": (", thanks", " thx", " pls", ", thank you!", ", please and thank you", " asap", ", it's urgent", ", if you can", " for me",
           ", I forgot the command", " - how?", ", quickly", " in one go", " with one command", " right now", " again", ", ok?",
           ", no idea how", " in the terminal", " for a colleague", ", any idea?", " (bash)", ", cheers", " if possible", " lol", "..."),
    "zh": (",谢谢", ",谢了", ",急", ",多谢", ",怎么弄", ",咋整", ",用啥命令", ",拜托了", ",可以吗", ",行不行", "呗", "哈", "啊", "呢", "吧",
           "就行", "就好", ",命令忘了", ",在线等", ",尽快", "~", "...", ",好吗", ",要快", ",给个命令", "一下呗"),
}  # fmt: skip
# words that the hurried leave out, and others put in their place
DROPPED = {
    "en": re.compile(r"\b(?:the|a|an|of|all|that|are|is|my|me|please|to) (?=\S)", re.IGNORECASE),
    "zh": re.compile("的|一下|请|所有|里面|这个|那个|把|将"),
}
SWAPPED = {
    "en": (("folder", "directory", "dir"), ("show", "display", "print"), ("find", "look for", "locate"), ("delete", "remove"),
           ("files", "documents"), ("in", "inside"), ("into", "to"), ("make", "create"), ("containing", "with"),
           ("bigger than", "larger than", "over"), ("number of", "count of"), ("called", "named"), ("every", "each"),
           ("show me", "gimme", "let me see"), ("how many", "what number of"), ("contents", "content"), ("using", "with")),
    "zh": (("目录", "文件夹", "路径"), ("里", "中", "里面", "里头"), ("显示", "打印", "输出", "看看"), ("删除", "删掉", "删了"),
           ("查找", "找", "搜", "找找"), ("统计", "数一下", "算下"), ("多少", "几"), ("所有", "全部", "全"), ("当前目录", "这里", "当前文件夹"),
           ("文件", "文档"), ("创建", "新建", "建"), ("内容", "里面的东西"), ("替换成", "换成", "改成"), ("包含", "含有", "带"),
           ("大于", "超过"), ("最近", "近"), ("复制", "拷贝", "拷"), ("移动", "挪", "移"), ("重命名", "改名")),
}  # fmt: skip


# a file whose folder is to be said apart from it; `!` where the request names other things too
APARTED = re.compile(f"{OPEN}(!?)([^{GAP}]+){GAP}([^{END}]+){END}")
# "in the last a week": the article goes
ARTICLE = re.compile(
    r"\b(last|past|previous|this) an? (?=(?:minute|hour|day|week|month|year|fortnight)\b)"
)


def wrapped(text: str, lang: str, rng: random.Random) -> str:
    """The request with a reason or a greeting before it, or a thank-you behind it, now and then."""
    text = _parted(re.sub(",(?=[?.]?$)", "", text), lang, rng)
    if rng.random() < 0.09:
        text = rng.choice(BEFORE[lang]) + text
    if rng.random() < 0.09 and text[-1] not in ".?!\u3002\uff1f":
        text += rng.choice(AFTER[lang])
    return text


def _parted(text: str, lang: str, rng: random.Random) -> str:
    """The folder of a file said behind the whole request, or before it, rather than with its name."""
    spot = APARTED.search(text)
    if not spot:
        return text
    named, name, folder = spot.groups()
    text = text.replace(spot[0], name)
    if rng.random() < 0.15:
        return rng.choice(FIRST[lang]).format(name, folder) + text
    return text + rng.choice(LATER[lang][1 if named else rng.random() < 0.25]).format(name, folder)


def blurred(text: str, said: list[str], lang: str, rng: random.Random) -> str:
    """The request with words left out or exchanged, never inside the values `said`.

    `said` gains the parts of its paths and names: they may stand apart in the text.
    """
    spots = APARTED.findall(text)
    if len(spots) == 1 and len(said) > 1:
        text = text.replace(OPEN, OPEN + "!")
    elif spots:
        # two files cannot both be told apart at the end
        put = rng.choice(APART[lang][:7])
        text = text if len(spots) == 1 else APARTED.sub(lambda m: put.format(m[2], m[3]), text)
    said += dict.fromkeys(part for v in said for part in re.split("[/ ]", v) if len(part) > 1)
    text = ARTICLE.sub(r"\1 ", text)
    if rng.random() < 0.12:
        text = _outside(text, said, DROPPED[lang], lambda m: "" if rng.random() < 0.6 else m[0])
    if rng.random() < 0.2:
        words = rng.choice(SWAPPED[lang])
        pattern = rf"\b{words[0]}\b" if lang == "en" else words[0]
        other = rng.choice(words[1:])
        text = _outside(text, said, re.compile(pattern), lambda m: other)
    return text


def _outside(text: str, said: Sequence[str], pattern: re.Pattern[str], put: Callable) -> str:
    """Every match replaced by put(match), where it does not touch a value."""
    held = [m.span() for v in said if v for m in re.finditer(re.escape(v), text)]

    def change(m: re.Match[str]) -> str:
        touches = any(a < m.end() and m.start() < b for a, b in held)
        # a name may hold the word: config-files, 目录.txt
        joined = (
            re.match(r"[\w./-]", text[m.end() : m.end() + 1] or " ") if m[0].isascii() else None
        )
        return m[0] if touches or (joined and not m[0].endswith(" ")) else put(m)

    return pattern.sub(change, text)
