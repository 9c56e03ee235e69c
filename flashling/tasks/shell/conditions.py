"""What a found file must be: its size, its age, its owner, its rights, what it must not be called."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .values import Value, Values

Said = dict[str, tuple[str, ...]]
BIGGER: Said = {
    "en": ("larger than {}", "bigger than {}", "over {}", "above {}", "greater than {}", "of more than {}", "that are over {}", "exceeding {}", "> {}", "that take more than {}", "heavier than {}", "with a size over {}", "of at least {}", "that are at least {}", "{} or more", "{} and up"),
    "zh": ("大于{}", "超过{}", "大小超过{}", "比{}大", "{}以上", ">{}", "比{}还大", "{}往上", "体积大于{}", "占了不止{}", "至少{}", "不小于{}", "起码{}"),
}  # fmt: skip
SMALLER: Said = {
    "en": ("smaller than {}", "under {}", "below {}", "less than {}", "of less than {}", "< {}", "that are under {}", "with a size below {}", "not even {} big"),
    "zh": ("小于{}", "不到{}", "比{}小", "{}以下", "不超过{}", "连{}都不到", "{}往下"),
}  # fmt: skip
SIZES: Said = {
    "en": ("between {} and {}", "larger than {} but smaller than {}", "over {} and under {}", "from {} up to {}", "bigger than {} and smaller than {}", "with a size between {} and {}", "of {} to {}", "above {} but below {}"),
    "zh": ("{}到{}之间", "大于{}小于{}", "{}以上{}以下", "在{}和{}之间", "比{}大比{}小", "大小在{}到{}", "{}至{}", "超过{}但不到{}"),
}  # fmt: skip
EMPTY: Said = {
    "en": (
        "that are empty",
        "with nothing in them",
        "of zero bytes",
        "that have no content",
        "of size 0",
    ),
    "zh": ("没内容", "大小为0", "什么都没有", "0字节", "里面是空", "空空如也"),
}
RECENT: Said = {
    "en": ("modified in the last {}", "changed in the last {}", "changed within the past {}", "modified within {}", "touched in the past {}", "edited in the last {}", "updated during the last {}", "from the last {}", "that changed in the last {}", "newer than {}", "I changed in the last {}", "that got touched in the last {}", "with changes in the past {}", "no older than {}", "less than {} old", "that changed less than {} ago"),
    "zh": ("最近{}修改过", "{}内改过", "最近{}改动过", "{}以内修改", "近{}更新过", "最近{}内有变动", "过去{}修改过", "这{}动过", "近{}改过", "我最近{}改过", "{}里头动过", "{}之内改", "前{}里改过"),
}  # fmt: skip
STALE: Said = {
    "en": ("older than {}", "not modified for {}", "last changed more than {} ago", "not touched in {}", "untouched for over {}", "that haven't changed in {}", "more than {} old", "nobody touched for {}", "unchanged for {}", "that are over {} old", "I haven't touched for more than {}", "not changed in the last {}"),
    "zh": ("超过{}没修改", "{}前", "{}以前", "{}没动过", "{}以上没改过", "早于{}", "{}之前修改", "{}没碰过", "{}都没改过", "放了{}没动", "{}没更新", "{}多没动过", "有{}多没改", "至少{}没碰"),
}  # fmt: skip
SINCE: Said = {
    "en": ("changed since {}", "modified after {}", "from {} on", "touched since {}", "newer than {}", "changed after {}", "modified since {}", "that changed after {}"),
    "zh": ("{}之后改过", "{}以后修改", "从{}起改过", "自{}以来动过", "晚于{}", "{}以来更新过", "{}后改动过", "{}往后动过"),
}  # fmt: skip
BEFORE: Said = {
    "en": ("last modified before {}", "from before {}", "not changed since {}", "untouched since {}", "older than {}", "last changed before {}", "I haven't touched since {}"),
    "zh": ("{}之前", "{}以前修改", "{}之后没动过", "早于{}", "{}起就没改过", "{}前改", "{}以来没更新过"),
}  # fmt: skip
DATES: Said = {
    "en": ("modified between {} and {}", "changed between {} and {}", "from between {} and {}", "changed after {} but before {}", "newer than {} and older than {}", "touched between {} and {}"),
    "zh": ("{}到{}之间改过", "{}至{}修改", "{}以后{}以前改", "从{}到{}期间改动过", "{}和{}之间动过", "{}到{}这段时间更新"),
}  # fmt: skip
DAYS: dict[str, Said] = {
    "-newermt today": {"en": ("modified today", "changed today", "from today", "I touched today", "that changed today", "edited today"), "zh": ("今天改过", "今天修改", "今天动过", "今儿改过", "今天更新")},
    "-newermt yesterday -not -newermt today": {"en": ("modified yesterday", "changed yesterday", "from yesterday", "that I edited yesterday", "touched yesterday"), "zh": ("昨天改过", "昨天修改", "昨天动过", "昨天编辑过", "昨天更新")},
    "-newermt yesterday": {"en": ("changed since yesterday", "modified yesterday or today", "from yesterday on"), "zh": ("昨天以来改过", "从昨天起动过", "昨天和今天改过", "昨天到现在修改")},
}  # fmt: skip
OWNED: Said = {
    "en": ("owned by {}", "that belong to {}", "belonging to user {}", "of user {}", "whose owner is {}", "that are {}'s"),
    "zh": ("属于{}", "{}拥有", "用户{}", "所有者是{}", "归{}", "{}名下", "主人是{}"),
}  # fmt: skip
GROUPED: Said = {
    "en": ("of group {}", "owned by the group {}", "that belong to the {} group", "whose group is {}"),
    "zh": ("属于{}组", "组是{}", "归{}这个组", "所属组为{}"),
}  # fmt: skip
RIGHTS: dict[str, Said] = {
    "-executable": {"en": ("that are executable", "that I can execute", "with the x bit set", "that can be run"), "zh": ("可执行", "能执行", "有执行权限", "带x权限")},
    "-not -executable": {"en": ("that are not executable", "that can't be executed", "without execute permission", "that lack the x bit"), "zh": ("不可执行", "不能执行", "没有执行权限", "缺x权限")},
    "-writable": {"en": ("I can write to", "that I'm allowed to write", "that are writable for me"), "zh": ("我能写", "我有写权限", "我可写")},
    "-not -writable": {"en": ("I can't write to", "that I'm not allowed to write", "that are not writable for me"), "zh": ("我不能写", "我没有写权限", "我写不了")},
    "-perm -o+w": {"en": ("that everybody can write to", "that are world-writable", "others may write to", "writable by anyone"), "zh": ("谁都能写", "任何人可写", "其他人可写", "所有人都有写权限")},
}  # fmt: skip
MODE: Said = {
    "en": ("with permissions {}", "with mode {}", "whose mode is {}", "that are chmod {}", "with exactly {} permissions"),
    "zh": ("权限为{}", "权限是{}", "权限正好{}", "mode是{}"),
}  # fmt: skip
EXCEPT: Said = {
    "en": ("except {}", "but not {}", "other than {}", "excluding {}", "leaving out {}", "apart from {}", "that aren't {}"),
    "zh": ("除了{}以外", "除{}外", "不算{}", "排除{}后", "{}除外"),
}  # fmt: skip


@dataclass
class Found:
    """A `find` in the making: its tests, and how its conditions are said in one language."""

    values: Values
    lang: str
    tests: list[str] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    conditions: list[str] = field(default_factory=list)
    adjective: str = ""
    noun: str = ""
    kind: str = "f"

    def pick(self, table: Said) -> str:
        """One of the language's phrasings."""
        return self.values.rng.choice(table[self.lang])

    def say(self, value: Value) -> str:
        """The value as said, remembered as something no typo may touch."""
        text = value.said(self.lang, self.values.rng)
        self.said.append(text)
        return text

    def must(self, test: str, phrases: Said, *values: Value) -> None:
        """One more test, and one of its phrasings."""
        self.tests.append(test)
        self.conditions.append(self.pick(phrases).format(*map(self.say, values)))


