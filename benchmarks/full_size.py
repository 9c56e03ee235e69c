"""docs/full-size.md: what `bench engine` has measured of the whole model on one device."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import mean
from typing import Any

from flashling.bench.engine.memory import DEVICES

from .figures import RESULTS

SOURCE = "engine-nvidia-h200.json"
REMEDY = "run python3 -m benchmarks.twin out=benchmarks/results on one GPU"
GB = 1e9

# wheels for Python 3.12 and 64-bit Arm, of the versions that tests run with, by the package index
AARCH64 = {
    "torch 2.13.0": "manylinux_2_28",
    "triton 3.6.0": "manylinux_2_27",
    "numpy 2.4.6": "manylinux_2_27",
    "safetensors 0.8.0": "manylinux_2_17",
    "tokenizers 0.23.3": "manylinux_2_17",
    "msgspec 0.22.0": "manylinux_2_17",
    "minijinja 3.1.0": "manylinux_2_17",
    "llguidance 1.9.1": "manylinux_2_31",
}

Row = dict[str, Any]
Report = dict[str, Any]


def page(source: Path = RESULTS / SOURCE) -> str:
    """docs/full-size.md; where nothing is measured yet, what is to be run."""
    parts = ["# The whole model on one device", "Made by `make docs` from the results of a run."]
    if not source.exists():
        return "\n\n".join([*parts, f"Nothing is measured yet: {REMEDY}."]) + "\n"
    report = json.loads(source.read_text("utf-8"))
    parts.append(_about(report))
    for title, told, make in SECTIONS:
        if body := make(report):
            parts += [f"## {title}", told, body]
    return "\n\n".join(parts) + "\n"


def _about(report: Report) -> str:
    lines = [
        "Random weights: speed and memory, never quality. Rows may come from several runs:",
        "",
    ]
    for run in report["runs"]:
        reads = run.get("read_bytes_per_s")
        found = f"; reads {reads / 1e12:.2f} TB/s" if reads else ""
        facts = f"{run['device']}, torch {run['torch']}, commit {run['commit']}"
        lines.append(f"- {facts}: {run['model']}, {run['layers']} layers{found}")
    return "\n".join(lines)


def table(head: Iterable[object], rows: Iterable[Iterable[object]]) -> str:
    """A table in Markdown."""
    lines = [[*head], ["---"] * len([*head]), *([*r] for r in rows)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def good(report: Report, part: str) -> list[Row]:
    """Rows of cells that ran."""
    return [r for r in report.get(part, ()) if "missing_bytes" not in r and "error" not in r]


def values(rows: Iterable[Row], key: str) -> list[Any]:
    """What the rows have under a key: without doubles, numbers in order."""
    found = list(dict.fromkeys(r[key] for r in rows if key in r))
    return sorted(found) if all(isinstance(v, int) for v in found) else found


def _memory(report: Report) -> str:
    rows = []
    for r in report.get("memory", ()):
        fits = [_fits(r["fits"][str(d)]) for d in DEVICES]
        rows.append([r["recipe"], f"{r['weights'] / GB:.1f}", *fits])
    return table(["recipe", "weights, GB", *(f"{d} GB" for d in DEVICES)], rows) if rows else ""


def _fits(found: Row) -> str:
    if "missing" in found:
        return f"{found['missing'] / GB:.1f} GB missing"
    return f"{found['longest']:,} ({found['together']:,})"


def _errors(report: Report) -> str:
    rows = []
    for r in report.get("errors", ()):
        if "refused" in r:
            rows.append([r["recipe"], r["refused"], "", "", ""])
        else:
            first = f"{r['layers'][0]:.2%}"
            numbers = f"{r['hidden']:.2%}", f"{r['kl']:.4f}", f"{r['same_token']:.1%}"
            rows.append([r["recipe"], first, *numbers])
    head = ["recipe", "after one layer", "final rows", "KL, nats", "same likeliest token"]
    return table(head, rows) if rows else ""


def _decode(report: Report) -> str:
    found = []
    for recipe in values(report.get("decode", ()), "recipe"):
        rows = [
            r
            for r in report["decode"]
            if r["recipe"] == recipe and r.get("routing", "random") == "random"
        ]
        contexts, cells = values(rows, "context"), {}
        for r in rows:
            cells[r["batch"], r["context"]] = _cell(r)
        lines = [[b, *(cells.get((b, c), "") for c in contexts)] for b in values(rows, "batch")]
        found.append(f"### {recipe}\n\n{table(['batch', *(f'{c:,}' for c in contexts)], lines)}")
    return "\n\n".join(found)


def _cell(r: Row) -> str:
    if "missing_bytes" in r:
        return f"{r['missing_bytes'] / GB:.1f} GB missing"
    if "error" in r:
        return "failed"
    return f"**{r['tokens_per_s']:,.0f}** ({r['ms_mean']:.2f} ms, {r['of_limit']:.0%})"


def _experts(report: Report) -> str:
    rows = good(report, "decode")
    kinds = values(rows, "routing")
    if len(kinds) < 2:
        return ""
    context = next(r["context"] for r in rows if r["routing"] == kinds[1])
    lines = []
    for recipe in values(rows, "recipe"):
        here = [r for r in rows if r["recipe"] == recipe and r["context"] == context]
        for batch in values(here, "batch"):
            by = {r["routing"]: r for r in here if r["batch"] == batch}
            told = [
                f"{mean(by[k]['distinct_experts']):.1f} ({by[k]['ms_mean']:.2f} ms)"
                if k in by
                else ""
                for k in kinds
            ]
            lines.append([recipe, batch, *told])
    return table(["recipe", "batch", *kinds], lines)


def _met(r: Row | None) -> str:
    return f"{mean(r['distinct_experts']):.1f} ({r['ms_mean']:.2f} ms)" if r else ""


def _drafts(report: Report) -> str:
    rows, lines = good(report, "drafts"), []
    kinds, cells = values(rows, "forced"), {}
    for r in rows:
        cells.setdefault((r["recipe"], r["batch"], r["drafts"]), {})[r["forced"]] = r
    for cell, by in cells.items():
        r = next(iter(by.values()))
        told = f"{r['plain_ms']:.2f}", f"{r['ms_mean']:.2f}", f"{r['break_even']:.2f}"
        experts = f"{mean(r['distinct_experts']):.1f}"
        lines.append([*cell, *told, experts, *(_gain(by.get(k)) for k in kinds)])
    head = ["recipe", "batch", "drafts", "plain, ms", "ms", "break-even", "experts"]
    return table(head + [f"{k:g} tokens" for k in kinds], lines) if lines else ""


def _gain(r: Row | None) -> str:
    """Tokens a second, in bold where they are more than the plain step's."""
    if r is None:
        return ""
    told = f"{r['tokens_per_s']:,.0f}"
    return f"**{told}**" if r["tokens_per_s"] > r["plain_tokens_per_s"] else told


