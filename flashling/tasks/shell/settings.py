"""What the requests of `records.py` speak of, drawn together: tables, JSON, logs, settings and lists."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from . import rare
from .values import Value, Values

# what columns and fields hold, with some of their values
CATEGORIES = (
    ("country", "国家", ("Norway", "Kenya", "Peru", "Japan", "DE", "法国", "越南", "Brazil", "Iceland")),
    ("city", "城市", ("Lyon", "Oslo", "成都", "杭州", "Boston", "Nairobi", "Gent", "New York", "西安")),
    ("status", "状态", ("open", "closed", "paid", "shipped", "pending", "cancelled", "已发货", "待付款")),
    ("department", "部门", ("Sales", "HR", "Legal", "市场部", "财务", "research", "运维")),
    ("category", "类别", ("tools", "books", "玩具", "Garden", "snacks", "文具")),
    ("name", "姓名", ("Mia", "王芳", "Oleg", "Priya", "李雷", "Anna Berg")),
    ("product", "产品", ("lamp", "desk", "键盘", "USB hub", "oat milk", "雨伞")),
    ("team", "队伍", ("red", "Falcons", "blue", "A组", "Tigers")),
    ("user", "用户", ("kim", "zhao", "root", "jsmith", "小李")),
    ("type", "类型", ("refund", "login", "A", "B2", "退款", "click")),
    ("region", "地区", ("north", "EU", "华东", "APAC", "west")),
    ("gender", "性别", ("F", "M", "女", "男")),
    ("class", "班级", ("3b", "7A", "高一2班", "5c")),
    ("color", "颜色", ("teal", "red", "黑色", "Navy")),
    ("email", "邮箱", ()), ("level", "级别", ("gold", "VIP", "silver", "初级")),
    ("brand", "品牌", ("Acme", "Bosch", "华为", "Lenovo")), ("currency", "币种", ("EUR", "CNY", "USD")),
)  # fmt: skip
NUMBERS = (
    ("price", "单价"), ("amount", "金额"), ("quantity", "数量"), ("qty", "数量"), ("salary", "工资"), ("age", "年龄"), ("score", "分数"),
    ("weight", "重量"), ("stock", "库存"), ("points", "积分"), ("hours", "工时"), ("distance", "距离"), ("cost", "成本"), ("total", "合计"),
    ("temperature", "温度"), ("duration", "时长"), ("views", "浏览量"), ("height", "身高"), ("votes", "票数"), ("rainfall", "雨量"),
)  # fmt: skip
SITS = {
    "en": ("it's in {}", "the file is in {}", "the file lies in {}", "it is in the {} folder", "you'll find it in {}", "it's under {}"),
    "zh": ("文件在{}里", "它在{}目录下", "在{}文件夹里", "文件放在{}下面", "就在{}里"),
}  # fmt: skip


@dataclass
class Draft:
    """A request in the making: wanted slots, those drawn, facts to tell, words no typo may touch."""

    values: Values
    lang: str
    wanted: set[str]
    slots: dict[str, Value] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)
    headed: bool = False

    def pick(self, table: dict[str, tuple[str, ...]]) -> str:
        """One of the language's phrasings."""
        return self.values.rng.choice(table[self.lang])

    def put(self, name: str, text: str, marked: float = 0.0) -> None:
        """A slot said as it is typed."""
        if name in self.wanted:
            self.slots[name] = Value(text, marked=marked)

    def file(self, name: str, *kinds: str) -> None:
        """A file, now and then with its folder told apart from it."""
        if name not in self.wanted:
            return
        value = self.values.file(*kinds)
        folder, _, last = value.text.rpartition("/")
        if folder and self.values.rng.random() < 0.3:
            self.notes.append(self.pick(SITS).format(folder))
            self.held += [folder, last]
            value = Value(value.text, (last,), (last,))
        self.slots[name] = value


def plain(values: Values, *, spaced: bool = True) -> str:
    """A word or two that mean themselves in a pattern and need no escape."""
    for _ in range(20):
        text = (values.text() if spaced and values.rng.random() < 0.3 else values.word()).text
        if re.fullmatch(r"[\w -]+" if spaced else r"\w+", text):
            return text
    return rare.latin(values.rng).replace("-", "_")


def key(rng: random.Random) -> str:
    """The name of a field in JSON."""
    chance = rng.random()
    if chance < 0.3:
        return rng.choice(CATEGORIES)[0]
    if chance < 0.45:
        return rng.choice(NUMBERS)[0]
    name = re.sub(r"\W", "_", rare.latin(rng))
    return name if name[0].isalpha() else "x" + name


