"""Several calls asked for in one breath: lists, lists of pairs, and `the same for the other`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from flashling.tasks.tools.phrase import Request
from flashling.tasks.tools.schema import Declared
from flashling.tasks.tools.spec import Param, compile_template
from flashling.tasks.tools.values import OPEN, Values
from flashling.tasks.tools.words import phrases

if TYPE_CHECKING:
    from flashling.tasks.tools.dialog import Director, Scene

SPREADING = frozenset(phrases("spreading"))
PAIRS = {"en": (" and ", " and ", " as well as ", ", ", " plus ", " & "),
         "zh": ("和", "和", "、", "跟", "还有", "以及", "，")}  # fmt: skip
AGAIN = {
    "en": (", and the same for {}", "; same with {}", ", then {} too", ". Do {} as well", ", ditto {}"),
    "zh": ("，{}也一样", "，还有{}", "，{}同样", "。{}也来一份", "，{}照办"),
}  # fmt: skip
LIST = Param("L", "latin", ("L",), "", "")


def strung(values: Values, items: list[str], lang: str) -> str:
    """Items in one of the many ways people string them together."""
    last = values.pick(PAIRS[lang])
    comma = ", " if lang == "en" else values.pick("、、，")
    if len(items) > 2 and last in (", ", "、", "，"):
        comma = last
    return comma.join(items[:-1]) + last + items[-1]


def listed(director: Director, scene: Scene, made: Declared) -> bool:
    """A fresh tool asked for about two to four things at once. False when it has no such form."""
    tool, lang, values = made.tool, scene.lang, director.values
    if not tool.lists:
        return False
    text = director.pick(tool.lists)
    shared = [p for p in tool.params if p.required and f"{{{p.key}}}" in text]
    item = "{x}" if shared else tool.item
    count = 2 + int(director.random() ** 1.6 * 3)
    requests: dict[str, Request] = {}
    for _ in range(count * 2):
        one = director.request(scene, made, templates=[compile_template(item)])
        # an item is named once, even when it was drawn twice
        if len(requests) < count:
            requests.setdefault(str(one.args["x"]), one)
    items = [one.text.strip() for one in requests.values()]
    if len(items) < 2:
        return False
    said = strung(values, items, lang)
    if item != "{x}" and director.random() < 0.5:
        said = (", " if lang == "en" else "，").join(items)
    whole = _whole(director, scene, made, text, said)
    # known before it is spoken, so that none of them gets a capital
    whole.copied += [text for one in requests.values() for text in one.copied]
    scene.user(director.speaker.spoken(whole, lang))
    scene.copied += whole.copied
    scene.call([(made.name, made.call(whole.args | one.args)) for one in requests.values()])
    return True


def _whole(director: Director, scene: Scene, made: Declared, text: str, said: str) -> Request:
    """The request around the list; its own arguments hold for every item."""
    request = director.speaker.fill(
        compile_template("?" + text), made.tool.by_key | {"L": LIST}, scene.lang,
        value_lang=scene.value_lang, iso=made.iso, shown=made.shown, given={"L": (said, None)},
    )  # fmt: skip
    del request.args["L"]
    return request


def same_again(director: Director, scene: Scene, made: Declared) -> bool:
    """A full request and then another thing that wants the same. False if the tool is unfit."""
    params = [p for p in made.tool.params if p.required]
    keys = [p for p in params if p.kind in SPREADING]
    if len(keys) != 1 or any(p.kind in OPEN for p in made.tool.params if p is not keys[0]):
        return False
    key, lang = keys[0], scene.lang
    request = director.request(scene, made)
    first = request.args.get(key.key)
    how = {"value_lang": scene.value_lang, "iso": made.iso, "shown": made.shown}
    said, value = director.speaker.value(key, lang, how, request.args)
    if value == first or first is None or not isinstance(value, str):
        return False
    asked = director.pick(AGAIN[lang]).format(said)
    whole = replace(request, text=request.text + asked, ends_open=True)
    scene.user(director.speaker.spoken(whole, lang))
    scene.copied += [*request.copied, value]
    scene.call(
        [(made.name, made.call(args)) for args in (request.args, request.args | {key.key: value})]
    )
    return True
