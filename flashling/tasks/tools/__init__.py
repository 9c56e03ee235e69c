"""Function calling: endless training samples over tools that are renamed anew in every sample.

`samples` yields conversations with declared tools; `copy_samples` short ones that train copying.
Written tools in `HELD_OUT_TOOLS`, and some kinds of records, occur only in the `test` split.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate

from flashling.tasks.tools.catalogue import held_out_tools
from flashling.tasks.tools.copying import samples as copy_samples
from flashling.tasks.tools.dialog import Director, Scene
from flashling.tasks.tools.parallel import listed, same_again
from flashling.tasks.tools.public import Public
from flashling.tasks.tools.values import Values

HELD_OUT_TOOLS = held_out_tools()
__all__ = ["HELD_OUT_TOOLS", "KINDS", "compose", "copy_samples", "samples"]
# how often a turn is of each kind; the first turn decides the sample's `sub`
KINDS = {"single": 34, "choose": 24, "parallel": 18, "none": 12, "missing": 8, "chat": 4}
TURNS = tuple(KINDS)
EDGES = tuple(accumulate(KINDS.values()))
# share of the public sets where a `data_dir` is given (see public.py)
PUBLIC = 0.15


def samples(seed: int, data_dir: str | None = None, split: str = "train") -> Iterator[dict]:
    """Endless samples, the same for the same seed.

    Each is {"messages", "tools", "kind", "sub", "lang", "copied"}: OpenAI-style messages and
    schemas; kind `tools` (a call first) or `none`; sub one of single, choose, parallel, none,
    missing, chat, public; lang en, zh or mix; copied, the string arguments said verbatim.
    """
    values = Values(random.Random(f"tools {split} {seed}"))
    director = Director(values, split)
    public = Public(values, data_dir, split) if data_dir else None
    while True:
        if public and public.names and values.random() < PUBLIC:
            yield public.sample()
        else:
            yield compose(director)


def compose(director: Director) -> dict:
    """One conversation of one to four turns."""
    scene = director.scene()
    sub = _draw(director)
    director.declare(scene, director.main_tools(scene, near=sub in ("choose", "parallel", "none")))
    sub = _turn(director, scene, sub)
    while _goes_on(director, scene):
        is_call = scene.messages[-1].get("tool_calls")
        if is_call and (not director.results(scene) or director.random() < 0.4):
            break
        _turn(director, scene, _draw(director))
    director.declarer.shuffle(scene.declared)
    has_call = any(m.get("tool_calls") for m in scene.messages)
    lang = scene.lang if scene.lang == scene.value_lang else "mix"
    return {
        "messages": scene.messages,
        "tools": [made.schema for made in scene.declared],
        "kind": "tools" if has_call else "none",
        "sub": sub,
        "lang": lang,
        "copied": scene.copied,
    }


def _goes_on(director: Director, scene: Scene) -> bool:
    users = sum(m["role"] == "user" for m in scene.messages)
    return users < 5 and director.random() < (0.42 if users == 1 else 0.5)


def _draw(director: Director) -> str:
    chance = director.random() * EDGES[-1]
    return next(kind for kind, edge in zip(TURNS, EDGES, strict=True) if chance < edge)


def _turn(director: Director, scene: Scene, kind: str) -> str:
    """Adds one turn; gives the kind it became, when the one asked for did not fit the tools."""
    made = scene.declared[0]
    if any(m["role"] == "user" for m in scene.messages):
        made = director.pick(scene.declared)
    if kind == "none":
        director.none(scene)
        return kind
    if kind == "chat":
        director.chat(scene)
        return kind
    if kind == "missing" and director.missing(scene, made):
        return kind
    if kind == "parallel":
        chance = director.random()
        if chance < 0.45 and listed(director, scene, made):
            return kind
        if chance < 0.12 and same_again(director, scene, made):
            return kind
        if chance < 0.5 and made.tool.domain != "fresh" and director.spread(scene, made):
            return kind
        count = 2 if director.random() < 0.7 else 3 + (director.random() < 0.3)
        director.several(scene, [made, *(director.pick(scene.declared) for _ in range(count - 1))])
        return kind
    director.one(scene, made)
    return kind if kind == "choose" else "single"
