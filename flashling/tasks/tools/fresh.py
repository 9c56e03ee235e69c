"""Tools composed anew in every sample, with near misses beside: the meaning decides, not a name."""

from __future__ import annotations

from dataclasses import dataclass, replace

from flashling.tasks.tools.catalogue import held_out_tools
from flashling.tasks.tools.deeds import Deed, Thing, deeds, tails, things
from flashling.tasks.tools.phrase import QUESTION_EN, QUESTION_ZH
from flashling.tasks.tools.spec import Param, Template, Tool, compile_template, make_param
from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import phrases

BEYOND: dict[str, list[str]] = phrases("beyond")
KINDS = {"number": "digits", "word": "proper"}
# deeds that answer rather than do: nothing is known of their results
READING = frozenset("inspect read price track stocktake".split())
# afterthoughts that fit a sentence about the state of things, not only an order
LOOSE = frozenset("urgency silent channel grade ship who reason".split())
JOINS = {
    "en": (", ", ", ", "; ", ". ", ", so ", " - ", "... ", "! "),
    "zh": ("，", "，", "，", "。", "；", " ", "……", "，所以"),
}
# how questions begin, which are no reason for anything
ASKING = tuple("is does did how who will can any what has".split())
IDENTS: dict[str, tuple[str, ...]] = {
    "id.en": ("$N {x}", "the $N {x}", "$N {x}", "our $N {x}", "the $N with the code {x}"),
    "number.en": ("$N {x}", "$N number {x}", "$N no. {x}", "the $N {x}", "$N {x}"),
    "word.en": ("the $N {x}", "the $N called {x}", "our $N {x}", "$N {x}", 'the $N "{x}"'),
    "person.en": ("{x}", "{x}", "our $N {x}", "the $N {x}", "$N {x}"),
    "id.zh": ("$Z{x}", "编号{x}的$Z", "{x}这$C$Z", "{x}那$C$Z", "$Z {x} ", "这$C$Z（{x}）"),
    "number.zh": ("{x}号$Z", "$Z{x}", "编号{x}的$Z", "{x}号那$C$Z", "{x}号$Z"),
    "word.zh": ("$Z{x}", "{x}这$C$Z", "叫{x}的$Z", "{x}那$C$Z", "“{x}”这$C$Z"),
    "person.zh": ("{x}", "{x}", "$Z{x}", "{x}这位$Z", "我们的$Z{x}"),
}
# how requests begin that tell what is the case and take no `please`
STATING = tuple(
    "one of,$A,the $N,someone,some ,something,we ,our ,I ,help,fuel,how,what,where,$Z,有".split(",")
)
BARE_IDENT = 0.12
IDENT_ZH = {"id": "编号", "number": "号码", "word": "名称", "title": "名称", "person": "姓名"}
IDENT_EN = {"id": "ID", "number": "number", "word": "name", "title": "name", "person": "name"}


@dataclass(slots=True)
class Plan:
    """A tool to be: the deed, the thing, its modifier, how one is named, what may be assumed.

    is_alone: no declared deed could be called for by the same state; is_only: no other thing
    takes this deed, so that the noun may be left out.
    """

    deed: Deed
    thing: Thing
    mod: tuple[str, str]
    ident: str
    is_alone: bool = True
    is_only: bool = True


def family(values: Values, lang: str, split: str, count: int) -> tuple[list[Tool], list[Tool]]:
    """`count` tools, the first one meant, and some undeclared ones that nobody else could serve."""
    group = values.pick(list(deeds()))
    heads, mods = things(split)[group]
    rows = deeds()[group]
    thing, mod = values.pick(heads), values.pick(mods)
    main = Plan(values.pick(rows), thing, mod, values.pick(thing.idents))
    plans = [main]
    for _ in range(count - 1):
        plans.append(_sibling(values, plans, rows, heads))
    kept = {(p.deed.key, p.thing.en): p for p in plans}
    plans = list(kept.values())
    for plan in plans:
        others = [p for p in plans if p is not plan]
        plan.is_alone = not any(p.deed.confuses & plan.deed.confuses for p in others)
        plan.is_only = not any(p.deed is plan.deed for p in others)
    spare = [
        replace(main, deed=deed, is_only=False)
        for deed in values.rng.sample(rows, min(3, len(rows)))
        if not any(p.deed is deed or p.deed.confuses & deed.confuses for p in plans)
    ]
    used = {p.thing.en for p in plans}
    far = [t for t in heads if t.en not in used]
    if far:
        spare.append(replace(main, thing=values.pick(far), is_only=False))
    tools = [build(values, p, lang, 4 if p is main else 2) for p in plans]
    if not spare or values.random() < 0.2:
        return tools, [_beyond(values, main, lang)]
    return tools, [build(values, values.pick(spare), lang, 2)]


