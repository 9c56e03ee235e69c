"""The measurements of a model on the device at hand, one cell after another, in one JSON file."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch

from ...engine.bits import check_exact
from ...model.ling import Ling
from . import decode, drafts, errors, exact, memory, prefill, timing
from .plan import Plan, read
from .ready import compile_exact, ready
from .recipes import RECIPES, recipe_of

Row = dict[str, Any]
# what tells the cells of a part apart, and what the rows of a cell: one that does not fit or that
# failed has a single row without these
CELL = ("recipe", "batch", "context", "tokens", "drafts")
KEYS = (*CELL, "routing", "forced")
# batches and prompts of which a trace is taken; batches that are run in exact mode too, of which
# the prompt is the first
TRACED, TRACED_PROMPTS, EXACT = 3, 4, 4
# experts' biases: as they are at the start of a training, and spread
SKEWS = (0.0, decode.SKEW)


class Bench:
    """A run of a plan: its model, its clock, and the file that rows are written to."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device, self.config, self.errors = plan, device, plan.config, 0
        seconds = float("inf") if plan.seconds is None else plan.seconds
        self._began = time.perf_counter()
        self._end = self._began + seconds
        facts = about(device, plan.commit) | {"model": plan.model}
        facts["layers"] = self.config.num_hidden_layers
        self.path = plan.out / f"engine-{_slug(facts['device'])}.json"
        self.report: dict[str, Any] = {"weights": "random: speed only", "runs": []}
        if self.path.exists():
            self.report = json.loads(self.path.read_text("utf-8"))
        self.report["runs"].append(facts)

    def is_over(self) -> bool:
        """Whether no further cell may begin."""
        return time.perf_counter() > self._end

    @cached_property
    def model(self) -> Ling:
        """The model of the plan's recipe. ValueError if it does not fit."""
        model, took = ready(self.config, self.device, self.plan.recipe)
        self.report["runs"][-1] |= took
        return model

    @cached_property
    def bandwidth(self) -> float:
        """Bytes a second that can be read."""
        found = timing.read_bandwidth(self.device)
        self.report["runs"][-1]["read_bytes_per_s"] = found
        return found

    def free(self) -> int:
        """Bytes beside the model, which is made if it is not there yet."""
        return memory.free_bytes(self.model.head.device)

    def measure(
        self, part: str, cell: Row, missing: int, call: Callable[[], Iterable[Row]]
    ) -> None:
        """Add what `call` finds of a cell, or the bytes that it misses; an error ends the cell
        alone, and is told in its row and by the run's exit status.
        """
        if missing:
            self.add(part, {**cell, "missing_bytes": missing})
            return
        try:
            for row in call():
                self.add(part, {**cell, **row})
        except Exception as error:
            self.errors += 1
            self.add(part, {**cell, "error": f"{type(error).__name__}: {error}"[:500]})
        # the next cell's past and graph take the place of this one's
        memory.free_bytes(self.device)

    def add(self, part: str, row: Row) -> None:
        """Print a row and write the file; it takes the place of earlier ones as `is_old` says."""
        last = self.report["runs"][-1]
        row = {"recipe": self.plan.recipe, **row, "run": len(self.report["runs"]) - 1}
        row["commit"] = last["commit"]
        kept = [r for r in self.report.get(part, ()) if not is_old(r, row)]
        self.report[part] = [*kept, row]
        self.path.write_text(json.dumps(self.report, indent=1) + "\n", "utf-8")
        short = {k: v for k, v in row.items() if not isinstance(v, (list, dict))}
        at = time.perf_counter() - self._began
        print(f"{at:.1f} s", part, json.dumps(short), flush=True)

    def cells(self, *lists: Sequence[int]) -> Iterator[tuple[int, ...]]:
        """All cells of the lists, the last changing first, until the time is over."""
        found: list[tuple[int, ...]] = [()]
        for one in lists:
            found = [(*cell, n) for cell in found for n in one]
        for i, cell in enumerate(found):
            if self.is_over():
                print(f"the time is over: {len(found) - i} cells are left out", flush=True)
                return
            yield cell


def is_old(row: Row, new: Row) -> bool:
    """Whether a part's new row takes an earlier one's place: the same row measured again, or one
    of an earlier run where the cell did not fit or failed, then or now.
    """

    def alike(keys: Sequence[str]) -> bool:
        return all(row.get(k) == new.get(k) for k in keys)

    is_whole = any("missing_bytes" in r or "error" in r for r in (row, new))
    return alike(KEYS) or (is_whole and row["run"] < new["run"] and alike(CELL))


def run_decode(bench: Bench) -> None:
    """Decode steps by context and batch; routing that is skewed too at the first context."""
    bandwidth, free = bench.bandwidth, bench.free()
    for context, batch in bench.cells(bench.plan.contexts, bench.plan.batches):
        cell = decode.Cell(batch, context)
        skews = SKEWS if context == bench.plan.contexts[0] else SKEWS[:1]
        call = partial(decode.measure, bench.model, cell, bandwidth, skews)
        bench.measure("decode", asdict(cell), cell.missing(bench.config, free), call)


