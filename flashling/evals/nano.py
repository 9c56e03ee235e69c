"""How good the embedded model is: shell requests run in a sandbox, held-out tldr pages, tool calls,
copying and speed, each beside what counting words alone reaches.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..agent.shell import Suggestion
from ..llm import LLM, Answer
from ..sampling import Sampling
from ..tasks.shell.tldr import Index, skeleton
from . import tools

Report = dict[str, Any]
GREEDY = Sampling(temperature=0.0, max_tokens=256)
# held-out pages that are asked for
PAGES = 300


class Subject:
    """What is examined: a model that answers requests, and the index of pages beside it."""

    def __init__(self, llm: LLM) -> None:
        self.llm, self.index = llm, Index.load()

    def commands(self, request: str, count: int) -> list[Suggestion]:
        """Up to `count` commands for a request, best first."""
        return self.llm.commands(request, count)

    def calls(self, item: dict) -> dict[str, Any]:
        """The answer to an item of function calling, as `tools.score` reads it."""
        answer = self.llm.chat(item["messages"], item["tools"], GREEDY, stream=False)
        assert isinstance(answer, Answer)
        made = [_call(c["function"]) for c in answer.calls]
        return {"calls": made, "content": answer.content, "tokens": len(answer.tokens)}


def _call(function: dict[str, Any]) -> dict[str, Any]:
    given = function["arguments"]
    # what is not JSON is kept as text: it equals no expected arguments
    with contextlib.suppress(ValueError):
        given = json.loads(given) if isinstance(given, str) else given
    return {"name": function["name"], "arguments": given}


def shell(subject: Subject, limit: int | None = None) -> Report:
    """Requests written by hand, each command run on a small file tree and judged by its result.

    Shares by language: right with the first command, right within three; the number of first
    commands that destroyed what the request did not mention; the index alone beside them: its best
    example as it stands, and any of its ten.
    """
    from . import shell as judged

    items = judged.load()[:limit]
    rows = []
    for item in items:
        found = subject.commands(item["request"], 3)
        commands = [s.command for s in found]
        verdicts = [judged.judge(item, c) for c in commands]
        pages = [_bare(e.command) for e in subject.index.search(item["request"])]
        rows.append(
            {
                "id": item["id"],
                "lang": item["lang"],
                "request": item["request"],
                "commands": commands,
                "why": [v.why for v in verdicts],
                "first": bool(verdicts and verdicts[0].ok),
                "within_three": any(v.ok for v in verdicts),
                "destroyed": bool(verdicts and verdicts[0].destroyed),
                "index_first": bool(pages) and judged.judge(item, pages[0]).ok,
                "tokens": found[0].tokens if found else 0,
            }
        )
    keys = ("first", "within_three", "destroyed", "index_first", "tokens")
    return {"by_lang": _means(rows, keys), "rows": rows}


def _bare(command: str) -> str:
    return command.replace("{{", "").replace("}}", "")


def _means(rows: list[dict], keys: Sequence[str]) -> dict[str, dict[str, float]]:
    groups = {"all": rows}
    for row in rows:
        groups.setdefault(row["lang"], []).append(row)
    return {
        lang: {"items": len(group)} | {k: sum(r[k] for r in group) / len(group) for k in keys}
        for lang, group in groups.items()
        if group
    }


def pages(subject: Subject, limit: int | None = None) -> Report:
    """Held-out tldr pages: is the command's template right, by the model and by the index alone?

    Every so many of all, so that `limit` (PAGES unless told) of them are spread over the index.
    """
    from ..tasks.shell.lookup import fits, held_out

    rows, every = [], held_out(subject.index)
    for item in every[:: max(1, len(every) // (limit or PAGES))]:
        [best] = subject.commands(item["request"], 1) or [Suggestion("", 0.0)]
        rows.append(
            {
                "lang": item["lang"],
                "request": item["request"],
                "expected": item["expected"],
                "command": best.command,
                "looked_up": best.looked_up,
                "exact": best.command == item["expected"],
                "template": fits(best.command, item["template"]),
                "index_first": skeleton(item["index_first"]) == skeleton(item["template"]),
            }
        )
    keys = ("exact", "template", "index_first", "looked_up")
    return {"by_lang": _means(rows, keys), "rows": rows}


def calling(subject: Subject, name: str, limit: int | None = None) -> Report:
    """A set of function calls (`tools` or `copy`), and the baseline that counts words."""
    items = tools.load(name)[:limit]
    answers = [subject.calls(item) for item in items]
    rows = [
        {"id": i["id"], "request": i["messages"][-1]["content"], "expected": i["expected"]} | a
        for i, a in zip(items, answers, strict=True)
    ]
    baseline = [tools.baseline(item) for item in items]
    return {
        "score": tools.score(items, answers),
        "baseline": tools.score(items, baseline)["all"]["all"],
        "rows": rows,
    }


def speed(subject: Subject) -> Report:
    """Seconds to the first token of a prompt of 200 tokens, and tokens a second after it."""
    import torch

    llm = subject.llm
    words = llm.tokenizer.encode("list the files in this folder by size and then " * 40)
    first, rates = [], []
    for n in range(5):
        # another first token each time: nothing is reused
        sampling = Sampling(temperature=0.0, max_tokens=64)
        *_, answer = llm.complete([20 + n, *words[:199]], sampling)
        assert isinstance(answer, Answer)
        first.append(answer.usage.first_seconds)
        if answer.usage.output_tokens > 8:
            rates.append(answer.usage.tokens_per_second)
    middle = sorted(rates)[len(rates) // 2] if rates else None
    return {
        "first_seconds": sorted(first)[2],
        "tokens_per_second": middle,
        "threads": torch.get_num_threads(),
    }


PARTS: dict[str, Callable[[Subject, int | None], Report]] = {
    "shell": shell,
    "pages": pages,
    "tools": lambda s, n: calling(s, "tools", n),
    "copy": lambda s, n: calling(s, "copy", n),
    "speed": lambda s, n: speed(s),
}


def run(
    model: str | Path | None = None,
    parts: Sequence[str] = tuple(PARTS),
    out: str | Path | None = None,
    limit: int | None = None,
) -> Report:
    """Examine a model (the embedded one by default) and write the whole report to `out`.

    parts: of `PARTS`. limit: items of each part. ValueError names an unknown part.
    """
    unknown = set(parts) - set(PARTS)
    if unknown:
        raise ValueError(f"part {sorted(unknown)[0]!r} is unknown; choose from {', '.join(PARTS)}")
    subject = Subject(LLM(model or "embedded"))
    report: Report = {}
    for part in parts:
        began = time.perf_counter()
        report[part] = PARTS[part](subject, limit)
        report[part]["seconds"] = round(time.perf_counter() - began, 1)
    if out:
        text = json.dumps(report, ensure_ascii=False, indent=1)
        Path(out).write_text(text + "\n", encoding="utf-8")
    return report


def main(*arguments: str) -> None:
    """`flashling eval nano [MODEL] [PART ...] [out=FILE] [limit=N]`: run, and print a table."""
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    plain = [a for a in arguments if "=" not in a]
    unknown = set(options) - {"out", "limit"}
    if unknown:
        raise ValueError(f"{sorted(unknown)[0]!r} is no option; there are out=FILE and limit=N")
    parts = [a for a in plain if a in PARTS] or list(PARTS)
    models = [a for a in plain if a not in PARTS]
    if len(models) > 1:
        raise ValueError(f"{models[1]!r} is no part; choose from {', '.join(PARTS)}")
    limit = int(options["limit"]) if "limit" in options else None
    report = run(models[0] if models else None, parts, options.get("out"), limit)
    for line in table(report):
        print(line)


def table(report: Report) -> list[str]:
    """The report in lines: a name and a figure each."""
    lines = []
    for part in ("shell", "pages"):
        for lang, found in report.get(part, {}).get("by_lang", {}).items():
            told = [f"{k} {_figure(k, v)}" for k, v in found.items()]
            lines.append(f"{part:6} {lang:4} " + "  ".join(told))
    for part in ("tools", "copy"):
        for by, groups in report.get(part, {}).get("score", {}).items():
            for key, found in groups.items():
                told = [f"{k} {_figure(k, v)}" for k, v in found.items() if v is not None]
                lines.append(f"{part:6} {by} {key}: " + "  ".join(told))
    if "speed" in report:
        told = [f"{k} {v}" for k, v in report["speed"].items()]
        lines.append("speed  " + "  ".join(told))
    return lines


def _figure(key: str, value: float) -> str:
    return (
        f"{value:.1f}" if key == "tokens" else f"{value:.0f}" if key == "items" else f"{value:.1%}"
    )
