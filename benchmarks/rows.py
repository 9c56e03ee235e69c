"""Rows of a report of `bench engine`: which there are, what is alike in them, and as a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Report = dict[str, Any]


def read(source: Path) -> Report:
    """A report; what limits its steps is counted at the fastest reading of all its runs, since one
    that a GPU read slowly in would flatter its own.
    """
    report = json.loads(source.read_text("utf-8"))
    fastest = max((run.get("read_bytes_per_s", 0) for run in report["runs"]), default=0)
    for r in report.get("decode", ()):
        if fastest and "bytes" in r:
            r["limit_ms"] = 1e3 * sum(r["bytes"].values()) / fastest
            r["of_limit"] = r["limit_ms"] / r["ms_mean"]
    return report


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    lines = [[*head], ["---"] * len([*head]), *([*r] for r in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def good(report: Report, part: str) -> list[Row]:
    """Rows of cells that ran."""
    failures = ("missing_bytes", "error", "refused")
    return [r for r in report.get(part, ()) if not any(f in r for f in failures)]


def values(rows: Iterable[Row], key: str) -> list[Any]:
    """What the rows have under a key: without doubles, numbers in order."""
    found = list(dict.fromkeys(r[key] for r in rows if key in r))
    return sorted(found) if all(isinstance(v, int) for v in found) else found


def cell_of(r: Row) -> tuple[Any, ...]:
    """What is alike in the rows of one cell in all parts."""
    return tuple(r.get(k) for k in ("recipe", "batch", "context", "tokens"))


def name_of(r: Row) -> str:
    """A row's cell in words."""
    if "batch" in r:
        context = f" at {r['context']:,}" if "context" in r else ""
        return f"{r['recipe']}, step of {r['batch']}{context}"
    return f"{r['recipe']}, prompt of {r['tokens']:,}" if "tokens" in r else r["recipe"]


def commits(report: Report, part: str) -> str:
    """At which commits the rows of a part were measured: that of the most of them, and the cells
    of each other one.
    """
    by: dict[str, dict[str, None]] = {}
    for r in report.get(part, ()):
        commit = r.get("commit") or report["runs"][r["run"]]["commit"]
        by.setdefault(commit, {})[name_of(r)] = None
    if not by:
        return ""
    first, *others = sorted(by, key=lambda c: -len(by[c]))
    told = [f"Measured at {first}", *(f"at {c}: {_cells(list(by[c]))}" for c in others)]
    return ". Others ".join([told[0], "; ".join(told[1:])] if others else told) + "."


def _cells(names: list[str]) -> str:
    """Cells by name, or where there are many how many of each recipe."""
    if len(names) <= 4:
        return "; ".join(names)
    counts = Counter(name.split(",")[0] for name in names)
    return "; ".join(f"{n} of {recipe}" for recipe, n in counts.items())


def timed(report: Report, part: str) -> dict[tuple[Any, ...], float]:
    """Milliseconds of each cell of "decode" (with routing that is not skewed) or "prefill"."""
    time = "ms_mean" if part == "decode" else "ttft_ms"
    rows = [r for r in good(report, part) if r.get("routing", "random") == "random"]
    return {cell_of(r): r[time] for r in rows}


def ratios(report: Report, part: str) -> dict[tuple[str, int | None], list[tuple[int, float]]]:
    """The twin's time over the model's in "decode", by recipe and batch, or in "prefill", without
    a batch: points of context and ratio, for cells that both have.
    """
    ours = timed(report, part)
    time, place = ("ms_mean", "context") if part == "decode" else ("ttft_ms", "tokens")
    found: dict[tuple[str, int | None], list[tuple[int, float]]] = {}
    for r in sorted(good(report, "twin"), key=lambda r: (r.get("batch", 0), r.get(place, 0))):
        if place in r and cell_of(r) in ours:
            points = found.setdefault((r["recipe"], r.get("batch")), [])
            points.append((r[place], r[time] / ours[cell_of(r)]))
    return found