SECTIONS = "mysqld client server database global remote mail DEFAULT user core paths logging http storage auth".split()
SECRETS = "PASSWORD DB_PASSWORD TOKEN API_KEY SECRET_KEY SMTP_PASS AUTH_TOKEN PASSPHRASE JWT_SECRET MAIL_PASSWORD".split()
SHELLS = "/bin/bash /bin/zsh /bin/sh /usr/bin/zsh /usr/sbin/nologin /bin/false /usr/bin/fish /sbin/nologin".split()
PASSWD = "/etc/passwd /etc/passwd passwd passwd.bak users.txt accounts.txt backup/passwd old-passwd".split()
HOSTS = "/etc/hosts /etc/hosts /etc/hosts hosts hosts.txt lab/hosts hosts.bak".split()
CODES = "404 404 500 200 301 302 403 401 502 503 304 400 429 504 201 418".split()
LEVELS = "ERROR ERROR ERROR WARN INFO DEBUG FATAL WARNING CRITICAL TRACE".split()
TIMED = ("00:00", "02:15", "03:00", "06:30", "07:45", "08:00", "09:10", "10:00"), ("11:00", "12:30", "14:00", "15:45", "17:00", "18:20", "20:00", "23:30")  # fmt: skip
# a column of a log as said, and where it stands
LOGGED = {
    "code": {"en": ("the status is column {}", "status = column {}", "column {} is the status", "the code is in field {}"),
             "zh": ("状态码是第{}列", "第{}列是状态码", "状态码在第{}列")},
    "time": {"en": ("the time is column {}", "column {} is the time", "time in column {}"), "zh": ("时间是第{}列", "第{}列是时间", "时间在第{}列")},
}  # fmt: skip
COMMON = (("IPs", "IP"), ("URLs", "URL"), ("users", "用户"), ("paths", "路径"), ("hosts", "主机"), ("client addresses", "客户端地址"), ("user agents", "UA"))  # fmt: skip
STANDS = {
    "en": (
        "{} are in column {}",
        "{} = column {}",
        "the {} stand in column {}",
        "{} are the field number {}",
    ),
    "zh": ("{}是第{}列", "{}在第{}列", "{}=第{}列"),
}


def json(draft: Draft) -> None:
    """JSON and JSON lines: k and q fields, l a list, m a number, v and n values."""
    rng = draft.values.rng
    draft.file("f", "json")
    draft.file("fl", "jsonl", "ndjson", "jsonl")
    first, second = key(rng), key(rng)
    draft.put("k", first)
    draft.put("q", second if second != first else "id")
    draft.put(
        "l", rng.choice(("items", "tags", "users", "orders", "results", "members", key(rng) + "s"))
    )
    draft.put("m", rng.choice(NUMBERS)[0] if rng.random() < 0.6 else key(rng))
    known = next((v for name, _, v in CATEGORIES if name == first), ())
    draft.put("v", rng.choice(known) if known else plain(draft.values), marked=0.35)
    draft.put("n", str(rng.choice((0, 1, 3, 10, 50, 100, 8080, rng.randint(2, 9999)))))


def _set_key(draft: Draft, *, upper: bool) -> None:
    rng = draft.values.rng
    name = draft.values.pick("projkey" if upper else "edkey") if rng.random() < 0.5 else key(rng)
    draft.put("k", name.upper() if upper and rng.random() < 0.8 else name)
    chance = rng.random()
    value = draft.values.pick("projval") if chance < 0.5 else str(rng.randint(1, 9999))
    draft.put("v", value if chance < 0.75 else re.sub(r"\W", "-", rare.latin(rng)))


def env(draft: Draft) -> None:
    """Files of KEY=value lines: s is a secret's name."""
    if draft.values.rng.random() < 0.5:
        draft.put("f", draft.values.pick("projenv"), marked=0.05)
    else:
        draft.file("f", "env", "conf", "ini", "cfg", "properties", "sh")
    _set_key(draft, upper=True)
    draft.put("s", draft.values.rng.choice(SECRETS))


def conf(draft: Draft) -> None:
    """Settings in sections, or of one line each: s is a section, said with or without its brackets."""
    draft.file("f", "conf", "ini", "cfg", "ini")
    _set_key(draft, upper=False)
    rng = draft.values.rng
    name = rng.choice(SECTIONS) if rng.random() < 0.6 else re.sub(r"\W", "_", rare.latin(rng))
    draft.slots["s"] = Value(name, (name, f"[{name}]"), (name, f"[{name}]"))


