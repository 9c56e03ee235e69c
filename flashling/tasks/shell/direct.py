"""The rarer deeds of much-used commands: tldr examples answered at once, without a look-up."""

from __future__ import annotations

import random
from collections.abc import Iterator

from .lookup import ABOUT_ITSELF, HELP, LONGEST, closed, program
from .placeholders import fill
from .tldr import Index
from .wording import named, worded

SYSTEM = "Reply with one shell command."
# shares: requests in Chinese, requests that name the program
CHINESE, NAMES = 0.4, 0.35


def rows_of(index: Index) -> dict[str, list[int]]:
    """Rows of programs of the closed world, by language."""
    found: dict[str, list[int]] = {"en": [], "zh": []}
    for i, e in enumerate(index.entries):
        # git's own commands are written intents; its page has too many add-ons
        is_own = e.page.partition("-")[0] == program(e) != "git"
        # marks that a filled-in command could not be told from
        if (
            is_own
            and program(e) in closed()
            and "\\{" not in e.command
            and len(e.command) + len(e.ask) <= LONGEST
        ):
            found[e.lang].append(i)
    return found


def samples(seed: int, index: Index | None = None) -> Iterator[dict]:
    """Endless samples, the same for the same seed and index, in the form of `shell.samples`."""
    index = index or Index.load()
    rng = random.Random(f"direct {seed}")
    rows = rows_of(index)
    while True:
        lang = "zh" if rng.random() < CHINESE else "en"
        e = index.entries[rng.choice(rows[lang])]
        if ABOUT_ITSELF.match(e.ask) and rng.random() > HELP:
            continue
        request, values = worded(e.ask, e.command, lang, rng)
        if program(e) not in request and rng.random() < NAMES:
            request = named(request, program(e), lang, rng)
        yield {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": request},
                {"role": "assistant", "content": fill(e.command, values)},
            ],
            "tools": None,
            "kind": "shell",
            "lang": lang,
            "intent": f"tldr.{e.page}",
        }