def _beyond(values: Values, plan: Plan, lang: str) -> Tool:
    """Idle talk about a thing, or what no tool could do, in the shape of a tool."""
    text = _put(values.pick(BEYOND[lang]), _words(values, plan))
    asks: dict[str, tuple[Template, ...]] = {
        "en": (),
        "zh": (),
        lang: (compile_template(f"?{text}"),),
    }
    return replace(build(values, plan, lang, 0), params=(), asks=asks, by_key={})


def _sibling(values: Values, plans: list[Plan], rows, heads) -> Plan:
    main, chance = plans[0], values.random()
    if chance < 0.25 and len(heads) > 1:
        return replace(main, thing=values.pick(heads))
    mates = [d for d in rows if d.confuses & main.deed.confuses and d is not main.deed]
    return replace(main, deed=values.pick(mates if mates and chance < 0.6 else rows))


def build(values: Values, plan: Plan, lang: str, count: int) -> Tool:
    """One tool with `count` ways to ask for it, in one language."""
    deed = plan.deed
    named = _ident(values, plan)
    extra = [tails()[name] for name in deed.tails if values.random() < 0.6]
    params = (named, *deed.params, *(tail.param for tail in extra))
    words = _words(values, plan)
    asks: dict[str, tuple[Template, ...]] = {"en": (), "zh": ()}
    asks[lang] = tuple(_ask(values, plan, lang, params, words) for _ in range(count))
    says = deed.says[lang]
    own = f"{deed.key}_{plan.mod[0]}_{plan.thing.en}".replace(" ", "_").replace("-", "_")
    return Tool(
        f"check_{own}" if deed.key in READING else own,
        "fresh",
        _names(values, plan),
        _about(values, plan),
        params,
        asks,
        {"en": (), "zh": (), lang: tuple(_bare(t, words) for t in says["bare"])},
        tags=frozenset((own,)),
        by_key={p.key: p for p in params},
        made_of=(deed.key, plan.thing.en.replace(" ", "_")),
        lists=tuple(_put(t, words) for t in says["lists"] if t != "{L}"),
        item=deed.item[lang],
    )


def _ident(values: Values, plan: Plan) -> Param:
    en, zh, kind = plan.thing.en, plan.thing.zh, plan.ident
    snake, word = en.replace(" ", "_"), IDENT_EN[kind].lower()
    names = (f"{snake}_{word}", snake, word, "target", f"the_{snake}", "which", f"{snake}_ref")
    shown = values.pick((f"{en} {IDENT_EN[kind]}", en, f"{IDENT_EN[kind]} of the {en}"))
    told = values.pick((f"{zh}{IDENT_ZH[kind]}", zh, f"{zh}的{IDENT_ZH[kind]}"))
    return make_param("x", KINDS.get(kind, kind), names, shown, told)


def _words(values: Values, plan: Plan) -> dict[str, str]:
    """The words to put for $N and the like; the modifier is often left out when people speak."""
    full = values.random() < 0.5
    en = f"{plan.mod[0]} {plan.thing.en}" if full else plan.thing.en
    zh = plan.mod[1] + plan.thing.zh if full else plan.thing.zh
    article = "an" if en[0] in "aeio" else "a"
    return {
        "$N": en,
        "$P": plural(en),
        "$A": f"{article} {en}",
        "$Z": zh,
        "$C": plan.thing.classifier,
    }


