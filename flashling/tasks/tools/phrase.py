"""Requests: a template filled with values, then spoken politely, hastily or with a slip."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from flashling.tasks.tools.spec import Param, Template
from flashling.tasks.tools.values import OPEN, Values
from flashling.tasks.tools.words import phrases

ORDERS: dict[str, list[str]] = phrases("orders")
# the ones that do not clash with a request about oneself (`I want to tell me ...`)
ORDERS_ME: dict[str, list[str]] = phrases("orders_me")
SELF = re.compile(r"\b(?:me|my|I)\b|我|给")
TAILS: dict[str, list[str]] = phrases("tails")
LEADS: dict[str, list[str]] = phrases("leads")
SLIPS: dict[str, list[str]] = phrases("slips")
QUOTES: dict[str, list[str]] = phrases("quotes")
QUESTION_EN = frozenset(phrases("question_en"))
QUESTION_ZH = tuple(phrases("question_zh"))
WORKS = frozenset(("song", "book", "movie", "album"))
QUOTED = frozenset("title text query item song movie book note".split())
MARKS = "\"'“「‘`《"
SLIPPING = frozenset(phrases("slipping"))
# what a hasty typist writes instead of Chinese punctuation, and how often
NARROW = str.maketrans("，？！：；", ",?!:;")
HASTY = 0.15


@dataclass(slots=True)
class Request:
    """What is said, the arguments it holds by parameter key, and the strings to be copied."""

    text: str
    args: dict[str, Any] = field(default_factory=dict)
    copied: list[str] = field(default_factory=list)
    is_order: bool = True
    ends_open: bool = False
    is_hasty: bool = False


class Speaker:
    """Turns templates into requests with one source of randomness."""

    def __init__(self, values: Values):
        self.values = values
        self.random = values.random
        self.pick = values.pick

    def fill(self, template: Template, params: dict[str, Param], lang: str, **how: Any) -> Request:
        """One template filled.

        how: `value_lang` (default lang), `given` {key: (said, value)} fixed values, `iso` keys
        whose dates are ISO, `shown` {key: {value: declared value}} of choices, `drop` leaves
        `<...>` out.
        """
        request = Request("", is_order=template.is_order)
        how["slip"] = self.random() < 0.05
        request.is_hasty = lang == "zh" and self.random() < HASTY
        out: list[str] = []
        self._nodes(template.nodes, params, lang, how, request, out)
        request.text = "".join(out).strip().replace("  ", " ")
        if not out or out[-1].strip() != request.text[-len(out[-1].strip()) :]:
            request.ends_open = False
        return request

    def _nodes(self, nodes, params, lang, how, request, out) -> None:
        for node in nodes:
            if isinstance(node, str):
                _glue(out, node.translate(NARROW) if request.is_hasty else node, lang)
                request.ends_open = False
                continue
            kind = node[0]
            if kind == "s":
                self._slot(params[node[1]], node[2], lang, how, request, out)
            elif kind == "c":
                self._nodes(self.pick(node[1]), params, lang, how, request, out)
            elif kind == "o":
                if self.random() < 0.45:
                    self._nodes(node[1], params, lang, how, request, out)
            elif not how.get("drop"):
                self._nodes(node[1], params, lang, how, request, out)

    def _slot(self, param: Param, prefixed: bool, lang: str, how, request, out) -> None:
        given = how.get("given")
        if given and param.key in given:
            said, value = given[param.key]
        else:
            said, value = self.value(param, lang, how, request.args)
        request.args[param.key] = value
        if param.kind == "choice":
            request.ends_open = False
            _glue(out, said, lang)
            return
        if isinstance(value, str) and value in said:
            request.copied.append(value)
        request.ends_open = param.kind in OPEN
        if how["slip"] and param.kind in SLIPPING:
            how["slip"] = False
            wrong = self.value(param, lang, how, request.args)[0]
            said = self.pick(SLIPS[lang]).format(wrong, said)
        if prefixed and lang == "en":
            said = self.values.with_preposition(said, param.kind)
        elif param.kind in QUOTED and isinstance(value, str) and self._marks(out):
            request.ends_open = False
            said = self._quoted(said, param.kind, lang)
        if lang == "zh" and said[0].isascii() and self.random() < 0.35:
            said = f" {said} "
        _glue(out, said, lang)

    def _marks(self, out: list[str]) -> bool:
        """Whether to put the next value into quotes; never twice."""
        return self.random() < 0.3 and not (out and out[-1] and out[-1][-1] in MARKS)

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
        if kind in ("tally", "lot"):
            return values.tally(kind, param.low, param.high, lang)
        if kind == "int":
            return values.number(param.low, param.high, True, lang)
        if kind == "num":
            return values.number(param.low, param.high, self.random() < 0.75, lang)
        if kind in ("float", "coord"):
            return values.number(param.low, param.high, False, lang)
        if kind == "list" and param.of:
            return self._list(param.of, lang, how)
        if kind == "date" and param.key in how.get("iso", ()):
            return values.full_date(value_lang)
        said = values.text_of(kind, value_lang)
        return said, said

    def _list(self, of: Param, lang: str, how: dict) -> tuple[str, list]:
        count = 2 if self.random() < 0.6 else 3
        pairs = [self._value(of, lang, how) for _ in range(count)]
        said = [pair[0] for pair in pairs]
        return joined(said, lang), [pair[1] for pair in pairs]

    def spoken(self, request: Request, lang: str) -> str:
        """The request as a whole message: politeness, a lead, capitals, a full stop."""
        text, tail = request.text, ""
        form = "{}"
        if request.is_order:
            is_own = SELF.search(text)
            form = self.pick((ORDERS_ME if is_own else ORDERS)[lang])
            ends = request.ends_open or is_own or form[-1] in "?？"
            if not ends and self.random() < 0.12:
                tail = self.pick(TAILS[lang])
        elif self.random() < 0.6 and not request.ends_open and asks(text, lang):
            tail = "?" if lang == "en" else "？"
        if self.random() < 0.06:
            form = self.pick(LEADS[lang]) + form
        if request.is_hasty:
            form, tail = form.translate(NARROW), tail.translate(NARROW)
        return self.polished(form.format(text) + tail, request, lang)

    def polished(self, text: str, request: Request, lang: str) -> str:
        """A capital first letter (never of a value), now and then a full stop or a typing slip."""
        chance = self.random()
        first = text.split(" ", 1)[0].strip(",.?!:;")
        if chance < 0.45 and lang == "en" and first.isalpha() and not _names(request, first):
            text = text[0].upper() + text[1:]
        if text[-1] not in "?!,.？！，。" and self.random() < 0.25 and not request.ends_open:
            text += "." if lang == "en" else "。"
        return text


def _names(request: Request, word: str) -> bool:
    """Whether a word is part of a value that the request holds."""
    values = [*request.copied, *map(str, request.args.values())]
    return any(word in value for value in values)


def _glue(out: list[str], said: str, lang: str) -> None:
    """Appends; in Chinese two runs of Latin letters or digits never touch."""
    if lang == "zh" and out and out[-1] and said:
        before, after = out[-1][-1], said[0]
        if before.isascii() and before.isalnum() and after.isascii() and after.isalnum():
            out.append(" ")
    out.append(said)


def asks(text: str, lang: str) -> bool:
    """Whether a sentence that is no order is a question (else it is a statement)."""
    if lang == "en":
        return text.split(" ", 1)[0].split("'")[0].lower() in QUESTION_EN
    return any(word in text for word in QUESTION_ZH)


def joined(items: list[str], lang: str) -> str:
    """`a, b and c`, in either language."""
    if len(items) == 1:
        return items[0]
    first, last = items[:-1], items[-1]
    return f"{', '.join(first)} and {last}" if lang == "en" else f"{'、'.join(first)}和{last}"