def _prefill(report: Report) -> str:
    lines = []
    for r in report.get("prefill", ()):
        if "ttft_ms" in r:
            told = f"{r['tokens_per_s']:,.0f}", f"{r['ttft_ms']:,.0f}", r["chunk"]
        else:
            told = _cell(r), "", ""
        lines.append([r["recipe"], f"{r['tokens']:,}", *told])
    head = ["recipe", "prompt", "tokens/s", "first token after, ms", "chunk"]
    return table(head, lines) if lines else ""


def _trace(report: Report) -> str:
    rows = good(report, "trace")
    names = list(dict.fromkeys(name for r in rows for name in r["ops_ms"]))
    times = timed(report, "decode") | timed(report, "prefill")
    lines = []
    for r in rows:
        what = f"step of {r['batch']}" if "batch" in r else f"prompt of {r['tokens']:,}"
        total, whole = sum(r["ops_ms"].values()), times.get(cell_of(r))
        shares = [_ms(r["ops_ms"].get(n)) for n in names]
        lines.append([f"{r['recipe']}, {what}", _ms(whole), _ms(total), *shares])
    return table(["milliseconds", "timed", "kernels", *names], lines) if lines else ""


def _ms(found: float | None) -> str:
    return "" if found is None else f"{found:.2f}"


