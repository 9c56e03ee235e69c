"""All tools of one split: what to draw, what is near a tool, and what it must not stand beside."""

from __future__ import annotations

from functools import cache

from flashling.tasks.tools.nouns import Noun, noun_tool, nouns
from flashling.tasks.tools.spec import Tool, base_tools
from flashling.tasks.tools.values import Values
from flashling.tasks.tools.words import holdout

HELD_OUT_PERCENT = 15
# chosen so that what people ask of every assistant (weather, mail, files) stays in training
SALT = 284
READING = frozenset("get list search count".split())
ENDING = frozenset("delete archive cancel close reject disable".split())
STARTING = frozenset("restore reopen enable approve".split())


@cache
def held_out_tools() -> frozenset[str]:
    """Keys of the written tools that training never sees."""
    return frozenset(k for k in base_tools() if holdout(f"tool {SALT} {k}", HELD_OUT_PERCENT))


def is_held_out(noun: Noun) -> bool:
    """Whether training never sees tools of this kind of record."""
    return holdout(f"noun {noun.en}", HELD_OUT_PERCENT)


class Catalogue:
    """The tools of a split (`train` or `test`); every draw takes its randomness from `values`."""

    def __init__(self, values: Values, split: str):
        if split not in ("train", "test"):
            raise ValueError(f"split {split!r}: choose train or test")
        wanted = split == "test"
        self.random, self.pick, self.split = values.random, values.pick, split
        self.base = [t for key, t in base_tools().items() if (key in held_out_tools()) == wanted]
        self.nouns = [noun for noun in nouns() if is_held_out(noun) == wanted]
        self.domains: dict[str, list[Tool]] = {}
        for tool in self.base:
            self.domains.setdefault(tool.domain, []).append(tool)
        self.by_noun = {noun.en.replace(" ", "_"): noun for noun in self.nouns}
        self.by_verb: dict[str, list[Noun]] = {}
        for noun in self.nouns:
            for verb in noun.verbs:
                self.by_verb.setdefault(verb, []).append(noun)

    def any(self) -> Tool:
        """A tool: two thirds written ones, one third kinds of records."""
        return self.pick(self.base) if self.random() < 0.62 else self.record()

    def record(self) -> Tool:
        """A tool made of a verb and a kind of record."""
        noun = self.pick(self.nouns)
        return noun_tool(noun, self.pick(noun.verbs), int(self.random() * 3))

    def near(self, tool: Tool) -> Tool:
        """A tool easily mistaken for this one: same domain, same record or same verb."""
        verb, noun = tool.made_of
        if not noun:
            return self.pick(self.domains[tool.domain])
        if self.random() < 0.75:
            found = self.by_noun[noun]
            return noun_tool(found, self.pick(found.verbs), int(self.random() * 3))
        return noun_tool(self.pick(self.by_verb[verb]), verb, int(self.random() * 3))


def clash(tool: Tool, other: Tool) -> bool:
    """Whether two tools could answer the same request, so that only one may be declared."""
    return bool(tool.tags & other.tags)


def serves(declared: Tool, wanted: Tool) -> bool:
    """Whether a declared tool could be taken to answer a request for another one."""
    if clash(declared, wanted) or "broad" in declared.tags:
        return True
    verb, noun = declared.made_of
    wanted_verb, wanted_noun = wanted.made_of
    if noun and noun == wanted_noun:
        return any({verb, wanted_verb} <= group for group in (READING, ENDING, STARTING))
    words = set(declared.key.split("_")[1:]) & set(wanted.key.split("_")[1:])
    return bool(words) and not (noun and wanted_noun)
