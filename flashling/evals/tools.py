"""Function calling scored: are the calls exactly the right ones, are strings copied, is no call
made where none fits; and a baseline that only counts words.

An item is a row of `data/tools.jsonl` or `data/copy.jsonl`: {"id", "lang", "kind", "unseen",
"tools", "messages", "expected"}; expected calls are {"name", "arguments"} and perhaps "accept",
{argument: [values that are right as well, also where the argument is not expected]}.
An answer is {"calls": [{"name", "arguments"}], "content"} and perhaps "tokens", its length.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby, islice, permutations
from pathlib import Path
from typing import Any

from flashling.tasks.tools import samples

DATA = Path(__file__).parent / "data"
NAMES = ("tools", "copy")
# kinds whose right answer makes no call
SILENT = frozenset(("irrelevance", "missing"))
FITTED = 3000


def load(name: str) -> list[dict]:
    """The items of a set, `tools` (300) or `copy` (120). ValueError names the sets there are."""
    if name not in NAMES:
        raise ValueError(f"set {name!r}: choose one of {', '.join(NAMES)}")
    text = (DATA / f"{name}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def score(items: Sequence[dict], answers: Sequence[dict]) -> dict[str, dict[str, dict]]:
    """Shares (0 to 1) for all items, by language, by kind and by seen or unseen tools.

    Each group holds `items` (a count), `exact` (all calls right and no other; without expected
    calls: none made, something said), `choice` (the names alone), `missed` (of the items that
    expect calls, those answered without any), `hallucinated` (of the calls made, those of tools
    not declared), `irrelevance` and `missing` (exact within these kinds), `copied` (of the
    expected strings that the request holds, those that came out the same) and `tokens` per item.
    A share of nothing is None. ValueError when answers and items differ in number.
    """
    if len(items) != len(answers):
        raise ValueError(f"{len(answers)} answers for {len(items)} items: give one for each")
    rows = [_judge(item, answer) for item, answer in zip(items, answers, strict=True)]
    groups: dict[str, dict[str, list[dict]]] = {"all": {"all": rows}}
    for item, row in zip(items, rows, strict=True):
        seen = "unseen" if item["unseen"] else "seen"
        for by, key in (("lang", item["lang"]), ("kind", item["kind"]), ("tools", seen)):
            groups.setdefault(by, {}).setdefault(key, []).append(row)
    return {
        by: {key: _summary(group) for key, group in sorted(parts.items())}
        for by, parts in groups.items()
    }


def _judge(item: dict, answer: dict) -> dict[str, Any]:
    """Counts for one item; pairs are (right, of how many)."""
    calls, expected = answer.get("calls") or [], item["expected"]
    declared = {tool["function"]["name"] for tool in item["tools"]}
    names = Counter(call["name"] for call in calls)
    wanted = Counter(call["name"] for call in expected)
    exact = same_calls(expected, calls) and bool(calls or (answer.get("content") or "").strip())
    kind = item["kind"]
    unknown = sum(count for name, count in names.items() if name not in declared)
    return {
        "exact": (exact, 1),
        "choice": (names == wanted, 1),
        "missed": (bool(expected) and not calls, bool(expected)),
        "hallucinated": (unknown, len(calls)),
        "irrelevance": (exact and kind == "irrelevance", kind == "irrelevance"),
        "missing": (exact and kind == "missing", kind == "missing"),
        "copied": _copied(item, calls),
        "tokens": (answer.get("tokens") or 0, answer.get("tokens") is not None),
    }


def _copied(item: dict, calls: list[dict]) -> tuple[int, int]:
    """Expected strings that stand in the request, and how many of them a call holds exactly."""
    said = "\n".join(m["content"] for m in item["messages"] if m["role"] == "user")
    right = total = 0
    for want in item["expected"]:
        for key, value in want["arguments"].items():
            if isinstance(value, str) and value in said:
                total += 1
                right += any(
                    call["name"] == want["name"] and _arguments(call).get(key) == value
                    for call in calls
                )
    return right, total


def _summary(rows: Iterable[dict]) -> dict[str, Any]:
    rows = list(rows)
    out: dict[str, Any] = {"items": len(rows)}
    for key in rows[0]:
        right, total = (sum(row[key][i] for row in rows) for i in range(2))
        out[key] = right / total if total else None
    return out


def same_calls(expected: Sequence[dict], calls: Sequence[dict]) -> bool:
    """Whether the calls are the expected ones, in any order, with acceptable arguments."""
    if len(expected) != len(calls):
        return False
    if Counter(c["name"] for c in expected) != Counter(c["name"] for c in calls):
        return False
    return any(
        all(_same(want, call) for want, call in zip(expected, order, strict=True))
        for order in permutations(calls)
    )


def _arguments(call: dict) -> dict:
    found = call.get("arguments")
    return found if isinstance(found, dict) else {}


def _same(want: dict, call: dict) -> bool:
    if want["name"] != call["name"] or not isinstance(call.get("arguments"), dict):
        return False
    right, accept, given = want["arguments"], want.get("accept", {}), call["arguments"]
    if not set(right) <= set(given):
        return False
    return all(
        (key in right and _equal(right[key], value))
        or any(_equal(other, value) for other in accept.get(key, ()))
        for key, value in given.items()
    )


def _equal(want: Any, value: Any) -> bool:
    """Equal as JSON: 5 is 5.0, but true is not 1 and "5" is not 5."""
    if isinstance(want, bool) or isinstance(value, bool):
        return want is value
    if isinstance(want, int | float) and isinstance(value, int | float):
        return want == value
    return type(want) is type(value) and want == value


def terms(text: str) -> list[str]:
    """Lower-case words of the Latin script (names in snake_case or camelCase taken apart), single
    Chinese characters, and the pairs of neighbours of each."""
    text = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).lower()
    words = re.findall(r"[a-z]+|[0-9]+", text)
    found = words + [" ".join(pair) for pair in zip(words, words[1:], strict=False)]
    for run in re.findall(r"[\u4e00-\u9fff]+", text):
        found += [*run, *(run[i : i + 2] for i in range(len(run) - 1))]
    return found


@dataclass(frozen=True)
class Weights:
    """Rarity of each term among tools, and the overlap below which no tool is chosen."""

    idf: dict[str, float]
    unknown: float
    threshold: float

    def closest(self, item: dict) -> tuple[str, float]:
        """Name of the declared tool nearest to the last request, and their cosine."""
        asked = self._vector(item["messages"][-1]["content"])
        best = [(_cosine(asked, self._vector(_text(t))), t) for t in item["tools"]]
        value, tool = max(best, key=lambda pair: pair[0])
        return tool["function"]["name"], value

    def _vector(self, text: str) -> dict[str, float]:
        counts = Counter(terms(text))
        return {t: n * self.idf.get(t, self.unknown) for t, n in counts.items()}


def _text(tool: dict) -> str:
    return f"{tool['function']['name']} {tool['function'].get('description', '')}"


def _cosine(a: dict[str, float], b: dict[str, float]) -> float:
    dot = sum(value * b.get(term, 0.0) for term, value in a.items())
    size = math.sqrt(sum(v * v for v in a.values()) * sum(v * v for v in b.values()))
    return dot / size if size else 0.0


@cache
def fitted() -> Weights:
    """Weights from training samples; the threshold is the one with the most right choices there."""
    found = [s for s in islice(samples(2024), FITTED) if s["sub"] in ("single", "choose", "none")]
    texts = [set(terms(_text(tool))) for sample in found for tool in sample["tools"]]
    counts = Counter(term for text in texts for term in text)
    idf = {term: math.log(len(texts) / count) + 1 for term, count in counts.items()}
    weights = Weights(idf, math.log(len(texts)) + 1, 0.0)
    tried = []
    for sample in found:
        answer = sample["messages"][2 if sample["messages"][0]["role"] == "system" else 1]
        calls = answer.get("tool_calls") or ()
        asked = sample["messages"][: sample["messages"].index(answer)]
        name, value = weights.closest({"messages": asked, "tools": sample["tools"]})
        tried.append((value, bool(calls) and calls[0]["function"]["name"] == name, not calls))
    return Weights(idf, weights.unknown, _threshold(tried))


def _threshold(tried: list[tuple[float, bool, bool]]) -> float:
    """The overlap that splits best; each trial is (overlap, right if called, right if not)."""
    right = most = sum(called for _, called, _ in tried)
    best = 0.0
    for value, group in groupby(sorted(tried), key=lambda trial: trial[0]):
        right += sum(silent - called for _, called, silent in group)
        if right > most:
            most, best = right, value
    return best


def baseline(item: dict) -> dict[str, Any]:
    """An answer without a model: one call, without arguments, of the tool whose name and
    description share the most weighted words with the request, or none below the threshold."""
    weights = fitted()
    name, value = weights.closest(item)
    if value <= weights.threshold:
        return {"calls": [], "content": "None of the tools can do that."}
    return {"calls": [{"name": name, "arguments": {}}], "content": ""}