def _empty(f: Found) -> None:
    if f.kind == "f" and f.values.rng.random() < 0.3:
        f.must("-empty", EMPTY)
        return
    f.tests.append("-empty")
    f.adjective = {"en": "empty ", "zh": "空"}[f.lang]


def sized(f: Found) -> None:
    """Bigger or smaller than, between two sizes, empty."""
    rng, values = f.values.rng, f.values
    if f.kind != "f":
        owned(f)
        return
    chance = rng.random()
    if chance < 0.16:
        _empty(f)
    elif chance < 0.3:
        low, high = rng.sample((1, 2, 5, 10, 20, 50, 100, 200, 500, rng.randint(3, 900)), 2)
        low, high = min(low, high), max(low, high)
        a, b = values.sized(low, unit := rng.choice("MMMkG")), values.sized(high, unit)
        if low != high:
            f.must(f"-size +{a.text} -size -{b.text}", SIZES, a, b)
    elif chance < 0.36:
        n = rng.choice((100, 500, 512, 1000, 1024, rng.randint(1, 5000)))
        size = Value(f"{n}c", (f"{n} bytes",), (f"{n}字节", f"{n}个字节"))
        more = rng.random() < 0.5
        f.must(f"-size {'+' if more else '-'}{size.text}", BIGGER if more else SMALLER, size)
    else:
        size, more = values.size(), rng.random() < 0.7
        # find rounds sizes up: -1M is true of empty files only
        while not more and size.text[:-1] == "1":
            size = values.size()
        f.must(f"-size {'+' if more else '-'}{size.text}", BIGGER if more else SMALLER, size)


