"""What is asked under load: texts of a given length, and agents whose prompts grow."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]
NOUNS = "file folder log report image backup archive script table note draft page".split()
VERBS = "list find count move copy open sort check print rename delete pack".split()
PATHS = "src docs build data home music photos work temp old new shared".split()


def tool(name: str, told: str, **properties: dict[str, Any]) -> dict[str, Any]:
    """A function of an agent, all of its properties required."""
    schema = {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
    return {
        "type": "function",
        "function": {"name": name, "description": told, "parameters": schema},
    }


TOOLS = [
    tool("read_file", "Read a file.", path={"enum": [f"{p}/notes.txt" for p in PATHS]}),
    tool("list_folder", "List a folder.", path={"enum": PATHS}, all={"type": "boolean"}),
    tool("count_lines", "Count the lines of a file.", path={"enum": PATHS}),
]


@dataclass(frozen=True)
class Trace:
    """A conversation to be had. messages: its beginning; results: what the tools answer, turn by
    turn (none: one question, one answer of exactly `tokens` tokens); tokens: of an answer at most.
    is_free: answers are no calls, but just so many tokens.
    """

    messages: tuple[Message, ...]
    tokens: int
    results: tuple[str, ...] = ()
    is_free: bool = False

    @property
    def turns(self) -> tuple[str, ...]:
        """What follows each answer."""
        return self.results or ("",)


def text(draw: random.Random, words: int) -> str:
    """So many everyday words that no other draw gives."""
    said: list[str] = []
    while len(said) < words:
        number = str(draw.randrange(10_000))
        said += [draw.choice(VERBS), "the", draw.choice(NOUNS), number, "in", draw.choice(PATHS)]
    return " ".join(said[: max(words, 1)])


def questions(count: int, words: int, tokens: int, seed: int = 0) -> list[Trace]:
    """`count` single questions of `words` words, their beginnings all different."""
    draw = random.Random(seed)
    return [Trace(({"role": "user", "content": text(draw, words)},), tokens) for _ in range(count)]


def agents(count: int, words: int, tokens: int, turns: int, seed: int = 0) -> list[Trace]:
    """`count` agents of `turns` turns each: one system message of `words` words for all, a short
    task, then calls whose results are an eighth of the system message.
    """
    draw = random.Random(seed)
    system = {"role": "system", "content": text(draw, words)}
    found = []
    for _ in range(count):
        results = tuple(text(draw, max(8, words // 8)) for _ in range(turns))
        task = {"role": "user", "content": text(draw, 12)}
        found.append(Trace((system, task), tokens, results))
    return found


def loops(
    count: int, words: int, grown: int, tokens: int, turns: int, seed: int = 0
) -> list[Trace]:
    """`count` agents of `turns` turns whose prompts begin with `words` words, half of them the same
    for all, and grow by `grown` words with each turn; answers have exactly `tokens` tokens.
    """
    draw = random.Random(seed)
    system = {"role": "system", "content": text(draw, words // 2)}
    found = []
    for _ in range(count):
        task = {"role": "user", "content": text(draw, words - words // 2)}
        results = tuple(text(draw, grown) for _ in range(turns))
        found.append(Trace((system, task), tokens, results, is_free=True))
    return found