def run_prefill(bench: Bench) -> None:
    """One prompt, by length."""
    free = bench.free()
    for (tokens,) in bench.cells(bench.plan.prompts):
        short = prefill.missing(bench.config, tokens, free)
        call = partial(_prompt, bench, tokens, prefill.Prompt.measure)
        bench.measure("prefill", {"tokens": tokens}, short, call)


def run_drafts(bench: Bench) -> None:
    """Steps with drafts of an MTP layer by batch and drafts, at the first context."""
    with drafts.with_mtp(bench.model, recipe_of(bench.plan.recipe)) as model:
        free, context = bench.free(), bench.plan.contexts[0]
        for batch, more in bench.cells(bench.plan.batches, drafts.DRAFTS):
            if batch * (1 + more) > drafts.MOST:
                continue
            cell = decode.Cell(batch, context)
            row = {**asdict(cell), "drafts": more}
            call = partial(drafts.measure, model, cell, more)
            bench.measure("drafts", row, drafts.missing(model, cell, more, free), call)


def run_trace(bench: Bench) -> None:
    """One step and one prompt by op, of those that are most telling."""
    free, context = bench.free(), bench.plan.contexts[0]
    for (batch,) in bench.cells(bench.plan.batches[:TRACED]):
        cell = decode.Cell(batch, context)
        call = partial(decode.trace, bench.model, cell)
        bench.measure("trace", asdict(cell), cell.missing(bench.config, free), call)
    for (tokens,) in bench.cells(bench.plan.prompts[:TRACED_PROMPTS]):
        short = prefill.missing(bench.config, tokens, free)
        call = partial(_prompt, bench, tokens, prefill.Prompt.trace)
        bench.measure("trace", {"tokens": tokens}, short, call)


def run_exact(bench: Bench) -> None:
    """The price of exact mode: steps at the first context, and the first prompt."""
    try:
        check_exact(bench.model)
    except ValueError as error:
        bench.add("exact", {"refused": str(error)})
        return
    compile_exact(bench.model)
    free, context = bench.free(), bench.plan.contexts[0]
    for (batch,) in bench.cells(bench.plan.batches[:EXACT]):
        cell = decode.Cell(batch, context)
        call = partial(exact.steps, bench.model, cell)
        bench.measure("exact", asdict(cell), cell.missing(bench.config, free), call)
    for (tokens,) in bench.cells(bench.plan.prompts[:1]):
        call = partial(exact.prompt, bench.model, tokens)
        short = prefill.missing(bench.config, tokens, free)
        bench.measure("exact", {"tokens": tokens}, short, call)


def _prompt(bench: Bench, tokens: int, what: Callable[[prefill.Prompt], Row]) -> Iterator[Row]:
    reader = prefill.Reader(bench.model, tokens)
    yield what(prefill.Prompt(bench.model, reader, tokens))


def run_recipes(bench: Bench) -> None:
    """Memory of each recipe by arithmetic, and its error on one group of layers."""
    for name, recipe in RECIPES.items():
        bench.add("memory", {"recipe": name, **memory.table(bench.config, recipe)})
    for row in errors.measure(bench.config, bench.device, bench.is_over):
        bench.add("errors", row)


Part = Callable[[Bench], None]
# recipes come first: their layer needs the room that a model takes; what is timed after a trace may
# be slower
PARTS: dict[str, Part] = {
    "recipes": run_recipes,
    "decode": run_decode,
    "prefill": run_prefill,
    "drafts": run_drafts,
    "exact": run_exact,
    "trace": run_trace,
}


def run(plan: Plan, parts: dict[str, Part] = PARTS) -> int:
    """Measure the parts of the plan in its order, all of `parts` if it names none; 1 if a cell
    failed. ValueError for a part that there is not.
    """
    if unknown := [p for p in plan.parts if p not in parts]:
        raise ValueError(f"no part {unknown[0]!r}; there are: {', '.join(parts)}")
    bench = Bench(plan, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    for name in plan.parts or parts:
        if bench.is_over():
            print(f"the time is over: {name} is left out", flush=True)
        else:
            parts[name](bench)
    print(f"written: {bench.path}")
    return int(bench.errors > 0)


def main(arguments: Sequence[str], parts: dict[str, Part] = PARTS) -> int:
    """Read a plan and run it; 1 if a cell failed, 2 with a line that names what is wrong."""
    try:
        return run(read(arguments), parts)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2


def about(device: torch.device, commit: str = "") -> dict[str, Any]:
    """What figures carry: device, versions, commit, which git says if it is not given."""
    found = re.search(r"model name\s*: (.*)", _text("/proc/cpuinfo"))
    cpu = found[1].strip() if found else "cpu"
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else cpu
    return {"device": name, "torch": torch.__version__, "commit": commit or _commit()}


def _text(path: str) -> str:
    return Path(path).read_text() if Path(path).exists() else ""


def _commit() -> str:
    words = ["git", "rev-parse", "--short=10", "HEAD"]
    here = Path(__file__).parent
    try:
        done = subprocess.run(words, cwd=here, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return done.stdout.strip()


def _slug(name: str) -> str:
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))