def yaml(draft: Draft) -> None:
    """Lines of `key: value`."""
    draft.file("f", "yaml", "yml")
    _set_key(draft, upper=False)


def hosts(draft: Draft) -> None:
    """Hosts and ssh configurations: h a name, i an address."""
    rng = draft.values.rng
    name = draft.values.pick("hostword") if rng.random() < 0.5 else re.sub(r"\W", "-", rare.latin(rng)).lower()  # fmt: skip
    draft.put("h", name)
    draft.put("i", draft.values.ip().text)
    draft.put("f", rng.choice(HOSTS))


def ssh(draft: Draft) -> None:
    """An ssh configuration."""
    hosts(draft)
    draft.put("f", draft.values.rng.choice(("~/.ssh/config", "~/.ssh/config", "ssh_config", ".ssh/config", "backup/ssh_config")))  # fmt: skip


def passwd(draft: Draft) -> None:
    """A file like /etc/passwd: s a shell, n a part of one."""
    rng = draft.values.rng
    draft.put("f", rng.choice(PASSWD))
    draft.put("s", rng.choice(SHELLS))
    draft.put("n", rng.choice(("nologin", "nologin", "false", "zsh", "bash", "fish")))


def log(draft: Draft) -> None:
    """A log: w and u texts, v a level, e some levels, a and b times, k a field, c t i columns."""
    rng, values = draft.values.rng, draft.values
    draft.file("f", "log", "log", "log", "log.1", "out", "txt")
    draft.file("z", "log.gz", "gz", "log.1.gz")
    for slot in draft.wanted & {"w", "u"}:
        draft.put(slot, plain(values), marked=0.35)
    draft.put("v", rng.choice(LEVELS))
    draft.put("s", rng.choice(CODES))
    draft.put("k", rng.choice(("user", "ip", "host", "action", "client", "session", key(rng))))
    for slot, times in zip("ab", TIMED, strict=True):
        draft.put(slot, rng.choice(times))
    if "e" in draft.wanted:
        some = rng.sample(
            ("ERROR", "WARN", "INFO", "DEBUG", "FATAL", "TRACE"), rng.choice((2, 3, 3))
        )
        text = "|".join(some)
        en = ("/".join(some), ", ".join(some), f"{', '.join(some[:-1])} and {some[-1]}")
        draft.slots["e"] = Value(text, en, ("/".join(some), "、".join(some), " ".join(some)))
    draft.put("n", str(rng.choice((2, 3, 5, 10, 20, rng.randint(2, 30)))))
    if "d" in draft.wanted:
        draft.slots["d"] = values.folder()
    for slot, what in (("c", "code"), ("t", "time")):
        if slot in draft.wanted:
            column = str(rng.randint(1, 9))
            draft.slots[slot] = Value(column)
            draft.notes.append(draft.pick(LOGGED[what]).format(column))
    if "i" in draft.wanted:
        column, name = str(rng.randint(1, 9)), rng.choice(COMMON)[draft.lang == "zh"]
        draft.slots["i"] = Value(column, (name,), (name,))
        draft.notes.append(draft.pick(STANDS).format(name, column))


def notes(draft: Draft) -> None:
    """Lists and notes: t and x lines, w a part of one, f g o files."""
    values, rng = draft.values, draft.values.rng
    for slot in draft.wanted & {"f", "g", "o"}:
        draft.slots[slot] = values.file("txt", "txt", "list", "md", "lst", "csv")
    text = f"{plain(values)} {values.pick('noun')}" if rng.random() < 0.3 else values.text().text
    draft.put("t", text, marked=1.0)
    draft.put("x", plain(values), marked=1.0)


def todo(draft: Draft) -> None:
    """Tasks with boxes: w is a word of one."""
    values, rng = draft.values, draft.values.rng
    if rng.random() < 0.5:
        draft.put("f", values.pick("lgtodo"))
    else:
        draft.file("f", "md", "txt", "md")
    draft.put("w", values.pick("lgtask") if rng.random() < 0.5 else plain(values), marked=0.5)


# by the first part of an intent's name
FAMILIES: dict[str, Callable[[Draft], None]] = {
    "j": json, "jl": json, "e": env, "cf": conf, "y": yaml, "ho": hosts, "ssh": ssh, "pw": passwd,
    "l": log, "n": notes, "td": todo,
}  # fmt: skip
