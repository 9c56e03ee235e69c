"""Declaring a tool: one of its many possible names, parameter names, descriptions and layouts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flashling.tasks.tools.spec import Param, Tool
from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import made_code, phrases

VERBS = {
    "get": ("get", "fetch", "retrieve", "query", "lookup", "read", "show", "check"),
    "create": ("create", "add", "new", "make", "insert"),
    "delete": ("delete", "remove", "drop", "erase"),
    "update": ("update", "edit", "modify", "change"),
    "list": ("list", "list_all", "get_all", "show_all", "enumerate"),
    "search": ("search", "find", "query", "lookup"),
    "send": ("send", "deliver", "dispatch"),
    "start": ("start", "launch", "begin", "run"),
    "stop": ("stop", "halt", "end"),
    "book": ("book", "reserve"),
    "cancel": ("cancel", "abort", "revoke"),
    "set": ("set", "change", "adjust", "configure"),
    "calculate": ("calculate", "compute", "calc", "work_out"),
    "convert": ("convert", "transform", "change"),
    "count": ("count", "count_all", "number_of", "tally"),
    "find": ("find", "search", "locate", "lookup"),
    "track": ("track", "trace", "follow"),
    "check": ("check", "verify", "inspect", "get"),
}
BOXES = ("params", "options", "details", "data", "filter", "payload", "request", "info")
ABOUT: dict[str, list[str]] = phrases("tool_abouts")
HINTS: dict[str, list[str]] = phrases("hints")
GIVEN: dict[str, list[str]] = phrases("hints_given")
# first words of descriptions that read well after "use this to"
TELLING = frozenset(phrases("telling"))
TYPES = {
    "int": "integer",
    "tally": "integer",
    "lot": "integer",
    "num": "number",
    "float": "number",
    "coord": "number",
    "list": "array",
}
CASES = ("snake",) * 12 + ("camel",) * 4 + ("dotted",) * 2 + ("pascal", "kebab", "prefix", "hanzi")


@dataclass(slots=True)
class Declared:
    """A tool as one sample declares it: its name there and where each parameter goes."""

    tool: Tool
    name: str
    schema: dict
    paths: dict[str, tuple[str, ...]]
    iso: frozenset[str]
    shown: dict[str, dict[Any, Any]] = field(default_factory=dict)

    def call(self, args: dict[str, Any]) -> dict[str, Any]:
        """The arguments under their declared names, in declared order."""
        out: dict[str, Any] = {}
        for key, path in self.paths.items():
            if key in args:
                place = out if len(path) == 1 else out.setdefault(path[0], {})
                place[path[-1]] = args[key]
        return out

    def read(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments of a call by parameter key again."""
        out: dict[str, Any] = {}
        for key, path in self.paths.items():
            place = arguments if len(path) == 1 else arguments.get(path[0], {})
            if path[-1] in place:
                out[key] = place[path[-1]]
        return out


@dataclass(slots=True)
class Style:
    """What the tools of one sample have in common: language, naming, how much is described."""

    lang: str
    case: str
    describes_params: float
    is_opaque: bool


