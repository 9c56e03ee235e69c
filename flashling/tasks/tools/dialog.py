"""Conversations over declared tools, made target first: tools and values, then the words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from flashling.tasks import talk
from flashling.tasks.tools import answers, fresh, nonsense, parallel
from flashling.tasks.tools.catalogue import Catalogue, clash, serves
from flashling.tasks.tools.phrase import Request, Speaker
from flashling.tasks.tools.schema import Declared, Declarer, Style
from flashling.tasks.tools.spec import Param, Tool
from flashling.tasks.tools.values import OPEN, Values
from flashling.tasks.tools.words import phrases

# share of samples whose tools are composed anew
FRESH = 0.4
JOINTS: dict[str, list[str]] = phrases("joints")
STOPS: dict[str, list[str]] = phrases("stops")
SYSTEMS: list[str] = phrases("systems")
# with tools of these domains a question about the world is one that a tool might answer
WORLDLY = frozenset(
    "weather search calendar language maths stocks music movies books games food health convert "
    "travel media maps reminders home".split()
)


@dataclass(slots=True)
class Scene:
    """One conversation as it grows: who speaks what language, what is declared, what was said."""

    lang: str
    value_lang: str
    style: Style
    declared: list[Declared] = field(default_factory=list)
    messages: list[dict] = field(default_factory=list)
    copied: list[str] = field(default_factory=list)
    calls: int = 0
    spare: list[Tool] = field(default_factory=list)

    def user(self, text: str) -> None:
        """What the user says."""
        self.messages.append({"role": "user", "content": text})

    def assistant(self, text: str) -> None:
        """What the assistant says."""
        self.messages.append({"role": "assistant", "content": text})

    def call(self, calls: list[tuple[str, dict]]) -> None:
        """An assistant turn of one or more calls (name, arguments)."""
        made = []
        for name, arguments in calls:
            made.append(
                {
                    "id": f"call_{self.calls}",
                    "type": "function",
                    "function": {"name": name, "arguments": arguments},
                }
            )
            self.calls += 1
        self.messages.append({"role": "assistant", "content": None, "tool_calls": made})


class Director:
    """Makes scenes of every kind from one source of randomness."""

    def __init__(self, values: Values, split: str):
        self.values = values
        self.random, self.pick = values.random, values.pick
        self.speaker = Speaker(values)
        self.declarer = Declarer(values)
        self.catalogue = Catalogue(values, split)

    def scene(self) -> Scene:
        """An empty scene: 45 % English, 45 % Chinese, 10 % with values of the other language."""
        chance = self.random()
        lang = "en" if chance < 0.45 or chance > 0.95 else "zh"
        mixed = chance > 0.9
        value_lang = lang if not mixed else "zh" if lang == "en" else "en"
        scene = Scene(lang, value_lang, self.declarer.style())
        if self.random() < 0.12:
            scene.messages.append({"role": "system", "content": self.pick(SYSTEMS)})
        return scene

    def declare(self, scene: Scene, tools: list[Tool]) -> None:
        """Declares tools in a random order under different names; clashing ones are left out."""
        kept: list[Tool] = []
        for tool in tools:
            if not any(clash(tool, other) for other in kept):
                kept.append(tool)
        taken: set[str] = set()
        for tool in kept:
            made = self.declarer.declare(tool, scene.style)
            for _ in range(3):
                if made.name not in taken:
                    break
                made = self.declarer.declare(tool, scene.style)
            if made.name not in taken:
                taken.add(made.name)
                scene.declared.append(made)

    def main_tools(self, scene: Scene, near: bool) -> list[Tool]:
        """The tools of a scene, the first one meant: distractors are near misses or strangers."""
        if self.random() < FRESH:
            count = 1 + int(self.random() * (4 if near else 3))
            tools, scene.spare = fresh.family(
                self.values, scene.lang, self.catalogue.split, count + near
            )
            far = int(self.random() * 2.2)
            return tools + [self.catalogue.any() for _ in range(far)]
        if self.random() < 0.13:
            count = 1 + int(self.random() * (5 if near else 3))
            return nonsense.family(self.values, scene.lang, scene.style.lang, count)
        main = self.catalogue.any()
        tools = [main]
        if near:
            tools += [self.catalogue.near(main) for _ in range(1 + int(self.random() * 3))]
        strangers = int(self.random() ** 2 * 3) if near else int(self.random() * 4.5)
        if self.random() < 0.05:
            strangers += 3
        return tools + [self.catalogue.any() for _ in range(strangers)]

    def request(self, scene: Scene, made: Declared, **how: Any) -> Request:
        """A request for a declared tool in the scene's language."""
        tool = made.tool
        templates = how.pop("templates", None) or tool.asks[scene.lang]
        return self.speaker.fill(
            self.pick(templates), tool.by_key, scene.lang,
            value_lang=scene.value_lang, iso=made.iso, shown=made.shown, **how,
        )  # fmt: skip

    def one(self, scene: Scene, made: Declared) -> None:
        """A request and its single call."""
        request = self.request(scene, made)
        scene.user(self.speaker.spoken(request, scene.lang))
        scene.copied += request.copied
        scene.call([(made.name, made.call(request.args))])

    def spread(self, scene: Scene, made: Declared) -> bool:
        """One request naming several values of one parameter: one call for each. False if unfit."""
        needed = [p for p in made.tool.params if p.required]
        keys = [p.key for p in needed if p.kind in parallel.SPREADING]
        # two lists in one sentence would leave open which belongs to which
        if len(keys) != 1 or any(
            p.kind in OPEN or p.kind == "list" for p in needed if p.key != keys[0]
        ):
            return False
        key = self.pick(keys)
        param, how = made.tool.by_key[key], {"value_lang": scene.value_lang}
        count = 2 if self.random() < 0.7 else 3
        taken: dict[int, Any] = {}
        for at in range(count):
            taken[at] = self.speaker.value(param, scene.lang, how, taken)[1]
        values = list(dict.fromkeys(taken.values()))
        said = parallel.strung(self.values, values, scene.lang)
        request = self.request(scene, made, given={key: (said, None)})
        # known before it is spoken, so that none of them gets a capital
        request.copied += values
        scene.user(self.speaker.spoken(request, scene.lang))
        scene.copied += request.copied
        scene.call([(made.name, made.call(request.args | {key: value})) for value in values])
        return True

    def several(self, scene: Scene, made: list[Declared]) -> None:
        """Two or three requests in one message, of the same or of different tools."""
        requests = [self.request(scene, each) for each in made]
        chance, lang = self.random(), scene.lang
        if chance < 0.12:
            text = "\n".join(f"{at + 1}. {r.text}" for at, r in enumerate(requests))
        elif chance < 0.2:
            text = "\n".join(r.text for r in requests)
        else:
            text = requests[0].text
            for before, after in zip(requests, requests[1:], strict=False):
                is_open = before.ends_open or not (before.is_order and after.is_order)
                text += self.pick((STOPS if is_open else JOINTS)[lang]) + after.text
            whole = Request(
                text, {}, requests[0].copied, requests[0].is_order, requests[-1].ends_open
            )
            text = self.speaker.spoken(whole, lang)
        scene.user(text)
        scene.copied += [value for request in requests for value in request.copied]
        scene.call([(d.name, d.call(r.args)) for d, r in zip(made, requests, strict=True)])

    def missing(self, scene: Scene, made: Declared) -> bool:
        """A request without a required value and the question for it; then perhaps the value."""
        tool, lang = made.tool, scene.lang
        required = [p for p in tool.params if p.required]
        partial = [t for t in tool.asks[lang] if t.droppable]
        if not required or not (partial or tool.bare[lang]):
            return False
        if partial and (self.random() < 0.6 or not tool.bare[lang]):
            request = self.request(scene, made, templates=partial, drop=True)
        else:
            text = self.pick(tool.bare[lang])
            request = Request(text.lstrip("?"), is_order=text[0] != "?")
        lacking = [p for p in required if p.key not in request.args]
        if not lacking:
            return False
        scene.user(self.speaker.spoken(request, lang))
        scene.assistant(answers.ask_missing(self.speaker, lacking, lang))
        scene.copied += request.copied
        if len(lacking) < 3 and self.random() < 0.6:
            self._supplied(scene, made, request, lacking)
        return True

    def _supplied(
        self, scene: Scene, made: Declared, request: Request, lacking: list[Param]
    ) -> None:
        said = []
        how = {"value_lang": scene.value_lang, "iso": made.iso, "shown": made.shown}
        for param in lacking:
            text, value = self.speaker.value(param, scene.lang, how, request.args)
            request.args[param.key] = value
            said.append(text)
            if isinstance(value, str) and param.kind != "choice" and value in text:
                scene.copied.append(value)
        text = (", " if scene.lang == "en" else "，").join(said)
        scene.user(self.pick(answers.SUPPLIES[scene.lang]).format(text) if len(said) == 1 else text)
        scene.call([(made.name, made.call(request.args))])

    def none(self, scene: Scene) -> None:
        """A request that no declared tool can serve, and the short answer that says so."""
        first, lang = scene.declared[0].tool, scene.lang
        for _ in range(8):
            if scene.spare and self.random() < 0.6:
                wanted = self.pick(scene.spare)
                break
            near = self.random() < 0.5 and first.domain not in ("nonsense", "fresh")
            wanted = self.catalogue.near(first) if near else self.catalogue.any()
            if not any(serves(d.tool, wanted) for d in scene.declared):
                break
        else:
            wanted = nonsense.family(self.values, lang, lang, 1)[0]
        request = self.speaker.fill(
            self.pick(wanted.asks[lang]), wanted.by_key, lang, value_lang=scene.value_lang
        )
        scene.user(self.speaker.spoken(request, lang))
        scene.assistant(self.pick(answers.NO_TOOL[lang]))

    def chat(self, scene: Scene) -> None:
        """Small talk, or a question that no tool can answer."""
        kind = ""
        if any(d.tool.domain in WORLDLY for d in scene.declared):
            kind = self.pick(sorted(talk.SOCIAL))
        kind, asked, told = talk.exchange(self.values.rng, scene.lang, kind)
        scene.user(asked)
        is_social = kind in talk.SOCIAL
        scene.assistant(told if is_social else self.pick(answers.NO_TOOL[scene.lang]))

    def results(self, scene: Scene) -> bool:
        """The results of the calls just made and the answer they lead to; False if unknown."""
        by_name = {d.name: d for d in scene.declared}
        turns, said = [], []
        for call in scene.messages[-1]["tool_calls"]:
            made = by_name[call["function"]["name"]]
            args = made.read(call["function"]["arguments"])
            found = answers.result_of(self.speaker, made.tool, args, scene.lang)
            if not found:
                return False
            turns.append({"role": "tool", "tool_call_id": call["id"], "content": found[0]})
            said.append(found[1])
        scene.messages += turns
        scene.assistant((" " if scene.lang == "en" else "").join(dict.fromkeys(said)))
        return True
