"""Argument values: what the user says for a parameter, and what the call must hold."""

from __future__ import annotations

import random

from flashling.tasks.tools.words import made_code, made_hanzi, made_word, pick, words

NUMBERS_EN = "zero one two three four five six seven eight nine ten eleven twelve".split()
NUMBERS_ZH = "零 一 两 三 四 五 六 七 八 九 十 十一 十二".split()
# kinds whose words come from a list of their own, with how often a made-up one replaces them
LISTED = dict(
    city=0.3, country=0.1, product=0.25, artist=0.4, genre=0.1, company=0.4, team=0.3, language=0.0,
    color=0.1, room=0.1, topic=0.3, place=0.3, hobby=0.1, food=0.2, dish=0.3, subject=0.15, dept=0.1,
    job=0.2, device=0.15, unit=0.0, currency=0.0, tag=0.4, sky=0.0,
)  # fmt: skip
BARE = ("airport", "ticker", "crypto")
OPEN = frozenset("text title query item song movie book note".split())
NO_PREPOSITION = ("today", "tom", "ton", "yes", "this", "next", "in ", "the day", "last")


class Values:
    """Makes values of every kind; each method takes the language (`en` or `zh`)."""

    def __init__(self, rng: random.Random):
        self.rng = rng
        self.random = rng.random
        self.lists = words()

    def pick(self, items):
        return items[int(self.random() * len(items))]

    def word(self, section: str, lang: str) -> str:
        return self.pick(self.lists[f"{section}.{lang}"])

    def between(self, low: int, high: int) -> int:
        return low + int(self.random() * (high - low + 1))

    def text_of(self, kind: str, lang: str) -> str:
        """A string value of a kind: a listed word, a made-up one, or what the kind's method makes."""
        if kind in LISTED:
            if self.random() < LISTED[kind]:
                return self.invented(lang)
            return self.word(kind, lang)
        if kind in BARE:
            return self.pick(self.lists[kind])
        return getattr(self, kind)(lang)

    def invented(self, lang: str) -> str:
        if lang == "zh":
            return made_hanzi(self.rng)
        word = made_word(self.rng).capitalize()
        return word if self.random() < 0.7 else f"{word} {self.word('noun', 'en').capitalize()}"

    def said_date(self, lang: str) -> str:
        chance = self.random()
        if chance < 0.5:
            return self.word("date", lang)
        day, month = self.between(1, 28), self.between(1, 12)
        if chance < 0.65:
            return self.iso_date(lang)
        if lang == "zh":
            return f"{month}月{day}{self.pick('日号')}"
        name = self.lists["month.en"][month - 1]
        form = self.pick(("{m} {d}", "{m} {d}th", "{d} {m}", "{s} {d}", "{n}/{d}"))
        day = day if "th" not in form or 3 < day < 21 else 14
        return form.format(m=name, d=day, s=name[:3], n=month)

    def date(self, lang: str) -> str:
        return self.said_date(lang)

    def iso_date(self, lang: str) -> str:
        return f"20{self.between(23, 29)}-{self.between(1, 12):02}-{self.between(1, 28):02}"

    def time(self, lang: str) -> str:
        if self.random() < 0.5:
            return self.word("time", lang)
        hour, minute = self.between(0, 23), self.pick(("00", "15", "30", "45", "05", "20", "50"))
        if lang == "zh":
            return self.pick((f"{hour}:{minute}", f"{hour}点", f"{hour}点{minute}分"))
        half = hour % 12 or 12
        return self.pick((f"{hour:02}:{minute}", f"{half}:{minute} pm", f"{half}am", f"{half} pm"))

    def clock(self, lang: str) -> str:
        return f"{self.between(0, 23):02}:{self.between(0, 59):02}"

    def month(self, lang: str) -> str:
        number = self.between(1, 12)
        return f"{number}月" if lang == "zh" else self.lists["month.en"][number - 1]

    def person(self, lang: str) -> str:
        chance = self.random()
        if lang == "zh":
            if chance < 0.15:
                return self.word("nick", "zh")
            name = self.word("surname", "zh")
            return name + (made_hanzi(self.rng, 1, 2) if chance < 0.5 else self.word("given", "zh"))
        if chance < 0.08:
            return self.word("nick", "en")
        first = made_word(self.rng).capitalize() if chance < 0.3 else self.word("first", "en")
        last = made_word(self.rng).capitalize() if chance > 0.75 else self.word("last", "en")
        return first if chance > 0.45 and chance < 0.75 else f"{first} {last}"

    def username(self, lang: str) -> str:
        name = self.pick(self.lists["first.en"]).lower() if self.random() < 0.4 else made_word(self.rng)
        return self.pick(("{}", "{}{}", "{}_{}", "@{}", "{}.{}")).format(name, self.between(1, 99))

    def email(self, lang: str) -> str:
        name = self.username(lang).lstrip("@")
        host = f"{made_word(self.rng)}.com" if self.random() < 0.4 else self.pick(self.lists["domain"])
        return f"{name}@{host}"

    def phone(self, lang: str) -> str:
        zh = ("13999999999", "15899999999", "010-99999999")
        return made_code(self.rng, self.pick(zh if lang == "zh" else ("555-0199", "+1 555 9999", "+44 9999 999999", "(999) 555-9999")))

    def host(self, lang: str) -> str:
        form = ("w.com", "w.org", "api.w.io", "db-9.w.net", "99.9.99.9", "10.0.9.99", "192.168.9.99", "w-9")
        return made_code(self.rng, self.pick(form))

    def ip(self, lang: str) -> str:
        return made_code(self.rng, self.pick(("10.0.9.99", "192.168.9.99", "172.16.9.9", "8.8.9.9")))

    def url(self, lang: str) -> str:
        path = self.pick(("", "/", f"/{made_word(self.rng)}", f"/{self.word('noun', 'en')}/{self.between(1, 999)}"))
        return f"https://{self.pick(('', 'www.', 'api.'))}{made_word(self.rng)}.{self.pick(('com', 'org', 'io', 'cn'))}{path}"

    def file(self, lang: str) -> str:
        stem = self.stem(lang)
        return f"{stem}.{self.pick(self.lists['ext'])}"

    def stem(self, lang: str) -> str:
        if lang == "zh" and self.random() < 0.4:
            return self.word("adj", "zh") + self.word("noun", "zh")
        noun = self.word("noun", "en") if self.random() < 0.5 else made_word(self.rng)
        return self.pick(("{}", "{}_{}", "{}-{}", "{}{}")).format(noun, self.pick(("final", "v2", "2024", "03", "draft", "old")))

    def folder(self, lang: str) -> str:
        parts = [self.pick(self.lists["dir"]) if self.random() < 0.5 else made_word(self.rng) for _ in range(self.between(1, 3))]
        return self.pick(("", "/", "/", "~/", "./")) + "/".join(parts)

    def path(self, lang: str) -> str:
        return f"{self.folder(lang)}/{self.file(lang)}" if self.random() < 0.7 else self.file(lang)

    def id(self, lang: str) -> str:
        return made_code(self.rng)

    def sha(self, lang: str) -> str:
        return made_code(self.rng, self.pick(("xxxxxxx", "xxxxxxxxxx", "xxxxxxxxxxxx")))

    def flight(self, lang: str) -> str:
        return made_code(self.rng, self.pick(("AA999", "AA9999", "CA999", "MU99", "AA 999")))

    def plate(self, lang: str) -> str:
        if lang == "zh":
            return self.pick("京沪粤浙苏川鄂") + made_code(self.rng, "A9A999")
        return made_code(self.rng, self.pick(("AAA-999", "9AAA999", "AA99 AAA")))

    def version(self, lang: str) -> str:
        return made_code(self.rng, self.pick(("9.9.9", "v9.9", "9.99", "v9.9.9-rc9")))

    def branch(self, lang: str) -> str:
        if self.random() < 0.25:
            return self.pick(self.lists["branch"])
        return f"{self.pick(('feature', 'fix', 'bugfix', 'chore', 'dev'))}/{made_code(self.rng, self.pick(('w', 'w-w', 'w-99')))}"

    def name(self, lang: str) -> str:
        """A short technical name: of a service, a container, a key."""
        noun = self.word("noun", "en") if self.random() < 0.35 else made_word(self.rng)
        return self.pick(("{}", "{}-{}", "{}_{}", "{}{}")).format(noun, self.pick(("prod", "dev", "1", "02", "api", "db", "main", "x7")))

    def repo(self, lang: str) -> str:
        return self.name(lang) if self.random() < 0.5 else f"{made_word(self.rng)}/{self.name(lang)}"

    def image(self, lang: str) -> str:
        return f"{self.name(lang)}:{self.version(lang)}" if self.random() < 0.7 else self.name(lang)

    def address(self, lang: str) -> str:
        number = self.between(1, 999)
        if lang == "zh":
            return f"{self.word('noun', 'zh') if self.random() < 0.5 else made_hanzi(self.rng, 2, 2)}路{number}号"
        return f"{number} {self.invented('en').split()[0]} {self.pick(('Street', 'Ave', 'Road', 'Lane', 'Blvd'))}"

    def title(self, lang: str) -> str:
        """A title of two to five words: half of it from lists, half made up."""
        chance = self.random()
        if lang == "zh":
            adj, noun, other = self.word("adj", "zh"), self.word("noun", "zh"), self.word("noun", "zh")
            if chance < 0.25:
                return made_hanzi(self.rng, 2, 6)
            made = made_hanzi(self.rng, 1, 3)
            return self.pick((f"{adj}{noun}", f"{adj}的{noun}", f"{noun}与{other}", f"{made}{noun}", f"{noun}{made}", f"{made}{other}{noun}"))
        adj, noun, other = self.word("adj", "en"), self.word("noun", "en"), self.word("noun", "en")
        made = made_word(self.rng)
        form = self.pick((
            f"{adj} {noun}", f"the {adj} {noun}", f"{noun} {other}", f"{noun} and {other}", f"{made} {noun}",
            f"{adj} {made}", f"{made} {other} {self.between(2, 99)}", f"{noun} of {made}", f"{adj} {noun} {other}",
        ))  # fmt: skip
        return form.title() if chance < 0.4 else form.capitalize() if chance < 0.55 else form

    def song(self, lang: str) -> str:
        return self.title(lang)

    def movie(self, lang: str) -> str:
        return self.title(lang)

    def book(self, lang: str) -> str:
        return self.title(lang)

    def item(self, lang: str) -> str:
        """Something one can buy or count."""
        chance = self.random()
        if chance < 0.35:
            return self.word("product", lang)
        if lang == "zh":
            return self.word("adj", "zh") + self.word("noun", "zh") if chance < 0.7 else made_hanzi(self.rng, 2, 3)
        return f"{self.word('adj', 'en')} {self.word('noun', 'en')}" if chance < 0.7 else f"{made_word(self.rng)} {self.word('noun', 'en')}"

    def note(self, lang: str) -> str:
        """A thing to do: verb and object."""
        if lang == "zh":
            tail = self.word("noun", "zh") if self.random() < 0.6 else made_hanzi(self.rng, 2, 3)
            return self.word("verb", "zh") + self.pick(("", "", "一下")) + tail
        tail = self.word("noun", "en") if self.random() < 0.6 else self.item("en")
        return f"{self.word('verb', 'en')} {self.pick(('the', 'the', 'my', 'some', 'a new'))} {tail}"

    def text(self, lang: str) -> str:
        """A short message, a sentence without its full stop."""
        if lang == "zh":
            noun = self.word("noun", "zh") if self.random() < 0.6 else made_hanzi(self.rng, 2, 3)
            form = self.pick((
                f"我{self.between(5, 50)}分钟后到", f"{noun}已经{self.word('verb', 'zh')}好了", f"别忘了带{noun}", f"{self.word('date', 'zh')}一起吃饭吧",
                f"{self.title('zh')}什么时候能好", f"会议改到{self.word('time', 'zh')}", f"麻烦{self.word('verb', 'zh')}一下{noun}", f"{noun}有点{self.pick(('贵', '旧', '慢', '奇怪', '大'))}",
                f"生日快乐,{self.person('zh')}", f"请查收{noun}", f"我不去了", f"{self.person('zh')}说{noun}不见了", f"今天{noun}很{self.pick(('好', '多', '少', '乱'))}",
            ))  # fmt: skip
            return form
        noun = self.word("noun", "en") if self.random() < 0.6 else made_word(self.rng)
        return self.pick((
            f"I'll be {self.between(5, 50)} minutes late", f"the {noun} is {self.word('adj', 'en')}", f"don't forget the {noun}", f"see you at the {noun}",
            f"please {self.note('en')}", f"meeting moved to {self.word('time', 'en')}", f"happy birthday {self.person('en')}", f"can we talk about the {self.title('en')}",
            f"thanks for the {noun}", f"running low on {noun}", f"the {noun} broke again", f"dinner {self.pick(('tonight', 'tomorrow', 'on Sunday'))}?", f"on my way",
            f"{self.person('en')} says the {noun} arrived", f"I lost my {noun}", f"call me when the {noun} is done",
        ))  # fmt: skip

    def query(self, lang: str) -> str:
        chance = self.random()
        if chance < 0.35:
            return self.text_of("topic", lang)
        if chance < 0.7:
            return self.title(lang)
        if lang == "zh":
            return self.pick(("{}怎么选", "{}的历史", "便宜的{}", "{}教程", "附近的{}")).format(self.word("noun", "zh"))
        return self.pick(("best {}", "cheap {} near me", "how to clean a {}", "history of the {}", "{} reviews")).format(self.word("noun", "en"))

    def expr(self, lang: str) -> str:
        """An arithmetic expression."""
        a, b, c = self.between(1, 999), self.between(2, 99), self.between(1, 50)
        form = ("{a} + {b}", "{a}*{b}", "{a} / {b}", "({a} + {b}) * {c}", "{a}-{b}", "{a} * {b} - {c}", "sqrt({a})", "{b}^2", "{a}.{c}*{b}", "{a} % {b}")
        return self.pick(form).format(a=a, b=b, c=c)

    def sql(self, lang: str) -> str:
        table = self.pick(("users", "orders", "events", made_word(self.rng)))
        form = ("SELECT * FROM {t}", "SELECT count(*) FROM {t} WHERE id > {n}", "DELETE FROM {t} WHERE id = {n}", "SELECT name FROM {t} LIMIT {n}")
        return self.pick(form).format(t=table, n=self.between(1, 500))

    def cron(self, lang: str) -> str:
        return self.pick(("0 {} * * *", "*/{} * * * *", "30 {} * * 1", "0 0 {} * *")).format(self.between(1, 23))

    def ratio(self, lang: str) -> str:
        return self.pick(("16:9", "4:3", "1:1", "9:16", "3:2", "21:9"))

    def number(self, low: float, high: float, whole: bool, lang: str) -> tuple[str, int | float]:
        """A number as said (mostly digits) and as meant."""
        chance = self.random()
        if not whole:
            digits = 1 if chance < 0.6 else 2
            value = round(low + self.random() * (high - low), digits)
            return (f"{value}", value) if value != int(value) else (f"{int(value)}", int(value))
        value = self.between(int(low), int(high))
        if chance < 0.3 and value > 20:
            value = max(int(low), value - value % (10 if value < 200 else 100))
        if 0 < value <= 12 and chance > 0.85:
            return (NUMBERS_EN if lang == "en" else NUMBERS_ZH)[value], value
        if value >= 1000 and chance > 0.9 and lang == "en":
            return f"{value:,}", value
        return str(value), value

    def with_preposition(self, text: str, kind: str) -> str:
        """An English date or time with the small word before it: `on March 3`, `at noon`."""
        if text.startswith(NO_PREPOSITION):
            return text
        if kind in ("date", "iso_date"):
            return f"at {text}" if text.startswith("the end") else f"on {text}"
        return f"at {text}"
