"""From a request to a shell command, in at most two steps: answer, or look up and then answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .consent import unasked

SYSTEM = "Reply with one shell command."
NUM_PAGES = 10
# nats that a command loses when it is not made from the page that the index puts first, whose
# order is evidence of its own, and when it holds a placeholder as the page has it
NOT_FIRST, UNFILLED = 2.0, 3.0
# a command of a lower log-probability is a guess, and the index is asked
UNSURE = -1.0
PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}")
Message = dict[str, Any]


@dataclass(frozen=True)
class Candidate:
    """A model's possible message, its log-probability, and how many tokens it is."""

    message: Message
    logprob: float
    tokens: int = 0


@dataclass(frozen=True)
class Suggestion:
    """A command, its log-probability and number of tokens (those of the look-up before it
    included), and whether the index was asked.
    """

    command: str
    logprob: float
    looked_up: bool = False
    tokens: int = 0


Answers = Callable[[list[Message]], Sequence[Candidate]]
Pages = Sequence[tuple[str, str]]
LookUp = Callable[[str], Pages]


def suggest(request: str, answers: Answers, look_up: LookUp, count: int = 1) -> list[Suggestion]:
    """Up to `count` distinct commands for a request in any words, the likeliest first.

    answers(messages) gives possible messages, best first; look_up(query) gives pages as (what it
    does, command with {{placeholders}}), best first. A message that calls `lookup` is followed by
    the pages, and the commands chosen from them are as likely as both steps together; so is a mere
    guess. Commands that do harm which the request does not ask for are left out.
    """
    opening = [
        {"role": "system", "content": SYSTEM},
        {"role": "user", "content": request.strip()},
    ]
    found: list[Suggestion] = []
    asked: set[str] = set()
    for first in answers(opening)[: max(count, 1)]:
        query = _query(first.message, request)
        if query is None:
            found.append(Suggestion(_command(first.message), first.logprob, False, first.tokens))
        elif query not in asked:
            asked.add(query)
            found += _looked_up(opening, first, look_up(query), answers)
    if not asked and max((s.logprob for s in found), default=0.0) < UNSURE:
        # as if it had asked, for certain: a good page then outweighs the guess
        first = Candidate(_asking(request.strip()), 0.0)
        found += _looked_up(opening, first, look_up(request), answers)
    kept = _distinct([s for s in found if not unasked(request, s.command)])
    return kept[:count]


def _asking(request: str) -> Message:
    """The model's message when it looks a request up."""
    call = {"name": "lookup", "arguments": {"query": request}}
    calls = [{"id": "call_0", "type": "function", "function": call}]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def _looked_up(
    opening: list[Message], first: Candidate, found: Pages, answers: Answers
) -> list[Suggestion]:
    """The commands that the model makes of the pages it has asked for."""
    told = {"role": "tool", "content": pages(found), "name": "lookup"}
    request = opening[-1]["content"]
    made = [c for c in answers([*opening, first.message, told]) if _query(c.message, "") is None]
    return [_after(first, second, found, request) for second in made]


def _after(first: Candidate, second: Candidate, found: Pages, request: str) -> Suggestion:
    """The command of an answer to a look-up."""
    command, tokens = _command(second.message), first.tokens + second.tokens
    logprob = first.logprob + second.logprob
    if found and not _made_from(command, found[0][1]):
        logprob -= NOT_FIRST
    left = {
        p for _, template in found for p in PLACEHOLDER.findall(template) if re.search("[/_]", p)
    }
    if any(p in command and p not in request for p in left):
        logprob -= UNFILLED
    return Suggestion(command, logprob, True, tokens)


def _made_from(command: str, template: str) -> bool:
    """Whether a command is a page's with its {{placeholders}} filled."""
    parts = PLACEHOLDER.split(template)[::2]
    pattern = r"\s*" + ".+?".join(map(re.escape, parts)) + r"\s*"
    return re.fullmatch(pattern, command, re.S) is not None


def pages(found: Pages) -> str:
    """The numbered lines that a look-up hands back."""
    return "\n".join(f"{i}. {ask} :: {command}" for i, (ask, command) in enumerate(found, 1))


def _query(message: Message, request: str) -> str | None:
    """What the message looks up; None when it does not."""
    for call in message.get("tool_calls") or []:
        if call["function"]["name"] != "lookup":
            continue
        given = call["function"]["arguments"]
        try:
            given = json.loads(given) if isinstance(given, str) else given
            return str(given["query"])
        except (ValueError, KeyError, TypeError):
            # the wish is plain even where the call is not
            return request
    return None


def _command(message: Message) -> str:
    lines = (message.get("content") or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def _distinct(found: list[Suggestion]) -> list[Suggestion]:
    best: dict[str, Suggestion] = {}
    for s in sorted(found, key=lambda s: -s.logprob):
        if s.command:
            best.setdefault(s.command, s)
    return list(best.values())
