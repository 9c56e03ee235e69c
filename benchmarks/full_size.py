"""docs/full-size.md: what `bench engine` has measured of the whole model on one device."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import mean

from flashling.bench.engine.memory import DEVICES

from .figures import RESULTS
from .rows import (
    Report,
    Row,
    cell_of,
    commits,
    good,
    name_of,
    ratios,
    read,
    table,
    timed,
    values,
)

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

# sections with a chart of `make figures`
CHARTS = {
    "Decode": "full-size-decode",
    "Prefill": "full-size-prefill",
    "Beside softmax attention": "full-size-twin",
}
# a part of a trace that has its own column in one row at least
SMALL = 0.01
# parts of a step: the ops of a trace that do them, and the bytes that they cannot but read
PARTS = {
    "experts": (("experts",), ("experts",)),
    "lightning": (("lightning",), ("states", "tails")),
    "mla": (("mla",), ("latents",)),
}


def page(source: Path = RESULTS / SOURCE) -> str:
    """docs/full-size.md; where nothing is measured yet, what is to be run."""
    parts = ["# The whole model on one device", "Made by `make docs` from the results of a run."]
    if not source.exists():
        return "\n\n".join([*parts, f"Nothing is measured yet: {REMEDY}."]) + "\n"
    report = read(source)
    parts.append(_about(report))
    for title, part, told, make in SECTIONS:
        if body := make(report):
            parts += [f"## {title}", " ".join(filter(None, [told, commits(report, part)])), body]
            if name := CHARTS.get(title):
                parts.append(f"![{title}](figures/{name}.png)")
    return "\n\n".join(parts) + "\n"


def _about(report: Report) -> str:
    lines = [
        "Random weights: speed and memory, never quality. Rows may come from several runs; under",
        "each title stands of which commits. Measured on:",
        "",
    ]
    places: dict[str, list[float]] = {}
    for run in report["runs"]:
        what = f"{run['device']}, torch {run['torch']}: {run['model']}, {run['layers']} layers"
        places.setdefault(what, []).append(run.get("read_bytes_per_s", 0) / 1e12)
    for what, found in places.items():
        reads = sorted({f"{r:.2f}" for r in found if r})
        span = " to ".join(dict.fromkeys([reads[0], reads[-1]])) if reads else ""
        lines.append(f"- {what}{f'; reads {span} TB/s' if span else ''}")
    return "\n".join(lines)


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
    lines, rows = [], report.get("prefill", ())
    for r in sorted(rows, key=lambda r: (r["recipe"], r["tokens"])):
        if "ttft_ms" in r:
            told = f"{r['tokens_per_s']:,.0f}", f"{r['ttft_ms']:,.0f}", r["chunk"]
        else:
            told = _cell(r), "", ""
        lines.append([r["recipe"], f"{r['tokens']:,}", *told])
    head = ["recipe", "prompt", "tokens/s", "first token after, ms", "chunk"]
    return table(head, lines) if lines else ""


def _exact(report: Report) -> str:
    lines = []
    for r in report.get("exact", ()):
        if "times" in r:
            lines.append([name_of(r), _ms(r["fast_ms"]), _ms(r["exact_ms"]), f"{r['times']:.2f}"])
        else:
            lines.append([name_of(r), r.get("refused") or _cell(r), "", ""])
    return table(["", "fast, ms", "exact, ms", "times"], lines) if lines else ""


def _traced(report: Report) -> list[Row]:
    """Rows of traces: steps by batch, then prompts by length."""
    rows = [r for r in good(report, "trace") if "ms_by_op" in r]
    return sorted(rows, key=lambda r: (r["recipe"], r.get("tokens", 0), r.get("batch", 0)))


def _trace(report: Report) -> str:
    rows = _traced(report)
    times = timed(report, "decode") | timed(report, "prefill")
    totals = [sum(r["ms_by_op"].values()) for r in rows]
    names = dict.fromkeys(
        name
        for r, total in zip(rows, totals, strict=True)
        for name, ms in r["ms_by_op"].items()
        if ms >= SMALL * total
    )
    lines = []
    for r, total in zip(rows, totals, strict=True):
        shown = [r["ms_by_op"].get(name, 0.0) for name in names]
        rest = max(0.0, total - sum(shown))
        lines.append([name_of(r), *map(_ms, [times.get(cell_of(r)), total, *shown, rest])])
    head = ["milliseconds", "timed", "traced", *names, "smaller ones"]
    return table(head, lines) if lines else ""


def _gap(report: Report) -> str:
    rows = [r for r in good(report, "decode") if r["routing"] == "random"]
    steps, lines = {cell_of(r): r for r in rows}, []
    for r in _traced(report):
        if step := steps.get(cell_of(r)):
            ms_of_byte = step["limit_ms"] / sum(step["bytes"].values())
            left, least = sum(r["ms_by_op"].values()), step["limit_ms"]
            told = []
            for ops, kinds in PARTS.values():
                took = sum(r["ms_by_op"].get(op, 0.0) for op in ops)
                bound = sum(step["bytes"][kind] for kind in kinds) * ms_of_byte
                left, least = left - took, least - bound
                told.append(f"{took:.2f} ({bound:.2f})")
            whole = f"{sum(r['ms_by_op'].values()):.2f} ({step['limit_ms']:.2f})"
            lines.append([name_of(r), whole, *told, f"{left:.2f} ({least:.2f})"])
    return table(["milliseconds", "traced", *PARTS, "all else"], lines) if lines else ""


def _ms(found: float | None) -> str:
    return "" if found is None else f"{found:.2f}"


def _twin(report: Report) -> str:
    found = []
    for part in ("decode", "prefill"):
        lines = ratios(report, part)
        places = sorted({place for points in lines.values() for place, _ in points})
        rows = []
        for (recipe, batch), points in lines.items():
            at = dict(points)
            shown = [f"{at[place]:.2f}" if place in at else "" for place in places]
            rows.append([recipe, "prompt" if batch is None else f"batch {batch}", *shown])
        if rows:
            found.append(table([part, "", *(f"{place:,}" for place in places)], rows))
    return "\n\n".join(found)


def _wheels(report: Report) -> str:
    return table(["package", "wheel for aarch64"], AARCH64.items())


# title, the part that is told, what it is, and its table
SECTIONS: tuple[tuple[str, str, str, Callable[[Report], str]], ...] = (
    (
        "What fits",
        "memory",
        "By arithmetic: the longest context of one sequence, and in brackets the sequences of "
        "4,096 tokens at once, in 92 % of a device.",
        _memory,
    ),
    (
        "What recipes cost",
        "errors",
        "One group of layers at the model's width, random weights in bf16 and quantised: median "
        "relative error of a row, and what becomes of the logits.",
        _errors,
    ),
    (
        "Decode",
        "decode",
        "Tokens a second from the embedding to the drawn token, by batch and tokens of context; in "
        "brackets milliseconds of a step (mean of 128, from 64 sequences on of 64: all phases of a "
        "chunk count alike), and the part of the speed that reading its bytes at the "
        "fastest measured bandwidth would allow. Where a cell does not fit: the bytes it misses.",
        _decode,
    ),
    (
        "Experts that a step meets",
        "decode",
        "Distinct experts of a layer, mean over layers, and the step's time: router logits of unit "
        "deviation alone, and with expert biases of the deviation named.",
        _experts,
    ),
    (
        "Drafts",
        "drafts",
        "Steps that draft with an MTP layer, beside the plain step: milliseconds, the tokens of a "
        "sequence and step from which on they are worth it, distinct experts of a layer, and "
        "tokens a second where drafts are taken by chance so that a step gives so many tokens of a "
        "sequence in the mean (less where a chunk ends); bold where that is more than without.",
        _drafts,
    ),
    ("Prefill", "prefill", "One prompt in chunks, the draw of its first token included.", _prefill),
    (
        "Exact mode",
        "exact",
        "Steps and a prompt in exact mode (`docs/numerics.md`), beside the same without, on one "
        "model in one run.",
        _exact,
    ),
    (
        "Where the time goes",
        "trace",
        "Milliseconds by op, from a trace of kernels. Timed: without a trace. Traced: from the "
        "first kernel's start to the last one's end, which is what the columns after it add up to; "
        "what it has beyond the time without, tracing costs. A kernel counts from the end of those "
        "before it to its own, since it may be launched early and wait for them; idle: no kernel "
        "runs.",
        _trace,
    ),
    (
        "Where the gap lies",
        "trace",
        "Of the same steps, each part's time, and in brackets the least that reading its bytes "
        "takes at the measured bandwidth: what lies between them is the gap to the limit. Weights "
        "of shared experts are counted in all else, although the kernels of experts read them.",
        _gap,
    ),
    (
        "Beside softmax attention",
        "twin",
        "The same model whose Lightning layers are softmax attention with 4 heads of keys and "
        "values (`benchmarks/twin.py`), at equal batch and context: the twin's time over ours.",
        _twin,
    ),
    (
        "On 64-bit Arm",
        "",
        "What the package needs that is not Python alone, as the package index has it; installed "
        "and run on no such machine yet. With `int4-all` a DGX Spark's 128 GB hold the model, "
        "its system and 131,072 tokens; speeds there are predicted from bytes alone "
        "(`flashling info`).",
        _wheels,
    ),
)
