"""What requests cost: the counts of an answer, and the ledger of each key."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .turn import Turn

LOG = logging.getLogger("flashling.server")
SUMS = ("calls", "input_tokens", "cached_tokens", "output_tokens", "seconds")


def cached_of(turn: Turn) -> int:
    """Tokens of a turn's prompt that were still held."""
    return turn.cost.cached if turn.cost else 0


def usage_of(turn: Turn) -> dict[str, Any]:
    """A turn's counts in the form of OpenAI's answers."""
    return {
        "prompt_tokens": turn.prompt_tokens,
        "completion_tokens": turn.output_tokens,
        "total_tokens": turn.prompt_tokens + turn.output_tokens,
        "prompt_tokens_details": {"cached_tokens": cached_of(turn), **_source(turn)},
        "completion_tokens_details": {"reasoning_tokens": turn.reasoning_tokens},
    }


def _source(turn: Turn) -> dict[str, str]:
    """Where the part that was held came from, and why it was no more; known once it has begun."""
    cost = turn.cost
    if cost is None:
        return {}
    return {"restored_from": cost.restored_from, "miss_reason": cost.miss_reason}


def account_of(turn: Turn, operation: str, model: str, asked: str | None) -> dict[str, Any]:
    """A turn that is over, under the names of OpenTelemetry's GenAI conventions. asked: the model's
    name in the request.
    """
    return {
        "flashling.key": turn.client.name,
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": asked or model,
        "gen_ai.response.model": model,
        "gen_ai.response.id": turn.id,
        "gen_ai.response.finish_reasons": [
            turn.finishes.get(i, "abort") for i in range(turn.asked.samples)
        ],
        "gen_ai.usage.input_tokens": turn.prompt_tokens,
        "gen_ai.usage.cache_read.input_tokens": cached_of(turn),
        "gen_ai.usage.output_tokens": turn.output_tokens,
        "gen_ai.server.time_to_first_token": round(max(0.0, turn.first - turn.began), 6),
    }


class Ledger:
    """Sums by key, and a line for each request in `folder`/usage-DAY.jsonl (UTC): its account.
    Without a folder the sums last as long as the server.
    """

    def __init__(self, folder: Path | None) -> None:
        """ValueError if the folder cannot be written."""
        self._folder = folder
        self._sums: dict[str, dict[str, float]] = {}
        if folder is None:
            return
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"no ledger can be kept in {folder}: {error.strerror}") from None
        if not os.access(folder, os.W_OK):
            raise ValueError(f"no ledger can be kept in {folder}: it cannot be written")
        for file in sorted(folder.glob("usage-*.jsonl")):
            for line in file.read_text("utf-8", "replace").splitlines():
                self._read(line)

    def _read(self, line: str) -> None:
        try:
            told = json.loads(line)
            self._add(
                str(told["flashling.key"]),
                int(told["gen_ai.usage.input_tokens"]),
                int(told["gen_ai.usage.cache_read.input_tokens"]),
                int(told["gen_ai.usage.output_tokens"]),
                float(told["gen_ai.client.operation.duration"]),
            )
        except (ValueError, TypeError, KeyError):
            # a line that was cut off when the machine stopped
            LOG.warning("a line of the ledger cannot be read: %s", line[:80])

    def _add(self, key: str, *values: float) -> None:
        sums = self._sums.setdefault(key, dict.fromkeys(SUMS, 0))
        for name, value in zip(SUMS, (1, *values), strict=True):
            sums[name] += value

    def record(self, turn: Turn, account: Mapping[str, Any]) -> None:
        """Write a turn that is over. A full disk costs the line, not the request."""
        seconds, cached = turn.ended - turn.began, cached_of(turn)
        self._add(turn.client.name, turn.prompt_tokens, cached, turn.output_tokens, seconds)
        if self._folder is None:
            return
        line = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(turn.ended)),
            **account,
            "gen_ai.client.operation.duration": round(seconds, 6),
        }
        day = time.strftime("%Y-%m-%d", time.gmtime(turn.ended))
        try:
            with open(self._folder / f"usage-{day}.jsonl", "ab", buffering=0) as file:
                # in one write: lines of several servers do not mix
                file.write(json.dumps(line, ensure_ascii=False).encode() + b"\n")
        except OSError as error:
            LOG.error("the ledger could not be written: %s", error)

    def of(self, key: str) -> dict[str, float]:
        """The sums of one key."""
        return dict(self._sums.get(key, dict.fromkeys(SUMS, 0)))
