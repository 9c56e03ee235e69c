"""docs/served.md: what `flashling bench full` found, in tables."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from .figures import RESULTS
from .rows import Report, table

SOURCE = "serve-nvidia-h200.json"
NOTE = "Made by `make docs` from the results of a run."
REMEDY = "run python3 -m flashling.bench.full out=benchmarks/results on one GPU"
READ_AGAIN = (
    "Simulated, not measured: traces of agents' sessions on the engine's own tree, pages and "
    "keeper (`python3 -m benchmarks.agent_trace`), beside what other policies would keep in the "
    "same bytes."
)
HOWS = {"cold": "page cache dropped", "again": "from the page cache", "written": "written"}


def page(source: Path = RESULTS / SOURCE) -> str:
    """docs/served.md; where nothing is measured yet, what is to be run."""
    parts = ["# Served at full size", NOTE]
    if not source.exists():
        return "\n\n".join([*parts, f"Nothing is measured yet: {REMEDY}."]) + "\n"
    report = json.loads(source.read_text("utf-8"))
    for title, part, told, make in SECTIONS:
        rows = [
            {"recipe": report["runs"][r["run"]]["recipe"], **r}
            for r in report.get(part, ())
            if "error" not in r
        ]
        if not rows:
            continue
        facts = report["runs"][rows[0]["run"]]
        recipes = " and ".join(dict.fromkeys(r["recipe"] for r in rows))
        about = f"{facts['device']}, torch {facts['torch']}, {facts['model']} {recipes}"
        parts += [f"## {title}", f"{told} {about}, at {facts['commit']}.", make(rows)]
    parts += ["## What agents read again", READ_AGAIN, "![agent trace](figures/agent-trace.png)"]
    return "\n\n".join(parts) + "\n"


def _load(rows: list[Report]) -> str:
    found = []
    for r in rows:
        place, how = f"{r['folder']} ({r['kind']})", HOWS.get(r["how"], r["how"])
        if "predicted_whole_s" in r:
            numbers = [f"{r[k]:.2f}" for k in ("headers_s", "room_s", "weights_s", "gb_per_s")]
            numbers += [f"{r['host_peak_gb']:.1f}", f"{r['predicted_whole_s']:.0f}"]
        elif "ready_s" in r:
            numbers = ["", "", f"ready after {r['ready_s']:.1f}", "", "", ""]
        elif "kernels_s" in r:
            said = f"{r['weights_s']:.2f}, kernels beside {r['kernels_s']:.1f}"
            numbers = ["", "", said, "", "", ""]
        else:
            numbers = ["", "", "", f"{r['gb_per_s']:.2f}", "", ""]
        found.append([place, how, f"{r['gb']:.1f}", *numbers])
    head = ["folder", "how", "GB", "headers, s", "room, s", "weights, s", "GB/s"]
    return table([*head, "most host memory, GB", "predicted for the whole model, s"], found)


def _sessions(rows: list[Report]) -> str:
    found = [
        [r["from"], f"{r['tokens']:,}", f"{r['bytes'] / 1e6:.0f}", f"{r['first_token_ms']:.1f}"]
        + [f"{r['resume_ms']:.1f}", "yes" if r["same_tokens"] else "no"]
        for r in rows
    ]
    head = ["from", "tokens", "MB", "to the first token, ms", "beyond the device, ms"]
    return table([*head, "same token"], found)


def _mixed(rows: list[Report]) -> str:
    keys = ("alone_p50_ms", "alone_p99_ms", "beside_p50_ms", "beside_p99_ms", "prompt_ttft_ms")
    found = [
        [f"{r['budget']:,}", str(r["running"]), f"{r['prompt']:,}"]
        + [f"{r[k]:.1f}" for k in keys]
        + [f"{r['prompt_tokens_per_s']:,.0f}"]
        for r in rows
    ]
    head = ["rows of a step", "sequences", "prompt", "alone p50, ms", "alone p99, ms"]
    head += ["beside p50, ms", "beside p99, ms", "prompt read, ms", "prompt, tokens/s"]
    return table(head, found)


def _many(rows: list[Report]) -> str:
    found = []
    for r in rows:
        about = [r["recipe"], r["asked"], f"{r['prompt']:,} ({r['shared']:,})"]
        if "missing_bytes" in r:
            found.append([*about, f"{r['missing_bytes'] / 1e9:.1f} GB missing", *[""] * 8])
            continue
        numbers = [f"{r['tokens_per_s']:,.0f} ({r['ms_of_step']:.1f} ms)", f"{r['context']:,.0f}"]
        numbers.append(f"{r['read_s']:.1f} ({r['read_tokens_per_s']:,.0f})")
        numbers += [r["hits"], f"{r['checkpoints']} ({r['kept_bytes'] / 1e9:.1f})"]
        peak = f"{r['device_peak_gb']:.1f}" if "device_peak_gb" in r else ""
        found.append([*about, r["running"], *numbers, r["preempted"], r["failed"], peak])
    head = [
        "recipe",
        "asked",
        "prompt (shared)",
        "most at once",
        "tokens/s while all run",
        "mean context",
    ]
    head += ["all read after, s (tokens/s)", "hits", "checkpoints (GB)", "preempted", "failed"]
    return table([*head, "most GPU memory, GB"], found)


def _serve(rows: list[Report]) -> str:
    found = []
    for r in rows:
        times = [r["times"][kind][p] for kind in ("ttft", "tpot") for p in ("p50", "p90", "p99")]
        limits = f"{r['limits']['ttft']:g} s, {r['limits']['tpot'] * 1e3:g} ms"
        found.append(
            [f"{r['agents']} x {r['turns']}", f"{r['longest']:,}"]
            + [f"{1e3 * t:.0f}" for t in times[:3]]
            + [f"{1e3 * t:.1f}" for t in times[3:]]
            + [f"{r['within']:.0%} ({limits})", f"{r['goodput_per_s']:.2f}", f"{r['reused']:.0%}"]
            + [f"{r['device_peak_gb']:.1f}" if "device_peak_gb" in r else ""]
        )
    head = ["agents x turns", "longest prompt", "TTFT p50, ms", "p90", "p99", "TPOT p50, ms"]
    head += ["p90", "p99", "within limits", "of them a second", "prompt tokens reused"]
    return table([*head, "most GPU memory, GB"], found)


SECTIONS: tuple[tuple[str, str, str, Callable[[list[Report]], str]], ...] = (
    (
        "Loading",
        "load",
        "A checkpoint of true shapes and fewer layers; the last column is extrapolated by bytes, "
        "not measured.",
        _load,
    ),
    (
        "Sessions brought back",
        "sessions",
        "From `Engine.add` of the next turn to its first token; medians.",
        _sessions,
    ),
    (
        "Beside long prompts",
        "mixed",
        "Milliseconds between two tokens of the sequences that run, alone and while one prompt "
        "after the other is read.",
        _mixed,
    ),
    (
        "Many at once",
        "many",
        "Requests that come together to one engine: prompts with a common beginning that is in the "
        "cache. Those that are read draw beside the others, in steps of a limited number of rows; "
        "once all draw, 128 tokens of each are timed.",
        _many,
    ),
    (
        "Agents",
        "serve",
        "Over HTTP: prompts that grow from turn to turn, all agents at once, random weights.",
        _serve,
    ),
)
