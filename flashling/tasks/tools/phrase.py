"""Requests: a template filled with values, then spoken politely, hastily or with a slip corrected."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flashling.tasks.tools.spec import Param, Template
from flashling.tasks.tools.values import OPEN, Values

ORDERS = {
    "en": (
        *["{}"] * 9, "please {}", "please {}", "can you {}?", "could you {}?", "could you please {}?",
        "I need you to {}", "I'd like you to {}", "I want to {}", "hey, {}", "ok, {}", "go ahead and {}", "would you {}?",
        "you should {} now", "let's {}", "next, {}", "help me {}", "just {}", "now {}", "I'd like to {}", "pls {}",
    ),
    "zh": (
        *["{}"] * 9, "请{}", "请{}", "帮我{}", "帮我{}", "麻烦{}", "请帮我{}", "麻烦你{}", "能不能{}?", "能{}吗?", "可以帮我{}吗?",
        "我想{}", "我要{}", "你好,{}", "现在{}", "替我{}", "帮忙{}", "需要你{}", "那就{}", "劳驾{}",
    ),
}  # fmt: skip
TAILS = {
    "en": (" please", ", please", ", thanks", " for me", " now", " right away", ", will you?", " if you can", " asap"),
    "zh": (",谢谢", "吧", ",谢了", ",马上", ",快点", ",麻烦了", ",好吗?", "哦", ",尽快"),
}
LEADS = {
    "en": (
        "Quick one: ", "It's been a long day. ", "OK so ", "One more thing: ", "My boss just asked for this. ", "I'm in a hurry, ",
        "Before I forget: ", "Hi there! ", "Good morning. ", "Hmm, ", "Right, ", "I'm at the office now. ", "Sorry to bother you, ", "So, ",
    ),
    "zh": (
        "有个事,", "今天好累。", "那个,", "还有一件事:", "老板刚问我。", "我赶时间,", "趁我没忘,", "你好!", "早上好。", "嗯,", "对了,", "我在公司。", "不好意思,", "话说",
    ),
}  # fmt: skip
SLIPS = {
    "en": ("{}, no wait, {}", "{} - sorry, {}", "{}, I mean {}", "{}, no, make that {}", "{}... actually {}"),
    "zh": ("{},不对,{}", "{},哦不,{}", "{},说错了,是{}", "{}……还是{}", "{},应该是{}"),
}
QUOTES = {
    "en": ('"{}"', '"{}"', "'{}'", "“{}”", "`{}`"),
    "zh": ("“{}”", "“{}”", '"{}"', "「{}」", "‘{}’"),
}
WORKS = frozenset(("song", "book", "movie", "album"))
QUOTED = frozenset("title text query item song movie book note name".split())
SLIPPING = frozenset("int num date time city person id room place email country".split())


@dataclass(slots=True)
class Request:
    """What is said, the arguments it holds by parameter key, and the strings to be copied."""

    text: str
    args: dict[str, Any] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    is_order: bool = True
    ends_open: bool = False


class Speaker:
    """Turns templates into requests with one source of randomness."""

    def __init__(self, values: Values):
        self.values = values
        self.random = values.random
        self.pick = values.pick

    def fill(self, template: Template, params: dict[str, Param], lang: str, **how: Any) -> Request:
        """One template filled.

        how: `value_lang` (default lang), `given` {key: (said, value)} fixed values, `iso` keys whose
        dates are ISO, `shown` {key: {value: declared value}} of choices, `drop` leaves `<...>` out.
        """
        request = Request("", is_order=template.is_order)
        how["slip"] = self.random() < 0.05
        out: list[str] = []
        self._nodes(template.nodes, params, lang, how, request, out)
        request.text = "".join(out).strip().replace("  ", " ")
        if not out or out[-1].strip() != request.text[-len(out[-1].strip()) :]:
            request.ends_open = False
        return request

    def _nodes(self, nodes, params, lang, how, request, out) -> None:
        for node in nodes:
            if isinstance(node, str):
                out.append(node)
                request.ends_open = False
                continue
            kind = node[0]
            if kind == "s":
                out.append(self._slot(params[node[1]], node[2], lang, how, request))
            elif kind == "c":
                self._nodes(self.pick(node[1]), params, lang, how, request, out)
            elif kind == "o":
                if self.random() < 0.45:
                    self._nodes(node[1], params, lang, how, request, out)
            elif not how.get("drop"):
                self._nodes(node[1], params, lang, how, request, out)

    def _slot(self, param: Param, prefixed: bool, lang: str, how: dict, request: Request) -> str:
        given = how.get("given")
        if given and param.key in given:
            said, value = given[param.key]
        else:
            said, value = self.value(param, lang, how, request.args)
        request.args[param.key] = value
        if param.kind == "choice":
            request.ends_open = False
            return said
        if isinstance(value, str):
            request.copied.append(value)
        request.ends_open = param.kind in OPEN
        if how["slip"] and param.kind in SLIPPING:
            how["slip"] = False
            wrong = self.value(param, lang, how, request.args)[0]
            said = self.pick(SLIPS[lang]).format(wrong, said)
        if prefixed and lang == "en":
            said = self.values.with_preposition(said, param.kind)
        elif param.kind in QUOTED and isinstance(value, str) and self.random() < 0.3:
            request.ends_open = False
            said = self._quoted(said, param.kind, lang)
        if lang == "zh" and said[0].isascii() and self.random() < 0.35:
            return f" {said} "
        return said

    def _quoted(self, said: str, kind: str, lang: str) -> str:
        if lang == "zh" and kind in WORKS and self.random() < 0.6:
            return f"《{said}》"
        form = self.pick(QUOTES[lang])
        return said if form[0] in said or form[-1] in said else form.format(said)

    def value(self, param: Param, lang: str, how: dict, taken: dict) -> tuple[str, Any]:
        """What is said for a parameter and its value, not equal to one already taken."""
        for _ in range(3):
            said, value = self._value(param, lang, how)
            if param.kind == "choice" or value not in taken.values():
                break
        return said, value

    def _value(self, param: Param, lang: str, how: dict) -> tuple[str, Any]:
        kind, values = param.kind, self.values
        value_lang = how.get("value_lang", lang)
        if kind == "choice":
            choice = self.pick(param.choices)
            shown = how.get("shown", {}).get(param.key, {}).get(choice.value, choice.value)
            return self.pick(choice.zh if lang == "zh" else choice.en), shown
        if kind == "int":
            return values.number(param.low, param.high, True, lang)
        if kind == "num":
            return values.number(param.low, param.high, self.random() < 0.75, lang)
        if kind in ("float", "coord"):
            return values.number(param.low, param.high, False, lang)
        if kind == "list" and param.of:
            return self._list(param.of, lang, how)
        if kind == "date" and param.key in how.get("iso", ()):
            kind = "iso_date"
        said = values.text_of(kind, value_lang)
        return said, said

    def _list(self, of: Param, lang: str, how: dict) -> tuple[str, list]:
        count = 2 if self.random() < 0.6 else 3
        pairs = [self._value(of, lang, how) for _ in range(count)]
        said = [pair[0] for pair in pairs]
        return joined(said, lang), [pair[1] for pair in pairs]

    def spoken(self, request: Request, lang: str) -> str:
        """The request as a whole message: politeness, a lead, capitals, a full stop."""
        text = request.text
        if request.is_order:
            text = self.pick(ORDERS[lang]).format(text)
            if not request.ends_open and not text.endswith(("?", "?")) and self.random() < 0.12:
                text += self.pick(TAILS[lang])
        elif self.random() < 0.6 and not request.ends_open:
            text += "?" if lang == "en" else "?"
        if self.random() < 0.06:
            text = self.pick(LEADS[lang]) + text
        return self.polished(text, request, lang)

    def polished(self, text: str, request: Request, lang: str) -> str:
        """A capital first letter (never of a value), now and then a full stop or a typing slip."""
        chance = self.random()
        starts_with_value = any(text.startswith(value) for value in request.copied)
        if chance < 0.45 and not starts_with_value:
            text = text[0].upper() + text[1:]
        if text[-1] not in "?!?!,.。" and self.random() < 0.25 and not request.ends_open:
            text += "." if lang == "en" else "。"
        return text


def joined(items: list[str], lang: str) -> str:
    """`a, b and c`, in either language."""
    if len(items) == 1:
        return items[0]
    first, last = items[:-1], items[-1]
    return f"{', '.join(first)} and {last}" if lang == "en" else f"{'、'.join(first)}和{last}"