def _twin(report: Report) -> str:
    lines = [
        [name, f"{place:,}", f"{ratio:.2f}"]
        for part in ("decode", "prefill")
        for name, points in ratios(report, part).items()
        for place, ratio in points
    ]
    return table(["", "context", "twin's time / ours"], lines) if lines else ""


def cell_of(r: Row) -> tuple[Any, ...]:
    """What is alike in the rows of one cell in all parts."""
    return tuple(r.get(k) for k in ("recipe", "batch", "context", "tokens"))


def timed(report: Report, part: str) -> dict[tuple[Any, ...], float]:
    """Milliseconds of each cell of "decode" (with routing that is not skewed) or "prefill"."""
    time = "ms_mean" if part == "decode" else "ttft_ms"
    rows = [r for r in good(report, part) if r.get("routing", "random") == "random"]
    return {cell_of(r): r[time] for r in rows}


def ratios(report: Report, part: str) -> dict[str, list[tuple[int, float]]]:
    """The twin's time over the model's in "decode", by recipe and batch, or in "prefill": points
    of context and ratio, for cells that both have.
    """
    ours = timed(report, part)
    time, place = ("ms_mean", "context") if part == "decode" else ("ttft_ms", "tokens")
    found: dict[str, list[tuple[int, float]]] = {}
    for r in sorted(good(report, "twin"), key=lambda r: (r.get("batch", 0), r.get(place, 0))):
        if place in r and cell_of(r) in ours:
            what = f"batch {r['batch']}" if "batch" in r else "prompt"
            points = found.setdefault(f"{r['recipe']}, {what}", [])
            points.append((r[place], r[time] / ours[cell_of(r)]))
    return found


def _wheels(report: Report) -> str:
    return table(["package", "wheel for aarch64"], AARCH64.items())


SECTIONS: tuple[tuple[str, str, Callable[[Report], str]], ...] = (
    (
        "What fits",
        "By arithmetic: the longest context of one sequence, and in brackets the sequences of "
        "4,096 tokens at once, in 92 % of a device.",
        _memory,
    ),
    (
        "What recipes cost",
        "One group of layers at the model's width, random weights in bf16 and quantised: median "
        "relative error of a row, and what becomes of the logits.",
        _errors,
    ),
    (
        "Decode",
        "Tokens a second from the embedding to the drawn token; milliseconds of a step (mean of "
        "128, which cover all phases of a chunk), and the part of the speed that reading its "
        "bytes at the measured bandwidth would allow.",
        _decode,
    ),
    (
        "Experts that a step meets",
        "Distinct experts of a layer, mean over layers, and the step's time: router logits of unit "
        "deviation alone, and with expert biases of the deviation named.",
        _experts,
    ),
    (
        "Drafts",
        "Steps that draft with an MTP layer, beside the plain step: milliseconds, the tokens of a "
        "sequence and step from which on they are worth it, distinct experts of a layer, and "
        "tokens a second where drafts are taken by chance so that a step gives so many tokens of a "
        "sequence in the mean (less where a chunk ends); bold where that is more than without.",
        _drafts,
    ),
    ("Prefill", "One prompt in chunks, the draw of its first token included.", _prefill),
    ("Where the time goes", "Kernels by op, from a trace; kernels may overlap.", _trace),
    (
        "Beside softmax attention",
        "The same model whose Lightning layers are softmax attention with 4 heads of keys and "
        "values (`benchmarks/twin.py`), at equal batch and context.",
        _twin,
    ),
    (
        "On 64-bit Arm",
        "What the package needs that is not Python alone, as the package index has it; installed "
        "and run on no such machine yet. With `int4-all` a DGX Spark's 128 GB hold the model, "
        "its system and 131,072 tokens; speeds there are predicted from bytes alone "
        "(`flashling info`).",
        _wheels,
    ),
)
