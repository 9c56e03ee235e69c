"""The language the tools are written in: parameters, templates of requests, and their reader.

A template is text with `{slot}`, `{@slot}` (an English date or time with its preposition),
`(one|other)`, `[left out at will]` and `<left out only when a value is to be missing>`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from flashling.tasks.tools.words import DATA

Node = str | tuple


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of an enumeration or a boolean, with the words that mean it."""

    value: str | bool
    en: tuple[str, ...]
    zh: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter; `kind` names a method of `Values` or one of num, choice, list.

    low and high bound a number (both whole: an integer); `of` is the kind of a list's items.
    """

    key: str
    kind: str
    names: tuple[str, ...]
    en: str
    zh: str
    required: bool = True
    low: float = 0
    high: float = 0
    whole: bool = True
    of: Param | None = None
    choices: tuple[Choice, ...] = ()


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled request; `is_order` when it begins with a verb and takes a `please`."""

    nodes: tuple[Node, ...]
    is_order: bool
    required: frozenset[str]
    droppable: frozenset[str]


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool before renaming: its names, descriptions, parameters and requests by language.

    made_of: verb and kind of record of a combined tool, empty for a written one. lists: requests of
    a fresh tool about several things `{L}`, each said as `item`.
    """

    key: str
    domain: str
    names: tuple[str, ...]
    about: dict[str, tuple[str, ...]]
    params: tuple[Param, ...]
    asks: dict[str, tuple[Template, ...]]
    bare: dict[str, tuple[str, ...]]
    result: tuple = ()
    tags: frozenset[str] = frozenset()
    by_key: dict[str, Param] = field(default_factory=dict)
    made_of: tuple[str, str] = ("", "")
    lists: tuple[str, ...] = ()
    item: str = ""


def compile_template(text: str) -> Template:
    """Reads one template; a leading `?` marks a question. ValueError names a bad one."""
    is_order = not text.startswith("?")
    nodes, rest = _nodes(text.lstrip("?"), "")
    if rest:
        raise ValueError(f"template {text!r}: {rest[0]!r} closes nothing; balance the brackets")
    # what begins with a value ("{person} should ...") is no order either
    is_order = is_order and (isinstance(nodes[0], str) or nodes[0][0] == "c")
    needed, dropped = _always(nodes, ""), _always(nodes, "d")
    return Template(nodes, is_order, needed | dropped, dropped - needed)


def _always(nodes: tuple[Node, ...], inside: str) -> frozenset[str]:
    """The slots said in every rendering; with `inside` "d", those within `<...>` instead."""
    found: frozenset[str] = frozenset()
    for node in nodes:
        if isinstance(node, str):
            continue
        if node[0] == "s" and not inside:
            found |= {node[1]}
        elif node[0] == "c":
            found |= frozenset.intersection(*(_always(option, inside) for option in node[1]))
        elif node[0] == "d" and inside:
            found |= _always(node[1], "")
    return found


def _nodes(text: str, closing: str) -> tuple[tuple[Node, ...], str]:
    """Reads nodes up to one of the closing characters; gives them and what is left."""
    nodes: list[Node] = []
    plain = ""
    while text and text[0] not in closing:
        char = text[0]
        if char not in "{([<":
            if char in ")]>}":
                break
            plain, text = plain + char, text[1:]
            continue
        if plain:
            nodes.append(plain)
            plain = ""
        node, text = _group(char, text[1:])
        nodes.append(node)
    return tuple([*nodes, plain] if plain else nodes), text


def _group(char: str, text: str) -> tuple[tuple, str]:
    if char == "{":
        slot, _, text = text.partition("}")
        return ("s", slot.lstrip("@"), slot.startswith("@")), text
    if char == "(":
        options = []
        while True:
            inner, text = _nodes(text, "|)")
            options.append(inner)
            if not text or text[0] == ")":
                return ("c", tuple(options)), text[1:]
            text = text[1:]
    inner, text = _nodes(text, "]" if char == "[" else ">")
    return ("o" if char == "[" else "d", inner), text[1:]


@cache
def roles() -> dict[str, Param]:
    """Common parameters by name, from `roles.txt`; the required flag is set by each use."""
    table, _, sets = (DATA / "roles.txt").read_text(encoding="utf-8").partition("[choices]\n")
    choices = dict(_choices(line) for line in sets.splitlines() if line)
    known = {
        f"%{name}": make_param(
            name, f"%{name}", (name,), name.replace("_", " "), name, choices=choices
        )
        for name in choices
    }
    for line in table.splitlines():
        if line and not line.startswith("#"):
            key, kind, names, en, zh = (cell.strip() for cell in line.split("|"))
            known[key] = make_param(key, kind, (key, *names.split()), en, zh, choices=choices)
    return known


def _choices(line: str) -> tuple[str, tuple[Choice, ...]]:
    name, *cells = (cell.strip() for cell in line.split("|"))
    found = []
    for cell in cells:
        value, _, words = cell.partition(" = ")
        en, _, zh = words.partition(" / ")
        meant = {"true": True, "false": False}.get(value.strip(), value.strip())
        found.append(Choice(meant, tuple(en.strip().split(", ")), tuple(zh.strip().split(", "))))
    return name, tuple(found)


def make_param(key, kind, names, en, zh, *, choices=None, required=True) -> Param:
    """A parameter from its kind as written: `city`, `int:1:9`, `num:1:9`, `list:tag`, `%set`."""
    head, _, rest = kind.partition(":")
    common: dict[str, Any] = dict(
        key=key, names=tuple(dict.fromkeys(names)), en=en, zh=zh, required=required
    )
    if head.startswith("%"):
        return Param(kind="choice", choices=(choices or {})[head[1:]], **common)
    if head == "list":
        return Param(kind="list", of=make_param(key, rest, names, en, zh), **common)
    if head in ("int", "num", "float", "coord", "tally", "lot"):
        low, _, high = (rest or "2:60").partition(":")
        whole = head in ("int", "tally", "lot")
        return Param(kind=head, low=float(low), high=float(high), whole=whole, **common)
    return Param(kind=head, **common)


def use_param(text: str) -> Param:
    """One parameter as a tool names it: `city!`, `from!:city(origin,start)=start_city/出发城市`."""
    text, _, words = text.partition("=")
    text, _, names = text.rstrip(")").partition("(")
    text, _, kind = text.partition(":")
    key, required = text[:-1], text.endswith("!")
    if not text.endswith(("!", "?")) or not key:
        raise ValueError(f"parameter {text!r} must end in ! (required) or ? (optional)")
    en, _, zh = words.replace("_", " ").partition("/")
    base = roles().get(kind or key) or make_param(
        key, kind or key, (key,), key.replace("_", " "), key
    )
    said = roles().get(key) or base
    own = tuple(n for n in names.split(",") if n) or said.names
    return replace(
        base, key=key, names=tuple(dict.fromkeys((key, *own))), en=en or said.en, zh=zh or said.zh,
        required=required,
    )  # fmt: skip


@cache
def base_tools() -> dict[str, Tool]:
    """Every written tool by key (its first name), from the `tools_*.txt` files."""
    found: dict[str, Tool] = {}
    for file in sorted(DATA.glob("tools_*.txt")):
        domain = ""
        for block in file.read_text(encoding="utf-8").split("\n= "):
            lines = block.splitlines()
            if domain:
                tool = read_tool(domain, lines)
                if tool.key in found:
                    raise ValueError(f"{file.name}: tool {tool.key!r} is written twice")
                found[tool.key] = tool
            for line in lines:
                domain = line[1:].strip() if line.startswith("@") else domain
    return found


def read_tool(domain: str, lines: list[str]) -> Tool:
    """A tool from its block: names, then lines marked d p > < b r x. ValueError names a fault."""
    names = tuple(lines[0].split())
    cells: dict[str, list[str]] = {}
    for line in lines[1:]:
        if line and line[0] in "dp><brx":
            cells.setdefault(line[0], []).append(line[2:].strip())
    params = tuple(use_param(word) for line in cells.get("p", []) for word in line.split())
    about, bare = (_pair(" ".join(cells.get(mark, []))) for mark in "db")
    asks = {
        lang: tuple(compile_template(t) for line in cells.get(mark, []) for t in line.split(" ; "))
        for lang, mark in (("en", ">"), ("zh", "<"))
    }
    tool = Tool(
        names[0], domain, names, about, params, asks, bare,
        _result(cells["r"][0]) if "r" in cells else (),
        frozenset([names[0], *" ".join(cells.get("x", [])).split()]),
        {p.key: p for p in params},
    )  # fmt: skip
    check_tool(tool)
    return tool


def check_tool(tool: Tool) -> None:
    """Every template must name all required parameters and no unknown ones."""
    needed = {p.key for p in tool.params if p.required}
    for lang, templates in tool.asks.items():
        if not templates:
            raise ValueError(f"tool {tool.key!r} has no {lang} request")
        for template in templates:
            if not needed <= template.required or not template.required <= set(tool.by_key):
                raise ValueError(
                    f"tool {tool.key!r}: a {lang} request names {sorted(template.required)}, "
                    f"the tool needs {sorted(needed)}: {template.nodes}"
                )


def _pair(text: str) -> dict[str, tuple[str, ...]]:
    en, _, zh = text.partition(" / ")
    return {"en": tuple(t for t in en.split("|") if t), "zh": tuple(t for t in zh.split("|") if t)}


def _result(text: str) -> tuple:
    """Fields of a tool's result with their kinds, and the answer in both languages."""
    fields, en, zh = text.split(" / ")
    pairs = []
    for word in fields.split():
        name, colon, kind = word.partition(":")
        pairs.append(use_param(f"{name}!{colon}{kind}"))
    return tuple(pairs), en.strip(), zh.strip()
