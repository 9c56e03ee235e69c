"""From a request to a shell command, in at most two steps: answer, or look up and then answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .consent import unasked

SYSTEM = "Reply with one shell command."
NUM_PAGES = 10
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
LookUp = Callable[[str], Sequence[tuple[str, str]]]


def suggest(request: str, answers: Answers, look_up: LookUp, count: int = 1) -> list[Suggestion]:
    """Up to `count` distinct commands for a request in any words, the likeliest first.

    answers(messages) gives possible messages, best first; look_up(query) gives pages as (what it
    does, command with {{placeholders}}), best first. A message that calls `lookup` is followed by
    the pages, and the commands chosen from them are as likely as both steps together. Commands that
    do harm which the request does not ask for are left out.
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
            told = {"role": "tool", "content": pages(look_up(query)), "name": "lookup"}
            found += [
                _after(first, second)
                for second in answers([*opening, first.message, told])
                if _query(second.message, request) is None
            ]
    return _distinct([s for s in found if not unasked(request, s.command)])[:count]


def _after(first: Candidate, second: Candidate) -> Suggestion:
    """The command of an answer to a look-up."""
    logprob, tokens = first.logprob + second.logprob, first.tokens + second.tokens
    return Suggestion(_command(second.message), logprob, True, tokens)


def pages(found: Sequence[tuple[str, str]]) -> str:
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