def plural(noun: str) -> str:
    """The plural of a regular English noun."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "ch", "sh", "x")) else f"{noun}s"


def _put(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text


def _bare(text: str, words: dict[str, str]) -> str:
    """A request that lacks its values; a `?` marks one that is no order."""
    mark = "?" if text.startswith(STATING) else ""
    return mark + _put(text, words)


def _ask(values: Values, plan: Plan, lang: str, params, words: dict[str, str]) -> Template:
    """A request: an order, a state, a state and a wish, a wish and its reason, or a fragment."""
    says, chance = plan.deed.says[lang], values.random()
    states, wishes = says["states"], says["wishes"]
    alone = [s for s in states if s[0] == "!"]
    is_loose = True
    if chance < 0.3 or not (wishes or (alone and plan.is_alone)):
        text, is_loose = values.pick(says["commands"]), False
    elif alone and plan.is_alone and (chance < 0.5 or not wishes):
        text = f"?{values.pick(alone)[1:]}"
    else:
        state, wish = values.pick(states).lstrip("!"), values.pick(wishes)
        if chance < 0.88:
            text, is_loose = f"?{state}{values.pick(JOINS[lang])}{wish}", False
        elif chance < 0.94 and not any(p.kind == "text" for p in params):
            text = f"?{_reasoned(values, state, wish, lang)}"
        else:
            joint = (": ", ", ", " - ") if lang == "en" else ("：", "，", "，")
            text = f"?$I{values.pick(joint)}{wish}"
    if text[0] != "?" and _is_plain(text, lang):
        text = f"?{text}"
    tail = _tail(values, plan, params, lang, is_loose)
    if tail and lang == "zh" and text[0] != "?" and values.random() < 0.6:
        text = f"?{text}"
    text += tail
    return compile_template(_put(text.replace("$I", _said(values, plan, lang)), words))


def _reasoned(values: Values, state: str, wish: str, lang: str) -> str:
    """The wish before its reason, or the reason named as one."""
    is_question = state.split(" ")[0] in ASKING or any(word in state for word in QUESTION_ZH)
    if values.random() < 0.5 and not (is_question and lang == "zh"):
        if lang == "zh":
            return f"因为{state}，{wish}"
        if not is_question:
            return f"{wish}, because {state}"
    return f"{wish}{values.pick(JOINS[lang][:3])}{state}"


def _is_plain(text: str, lang: str) -> bool:
    """Whether a sentence takes no `please`: a question, or one that begins with what is meant."""
    if text.startswith(("$I", "{", "to ", "above ", "超过")):
        return True
    if lang == "en":
        return text.split(" ")[0] in QUESTION_EN
    return any(word in text for word in QUESTION_ZH)


def _tail(values: Values, plan: Plan, params, lang: str, is_loose: bool) -> str:
    """Optional arguments as afterthoughts, none after a text that may hold anything."""
    known = {p.key for p in params}
    found = [
        tails()[name].said[lang]
        for name in plan.deed.tails
        if tails()[name].param.key in known and (name in LOOSE or not is_loose)
    ]
    values.rng.shuffle(found)
    # a reason is the title of something and would swallow what follows
    found = sorted(found[:2], key=lambda said: "{reason}" in said)
    return "".join(f"[{said}]" for said in found)


def _said(values: Values, plan: Plan, lang: str) -> str:
    """How the one that is meant is named."""
    if plan.is_only and values.random() < BARE_IDENT:
        return "{x}"
    kind = "word" if plan.ident == "title" else plan.ident
    return values.pick(IDENTS[f"{kind}.{lang}"])


def _names(values: Values, plan: Plan) -> tuple[str, ...]:
    head, mod = plan.thing.en.replace(" ", "_"), plan.mod[0].replace("-", "_")
    made = []
    for _ in range(3):
        verb = values.pick(plan.deed.verbs)
        thing = values.pick((head, head, f"{mod}_{head}", f"{mod}_{head}"))
        form = values.pick(("{v}_{t}", "{v}_{t}", "{t}_{v}", "{v}_{t}_by_ref", "{m}_{v}_{h}"))
        made.append(form.format(v=verb, t=thing, m=mod, h=head))
    return tuple(name for name in made if name not in held_out_tools()) or (f"{mod}_{head}_task",)


def _about(values: Values, plan: Plan) -> dict[str, tuple[str, ...]]:
    words = _words(values, plan)
    en = values.pick(plan.deed.about["en"])
    first, _, rest = en.partition(" ")
    if rest and first.endswith("s") and values.random() < 0.4:
        en = f"{_imperative(first)} {rest}"
    return {
        "en": (_put(en, words),),
        "zh": (_put(values.pick(plan.deed.about["zh"]), words),),
    }


def _imperative(verb: str) -> str:
    """`Stops` without its ending."""
    if verb.endswith("ies"):
        return f"{verb[:-3]}y"
    if verb == "Has":
        return "Have"
    return verb[:-2] if verb.endswith(("sses", "ches", "shes")) else verb[:-1]
