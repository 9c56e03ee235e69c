"""Looking commands up: a request, the ten nearest examples of the tldr index, the right command."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

from .placeholders import fill
from .tldr import PLACEHOLDER, Entry, Index, head, is_held_out, skeleton
from .wording import named, worded

SYSTEM = "Reply with one shell command."
NUM_LINES = 10
# shares: requests in Chinese, requests that name the program unasked, rows kept that show help
CHINESE, NAMES, HELP = 0.38, 0.4, 0.12
ABOUT_ITSELF = re.compile(
    r"(display|show|print|view) (the )?(help|version)|显示(帮助|版本)|打印(帮助|版本)", re.I
)
# share of samples whose right line is put at a random place
MOVED = 0.12
# characters of what an example does and how, above which nobody would ask for it
LONGEST = 220


@cache
def closed() -> frozenset[str]:
    """Programs of the closed world: the model answers for them by itself, without a look-up."""
    return frozenset(Path(__file__).with_name("data").joinpath("closed.txt").read_text().split())


def program(entry: Entry) -> str:
    """The program that an example runs."""
    return head(entry.command).partition(" ")[0]


def answerable(index: Index, split: str) -> dict[str, list[int]]:
    """Rows that a split asks for, by language; ValueError for an unknown split."""
    if split not in ("train", "test"):
        raise ValueError(f"split {split!r} is not known: take train or test")
    found: dict[str, list[int]] = {"en": [], "zh": []}
    for i, e in enumerate(index.entries):
        open_world = program(e) not in closed() and e.page not in closed()
        if open_world and _is_plain(e) and is_held_out(e.page) == (split == "test"):
            found[e.lang].append(i)
    return found


def _is_plain(entry: Entry) -> bool:
    """Whether an example is a command line of one program, short, and clear when filled in."""
    braces = "\\{" in entry.command or re.search(r"[{}]{2}", PLACEHOLDER.sub("", entry.command))
    keys = "<" in entry.command.partition(" ")[0]
    short = len(entry.command) + len(entry.ask) <= LONGEST
    return not (braces or keys) and short and re.fullmatch(r"[\w.+-]+", program(entry)) is not None


def pages(found: Sequence[Entry]) -> str:
    """The numbered lines that the look-up hands to the model."""
    return "\n".join(f"{i}. {e.ask} :: {e.command}" for i, e in enumerate(found, 1))


def samples(seed: int, index: Index | None = None, split: str = "train") -> Iterator[dict]:
    """Endless look-ups, the same for the same seed, index and split ("train" or "test").

    Each is {"messages", "tools": None, "kind": "lookup", "lang", "page", "template"}; the lines are
    what the index finds for the request, the right one put among them where it is missing.
    """
    index = index or Index.load()
    rng = random.Random(f"lookup {split} {seed}")
    rows = answerable(index, split)
    while True:
        lang = "zh" if rng.random() < CHINESE else "en"
        row = rng.choice(rows[lang])
        if ABOUT_ITSELF.match(index.entries[row].ask) and rng.random() > HELP:
            continue
        yield _sample(index, row, rng)


def _sample(index: Index, row: int, rng: random.Random) -> dict:
    entry = index.entries[row]
    lang = entry.lang
    request, values = worded(entry.ask, entry.command, lang, rng)
    name = program(entry)
    is_named = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", request, re.I) is not None
    if not is_named and rng.random() < NAMES:
        request, is_named = named(request, _called(entry, rng), lang, rng), True
    found = index.rows(request, NUM_LINES)
    if not is_named and (row not in found or _unclear(index, row, found)):
        # nobody could tell from such a request which program is meant
        request = named(request, _called(entry, rng), lang, rng)
        found = index.rows(request, NUM_LINES)
    if row not in found or rng.random() < MOVED:
        # not always first, so that the words decide and not the place
        found = [i for i in found if i != row][: NUM_LINES - 1]
        found.insert(rng.randrange(len(found) + 1), row)
    lines = [index.entries[i] for i in found]
    call = {"name": "lookup", "arguments": {"query": request}}
    return {
        "messages": [
            {"role": "system", "content": SYSTEM},
            {"role": "user", "content": request},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_0", "type": "function", "function": call}],
            },
            {"role": "tool", "tool_call_id": "call_0", "name": "lookup", "content": pages(lines)},
            {"role": "assistant", "content": fill(entry.command, values)},
        ],
        "tools": None,
        "kind": "lookup",
        "lang": lang,
        "page": entry.page,
        "template": entry.command,
    }


def _called(entry: Entry, rng: random.Random) -> str:
    """The program as a person names it, with its subcommand now and then."""
    return head(entry.command) if rng.random() < 0.15 else program(entry)


def _unclear(index: Index, row: int, found: list[int]) -> bool:
    """Whether another program's line says the same as the right one."""
    entry = index.entries[row]
    said = re.sub(r"\W+", " ", entry.ask.lower())
    others = [index.entries[i] for i in found if i != row]
    return any(
        re.sub(r"\W+", " ", e.ask.lower()) == said and program(e) != program(entry) for e in others
    )


def held_out(index: Index, seed: int = 0) -> list[dict]:
    """Test rows of pages that training never answers with, the same for the same index and seed.

    Each is {"request": what the page says with values put in, not reworded, "expected": the
    command, "template": it with {{placeholders}}, "index_first": the template that the index alone
    would answer, "lang", "page"}. Right is a command that `fits` the template; the index's answer
    is right when `skeleton` of it equals that of the template.
    """
    rng = random.Random(f"held out {seed}")
    found = []
    for rows in answerable(index, "test").values():
        for row in rows:
            e = index.entries[row]
            request, values = worded(e.ask, e.command, e.lang, rng, rewrites=False)
            first = index.search(request, 1)
            found.append(
                {
                    "request": request,
                    "expected": fill(e.command, values),
                    "template": e.command,
                    "index_first": first[0].command if first else "",
                    "lang": e.lang,
                    "page": e.page,
                }
            )
    return found


def fits(command: str, template: str) -> bool:
    """Whether a command is the template with its placeholders filled in any way but braces."""
    if "{{" in command and "{{" not in skeleton(template):
        return False
    parts = [re.escape(p) for p in PLACEHOLDER.split(template)[::2]]
    return re.fullmatch(r"\s*" + ".+?".join(parts) + r"\s*", command, re.S) is not None
