"""The largest, newest, smallest and oldest of the files found, or all of them in that order."""

from __future__ import annotations

from .conditions import Found, Said

DEEP: Said = {
    "en": ("subfolders too", "at any depth", "including subfolders", "subdirectories included", "however deep", "and below"),
    "zh": ("包括子目录", "子目录也算", "连子目录一起", "子文件夹里的也算", "不管多深"),
}  # fmt: skip
# what is printed and how it is sorted, by the word for the first of the list
FIRSTS = {
    "big": ("%s", "-rn"), "small": ("%s", "-n"), "new": ("%T@", "-rn"), "old": ("%T@", "-n"),
}  # fmt: skip
MOST: dict[str, Said] = {
    "big": {"en": ("largest", "biggest"), "zh": ("最大", "体积最大", "最占地方")},
    "small": {"en": ("smallest", "tiniest"), "zh": ("最小", "体积最小")},
    "new": {"en": ("newest", "most recently modified", "latest"), "zh": ("最新", "最近修改", "最后改动")},
    "old": {"en": ("oldest", "least recently modified"), "zh": ("最旧", "最老", "最早修改", "最久没改")},
}  # fmt: skip
FIRST: Said = {
    "en": ("the {k} {most} of the {t}", "{most} {k} {t}", "the {k} {most} {t}", "{t}, the {k} {most}", "{t}: the {k} {most} ones", "{t} - just the {k} {most}", "{k} {most} {t}"),
    "zh": ("{t}里{most}的{k}个", "{most}的{k}个{t}", "{t},{most}的{k}个", "{t}中{most}的前{k}个", "{t}只要{most}的{k}个"),
}  # fmt: skip
ONE: Said = {
    "en": ("the {most} of the {t}", "{t}, only the {most} one", "the single {most} one of the {t}", "{t}: just the {most}", "which of the {t} is the {most}"),
    "zh": ("{t}里{most}的那个", "{most}的那个{t}", "{t}哪个{most}", "{t},{most}的一个", "{t}里哪一个{most}"),
}  # fmt: skip
SORTED: dict[str, Said] = {
    "big": {"en": ("{t} sorted by size, largest first", "{t}, biggest first", "{t} by size in descending order", "{t} from largest to smallest"), "zh": ("{t}按大小从大到小排", "{t},按大小倒序", "{t}按大小排序,大的在前", "{t}由大到小")},
    "small": {"en": ("{t} sorted by size, smallest first", "{t}, smallest first", "{t} from smallest to largest"), "zh": ("{t}按大小从小到大排", "{t}按大小排序,小的在前", "{t}由小到大")},
    "new": {"en": ("{t} sorted by time, newest first", "{t}, newest first", "{t} by modification time, latest on top", "{t} from newest to oldest"), "zh": ("{t}按时间排序,新的在前", "{t}按修改时间倒序", "{t}按时间从新到旧", "{t}最新的排前面")},
    "old": {"en": ("{t} sorted by time, oldest first", "{t}, oldest first", "{t} by modification time, oldest on top", "{t} from oldest to newest"), "zh": ("{t}按时间排序,旧的在前", "{t}按修改时间从旧到新", "{t}最老的排前面", "{t}按时间先后排")},
}  # fmt: skip


def top(f: Found, command: str, thing: str) -> tuple[str, str, str, list[str]]:
    """The request for the first of the files, or all sorted, as `find` makes it."""
    rng = f.values.rng
    # a directory's own size says nothing
    size = 0 if f.kind == "d" else 1
    first = rng.choices(tuple(FIRSTS), (5 * size, 2 * size, 4, 3))[0]
    print_, sort = FIRSTS[first]
    command += f" -printf '{print_} %p\\n' | sort {sort}"
    most, chance = f.pick(MOST[first]), rng.random()
    if chance < 0.55:
        k = f.values.number(2, 30)
        command += f" | head -n {k.text}"
        phrase = f.pick(FIRST).format(k=f.say(k), most=most, t=thing)
    elif chance < 0.75:
        command += " | head -n 1"
        phrase = f.pick(ONE).format(most=most, t=thing)
    else:
        phrase = f.pick(SORTED[first]).format(t=thing)
    if "-maxdepth" not in command and (first in ("new", "old") or rng.random() < 0.6):
        deep = f.pick(DEEP)
        phrase += (
            rng.choice((f", {deep}", f" ({deep})"))
            if f.lang == "en"
            else rng.choice((f",{deep}", f"({deep})"))
        )
    asks = phrase.startswith("which") or "哪" in phrase.rpartition(thing)[2]
    return "?" if asks else "~", phrase, command, f.said
