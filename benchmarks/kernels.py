"""The page of the kernels: what each op runs on a GPU, what bounds it, and what was measured."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"
Row = dict[str, Any]

WORDS = Path(__file__).with_suffix(".md")
COLUMNS = "| case | runs | microseconds | GB/s | TFLOP/s | limit | of limit | same bits | peer |"


def page() -> str:
    """The page, with a table for each GPU of which there are results."""
    parts = [WORDS.read_text("utf-8").strip()]
    if compiled := sorted(RESULTS.glob("compiled*.json")):
        parts.append("## What the compiler makes of them")
        parts += [part for path in compiled for part in _compiled(path)]
    for path in sorted(RESULTS.glob("ops-*.json")):
        found = json.loads(path.read_text("utf-8"))
        if "ceilings" in found["about"]:
            parts += _measured(path, found)
    return "\n\n".join(parts) + "\n"


def _compiled(path: Path) -> Iterator[str]:
    found = json.loads(path.read_text("utf-8"))
    about = found["about"]
    yield (
        f"`{about['command']}` at {about['commit']}, on {about['cores']} cores of the machine of "
        f"{about['device']}: all kernels that serving the full model needs, compiled anew for GPUs "
        "at hand or not, with the tiles chosen there."
    )
    lines = ["| GPU | weights | kernels | seconds | most shared memory | spilled | amiss |"]
    lines.append("| --- " * 7 + "|")
    for row in found["rows"]:
        name, most = max(row["most"].items(), key=lambda x: x[1]["shared"])
        spills = [f"{n} {u['spilled']}" for n, u in row["most"].items() if u["spilled"]]
        amiss = [f"{n} does not compile" for n in row["failed"]]
        amiss += [f"{n} does not fit" for n in row["too_large"]]
        kind = f"sm_{row['kind']}" if row["kind"] != "here" else "here"
        cells = [kind, row["recipe"], row["kernels"], row["seconds"]]
        cells += [f"{most['shared']} ({name})", ", ".join(spills), ", ".join(amiss)]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    yield "\n".join(lines)


def _measured(path: Path, found: Row) -> Iterator[str]:
    about = found["about"]
    yield f"## {about['device']}"
    best = ", ".join(
        f"{k.replace('_per_s', '/s').replace('_', ' ')} {v}" for k, v in about["ceilings"].items()
    )
    yield (
        f"`{about['command']}` at {about['commit']}, torch {about['torch']}, {about['seconds']} s "
        f"in all, of which {about['compiled_s']} s to compile; `benchmarks/results/{path.name}`. "
        f"Reached by the GPU in that run: {best}."
    )
    for op in dict.fromkeys(row["op"] for row in found["rows"]):
        rows = [_line(row) for row in found["rows"] if row["op"] == op]
        yield "\n".join(
            [f"### {op}", "", COLUMNS, "| --- " * COLUMNS.count(" | ") + "| --- |", *rows]
        )


def _line(row: Row) -> str:
    if "wrong" in row:
        return f"| {row['case']} | `{row['how']}` | wrong: {row['wrong']} " + "| " * 6 + "|"
    same = {True: "yes", False: "no", None: ""}[row.get("same_bits")]
    cells = [row["case"], f"`{row['how']}`", row["us"], row["gb_per_s"], row.get("tflop_per_s", "")]
    cells += [row["limit"], f"{100 * row['of_limit']:.0f} %", same, _peer(row.get("peer"))]
    return "| " + " | ".join(map(str, cells)) + " |"


def _peer(found: Row | None) -> str:
    if found is None:
        return ""
    told = "other numbers" if "wrong" in found else "does not run here"
    return f"{found['us']} ({found['name']})" if "us" in found else f"{found['name']}: {told}"
