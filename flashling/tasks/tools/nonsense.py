"""Tools whose words mean nothing: only reading the declaration tells which one is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from flashling.tasks.tools.spec import Choice, Param, Template, Tool, compile_template
from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import made_hanzi, made_word, phrases

MAIN_KINDS = "id id title name person path word int".split()
SIDE_KINDS = "int int num title color id choice city word date".split()
SIDE_WORDS: list[list[str]] = phrases("side_words")
ASKS: dict[str, list[str]] = {lang: phrases(f"asks_{lang}") for lang in ("en", "zh")}
ABOUT: dict[str, list[str]] = {lang: phrases(f"about_{lang}") for lang in ("en", "zh")}


def family(values: Values, lang: str, schema_lang: str, count: int) -> list[Tool]:
    """`count` tools over a few made-up verbs and nouns, each a near miss of the others."""
    both_zh = lang == "zh" and schema_lang == "zh" and values.random() < 0.6
    nouns = [_word(values, both_zh) for _ in range(2 if count > 2 else 1)]
    first = _word(values, both_zh)
    tools: list[Tool] = []
    for at in range(count):
        verb = first if not at or values.random() < 0.2 else _word(values, both_zh)
        noun = values.pick(nouns) if values.random() < 0.7 else _word(values, both_zh)
        tool = _tool(values, verb, noun)
        if tool.key not in [other.key for other in tools]:
            tools.append(tool)
    return tools


def _word(values: Values, both_zh: bool) -> tuple[str, str]:
    """A made-up word in Latin letters and as it is written in Chinese text."""
    latin = made_word(values.rng, 2)
    return latin, made_hanzi(values.rng, 2, 2) if both_zh else latin


def _tool(values: Values, verb: tuple[str, str], noun: tuple[str, str]) -> Tool:
    (v, v_zh), (n, n_zh) = verb, noun
    params = [_param(values, "main", MAIN_KINDS, True, n, n_zh)]
    for at in range(int(values.random() * 3)):
        word, zh = values.pick(SIDE_WORDS)
        if values.random() < 0.4:
            word = zh = made_word(values.rng, 2)
        params.append(_param(values, f"side{at}", SIDE_KINDS, values.random() < 0.6, word, zh))
    en, zh = _sides(params, ("[", "]"), "en"), _sides(params, ("[", "]"), "zh")
    m = params[0].names[0]
    return Tool(
        f"{v}_{n}", "nonsense", (f"{v}_{n}",) if values.random() < 0.8 else (v,),
        {
            "en": (values.pick(ABOUT["en"]).format(v=v, V=v.capitalize(), n=n, m=m),),
            "zh": (values.pick(ABOUT["zh"]).format(v=v_zh, n=n_zh),),
        },
        tuple(params),
        {
            "en": _asks(values, "en", v, n, en),
            "zh": _asks(values, "zh", v_zh, n_zh, zh),
        },
        {"en": (f"{v} a {n}",), "zh": (f"{v_zh}一个{n_zh}",)},
        tags=frozenset((f"{v}_{n}",)), by_key={p.key: p for p in params},
    )  # fmt: skip


def _sides(params: list[Param], optional: tuple[str, str], lang: str) -> str:
    """The further parameters as the end of a request: `with speed {side0}[, zone {side1}]`."""
    out = ""
    for at, param in enumerate(params[1:]):
        if lang == "en":
            text = f"{', ' if at else ' (with|at|using) '}{param.en} {{{param.key}}}"
        else:
            text = f"，{param.zh}(是|为|用|){{{param.key}}}"
        out += text if param.required else optional[0] + text + optional[1]
    return out


def _asks(values: Values, lang: str, verb: str, noun: str, sides: str) -> tuple[Template, ...]:
    forms = [values.pick(ASKS[lang]).format(v=verb, n=noun) for _ in range(2)]
    return tuple(compile_template(form + sides) for form in forms)


def _param(
    values: Values, key: str, kinds: Sequence[str], required: bool, en: str, zh: str
) -> Param:
    kind = values.pick(kinds)
    names = (
        (en.replace(" ", "_"),)
        if key != "main" or values.random() < 0.6
        else ("target", "item", en)
    )
    if kind == "choice":
        made = [made_word(values.rng) for _ in range(3)]
        choices = tuple(Choice(word, (word,), (word,)) for word in dict.fromkeys(made))
        return Param(key, kind, names, en, zh, required, choices=choices)
    whole = kind == "int"
    return Param(key, kind, names, en, zh, required, 1, 500 if whole else 90, whole)