def timed(f: Found) -> None:
    """Changed in the last hours or days, not for long, since a date, between two."""
    rng, chance = f.values.rng, f.values.rng.random()
    if chance < 0.7:
        minutes, recent = rng.random() < 0.32, rng.random() < 0.55
        span = f.values.draw("minutes" if minutes else "days")
        test = f"-m{'min' if minutes else 'time'} {'-' if recent else '+'}{span.text}"
        f.must(test, RECENT if recent else STALE, span)
        return
    if chance < 0.8:
        day = rng.choice(tuple(DAYS))
        f.must(day, DAYS[day])
        return
    a, b = sorted((f.values.date(), f.values.date()), key=lambda date: date.text)
    if chance < 0.88:
        f.must(f"-newermt {a.text}", SINCE, a)
    elif chance < 0.94 or a.text == b.text:
        f.must(f"-not -newermt {a.text}", BEFORE, a)
    else:
        f.must(f"-newermt {a.text} -not -newermt {b.text}", DATES, a, b)


def owned(f: Found) -> None:
    """Of a user or a group; directories may be empty."""
    if f.kind == "d" and f.values.rng.random() < 0.6:
        _empty(f)
    elif f.values.rng.random() < 0.25:
        group = f.values.of("group")
        f.must(f"-group {group.text}", GROUPED, group)
    else:
        user = f.values.of("user")
        f.must(f"-user {user.text}", OWNED, user)


def allowed(f: Found) -> None:
    """Executable, writable, of a mode."""
    if f.kind != "f":
        owned(f)
    elif f.values.rng.random() < 0.25:
        mode = f.values.of("mode")
        f.must(f"-perm {mode.text}", MODE, mode)
    else:
        right = f.values.rng.choice(tuple(RIGHTS))
        f.must(right, RIGHTS[right])


def unlike(f: Found) -> None:
    """Not of a name, not of an extension."""
    rng, values = f.values.rng, f.values
    test = next((t for t in f.tests if "name" in t), "")
    if test and "*" not in test:
        return
    own = re.search(r"-name '\*\.(\w+)'", test)
    if f.kind == "f" and not own and (test or rng.random() < 0.6):
        ext = values.of("ext").text
        name = {"en": (f".{ext} files", f"*.{ext}", f"the {ext} ones", f"{ext} files"),
                "zh": (f".{ext}文件", f"*.{ext}", f"{ext}的", f"{ext}文件")}[f.lang]  # fmt: skip
        f.must(f"-not -name '*.{ext}'", EXCEPT, Value(ext, name, name))
        return
    # a name that the files could have
    name = (
        f"{values.stem()}.{own[1]}"
        if own
        else values.stem()
        if f.kind != "f"
        else values.file_name()
    )
    f.must(f"-not -name '{name}'", EXCEPT, Value(name, marked=0.1))
    f.said.append(name)


CONDITIONS: tuple[tuple[Callable[[Found], None], float], ...] = (
    (sized, 4), (timed, 5), (owned, 1.5), (allowed, 1.2), (unlike, 1.2),
)  # fmt: skip