class Declarer:
    """Declares tools with one source of randomness."""

    def __init__(self, values: Values):
        self.values = values
        self.random = values.random
        self.pick = values.pick

    def shuffle(self, items: list) -> None:
        """Shuffles in place."""
        self.values.rng.shuffle(items)

    def style(self) -> Style:
        """A style for one sample: a third of the schemas are in Chinese."""
        chance = self.random()
        described = 1.0 if chance < 0.55 else 0.5 if chance < 0.75 else 0.0
        lang = "zh" if self.random() < 0.35 else "en"
        return Style(lang, self.pick(CASES), described, self.random() < 0.05)

    def declare(self, tool: Tool, style: Style) -> Declared:
        """The tool under a name, parameter names, descriptions and layout drawn for this sample."""
        params = list(tool.params)
        if self.random() < 0.15:
            params.sort(key=lambda _: self.random())
        else:
            params.sort(key=lambda p: not p.required)
        is_plain = self.random() < 0.3
        names = self._param_names(params, style, is_plain)
        box = ""
        if len(params) > 1 and self.random() < 0.04:
            box = self.pick(BOXES)
        iso = frozenset(p.key for p in params if p.kind == "date" and self.random() < 0.2)
        shown: dict[str, dict[Any, Any]] = {}
        fields: dict[str, Any] = {}
        for param, name in zip(params, names, strict=True):
            fields[name] = self._field(param, style, param.key in iso, shown)
        required = [n for p, n in zip(params, names, strict=True) if p.required]
        body = self._object(fields, required)
        if box:
            body = self._object({box: body}, [box] if required else [])
        name = self._name(tool, style, is_plain)
        function = {"name": name, "description": self._about(tool, style), "parameters": body}
        if not function["description"]:
            del function["description"]
        paths = {p.key: ((box, n) if box else (n,)) for p, n in zip(params, names, strict=True)}
        return Declared(tool, name, {"type": "function", "function": function}, paths, iso, shown)

    def _object(self, fields: dict, required: list[str]) -> dict:
        body: dict[str, Any] = {"type": "object", "properties": fields}
        if required or self.random() < 0.3:
            body["required"] = required
        return body

    def _name(self, tool: Tool, style: Style, is_plain: bool) -> str:
        if style.is_opaque:
            return made_code(
                self.values.rng, self.pick(("fn_99", "tool_9", "w_99", "apiaa9", "w", "w_w"))
            )
        told = tool.about["zh"][0]
        if style.case == "hanzi" and len(told) < 10 and told.isalpha():
            return told
        name = tool.names[0] if is_plain else self.pick(tool.names)
        head, _, rest = name.partition("_")
        if not is_plain and rest and head in VERBS:
            name = f"{self.pick(VERBS[head])}_{rest}"
        return cased(name, style.case, tool.domain)

    def _param_names(self, params: list[Param], style: Style, is_plain: bool) -> list[str]:
        names: list[str] = []
        for at, param in enumerate(params):
            name = param.names[0] if is_plain else self.pick(param.names)
            if style.case == "hanzi" and param.zh.isalpha():
                name = param.zh
            if name in names or (style.is_opaque and self.random() < 0.5):
                name = (
                    f"p{at + 1}" if style.is_opaque or param.names[0] in names else param.names[0]
                )
            if name in names:
                name = f"{param.key}_{at}"
            names.append(cased(name, "camel", "") if style.case in ("camel", "pascal") else name)
        return names

    def _about(self, tool: Tool, style: Style) -> str:
        if not style.is_opaque and self.random() < 0.07:
            return ""
        text = self.pick(tool.about[style.lang])
        form = self.pick(ABOUT[style.lang])
        if "{l}" in form and text.split(" ")[0] not in TELLING:
            form = "{}"
        return form.format(text, l=text[0].lower() + text[1:])

    def _field(self, param: Param, style: Style, is_iso: bool, shown: dict) -> dict[str, Any]:
        out: dict[str, Any] = {"type": TYPES.get(param.kind, "string")}
        if param.kind == "int" and self.random() < 0.08:
            out["type"] = "number"
        if param.kind == "list" and param.of:
            out["items"] = {"type": TYPES.get(param.of.kind, "string")}
        hint = self._hint(param, style)
        if hint:
            out["description"] = hint
        if param.kind == "choice":
            self._choices(param, style, out, shown)
        elif is_iso:
            if self.random() < 0.5:
                out["format"] = "date"
            else:
                word = hint.rstrip(".。") or param.key
                out["description"] = f"{word} (YYYY-MM-DD)"
        elif out["type"] == "integer" and self.random() < 0.06:
            out["minimum"], out["maximum"] = int(param.low), int(param.high)
        return out

    def _choices(self, param: Param, style: Style, out: dict, shown: dict) -> None:
        if isinstance(param.choices[0].value, bool):
            out["type"] = "boolean"
            return
        values: list[Any] = [choice.value for choice in param.choices]
        chance = self.random()
        if style.lang == "zh" and chance < 0.2:
            values = [choice.zh[0] for choice in param.choices]
        elif chance > 0.85:
            values = [str(value).upper() for value in values]
        out["enum"] = values
        originals = [choice.value for choice in param.choices]
        shown[param.key] = dict(zip(originals, values, strict=True))
        if not param.required and self.random() < 0.08:
            out["default"] = values[0]

    def _hint(self, param: Param, style: Style) -> str:
        if not style.is_opaque and self.random() >= style.describes_params:
            return ""
        word = param.zh if style.lang == "zh" else param.en
        is_flag = param.kind == "choice" and isinstance(param.choices[0].value, bool)
        if is_flag and style.lang == "en":
            return f"{self.pick(('Whether', 'whether'))} {param.en}"
        is_text = param.kind not in ("choice", "list", "date") and not param.high
        form = self.pick((GIVEN if is_text and self.random() < 0.1 else HINTS)[style.lang])
        hint = form.format(w=word[0].upper() + word[1:], l=word)
        if is_text and self.random() < 0.05:
            example = self.values.text_of(param.kind, style.lang)
            hint = hint.rstrip(".。")
            hint += f", e.g. {example}" if style.lang == "en" else f"，例如{example}"
        return hint


def cased(name: str, case: str, domain: str) -> str:
    """A snake_case name in another fashion; `domain` is the prefix of the prefix fashion."""
    if case in ("snake", "hanzi"):
        return name
    words = name.split("_")
    if case == "camel":
        return words[0] + "".join(word.capitalize() for word in words[1:])
    if case == "pascal":
        return "".join(word.capitalize() for word in words)
    if case == "kebab":
        return "-".join(words)
    if case == "dotted":
        return f"{words[-1]}.{'_'.join(words[:-1])}" if len(words) > 1 else name
    has_domain = domain in ("nonsense", "fresh") or domain in words
    return name if has_domain else f"{domain}_{name}"
