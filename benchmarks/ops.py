"""`make bench`: every op on the cases of its cases.py, first checked, then timed.

A call is checked against the body in float64 within the case's tolerance; one that fails gets no
speed. Prints a table and writes benchmarks/results/ops-<device>.json.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import torch

from flashling.ops.cases import Case, Maker, all_cases
from flashling.ops.op import using

from .work import leaves, work

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "python3 -m benchmarks.ops"
CPU = torch.device("cpu")
# calls of one measurement: at least so many, then until the seconds are over
CALLS, SECONDS = 7, 0.3
# larger than the last cache of any GPU, so that no call finds its inputs there
CACHE_BYTES = 1 << 28

Row = dict[str, Any]


def main() -> int:
    """Measure on the device at hand; 1 if a check failed."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # what a model runs in there; the full shapes are for a GPU
    dtype, size = (torch.bfloat16, "full") if device.type == "cuda" else (torch.float32, "small")
    if device.type == "cpu":
        # small shapes gain nothing from a second thread, and where others use the cores too, a
        # call would wait for it a thousand times longer than it computes
        torch.set_num_threads(1)
    facts = about(device)
    print(", ".join(f"{k} {v}" for k, v in facts.items()))
    rows = []
    print(line(dict(zip(COLUMNS, COLUMNS, strict=True))))
    for case in all_cases(size):
        for row in measure(case, dtype, device):
            rows.append(row)
            print(line(row), flush=True)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"ops-{slug(facts['device']) if device.type == 'cuda' else 'cpu'}.json"
    listed = ",\n  ".join(map(json.dumps, rows))
    path.write_text(f'{{"about": {json.dumps(facts)}, "rows": [\n  {listed}\n]}}\n')
    print(f"written: {path.relative_to(ROOT)}")
    wrong = [r for r in rows if "wrong" in r]
    if wrong:
        print(f"{len(wrong)} of {len(rows)} calls are wrong and have no speed", file=sys.stderr)
    return int(bool(wrong))


def about(device: torch.device) -> dict[str, Any]:
    """What a figure carries: device, versions, commit and command."""
    facts = {"device": _name(device), "torch": torch.__version__, "commit": _commit()}
    if device.type == "cpu":
        facts["threads"] = torch.get_num_threads()
    return {**facts, "command": COMMAND}


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name()
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def _commit() -> str:
    """The commit of the tree, marked if the ops themselves were changed since."""

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "flashling/ops")
        return git("rev-parse", "--short=10", "HEAD") + ("-changed" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def slug(name: str) -> str:
    """A name for a file: lower case, words joined by dashes."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


def measure(case: Case, dtype: torch.dtype, device: torch.device) -> Iterator[Row]:
    """One row for each way to run the case there."""
    with using("body"):
        want = leaves(case.op(*case.inputs(Maker(torch.float64, CPU))))
    shown = str(dtype).removeprefix("torch.")
    for how, forced in ways(case.op, device.type):
        row: Row = {"op": case.op.__name__, "case": case.name, "dtype": shown, "how": how}
        with forced:
            row |= _checked(case, Maker(dtype, device), want)
        yield row


def ways(op: Callable[..., Any], kind: str) -> list[tuple[str, AbstractContextManager[None]]]:
    """How an op can run on a device: as registered, where that differs, and as bodies alone."""
    body = ("body", using("body"))
    kernel = vars(op)["kernels"].get(kind)
    plain = vars(op)["body"]
    inside = [plain.__globals__.get(n) for n in plain.__code__.co_names]
    if kernel is None and any(kind in getattr(f, "kernels", ()) for f in inside):
        kernel = "its parts"
    return [body] if kernel is None else [(kernel.lstrip("."), nullcontext()), body]


def _checked(case: Case, make: Maker, want: list[torch.Tensor]) -> Row:
    args = case.inputs(make)
    out = case.op(*args)
    wrong = mistake(case, leaves(out), want, make.dtype)
    if wrong:
        return {"wrong": wrong}
    times = milliseconds(lambda: case.op(*args), make.device)
    ms = median(times)
    moved, products = work(case.op, args, out)
    # far apart, the two say that the device was not ours alone
    row: Row = {"ms": _short(ms), "best_ms": _short(min(times))}
    row["gb_per_s"] = _short(moved / ms / 1e6)
    if products:
        row["tflop_per_s"] = _short(products / ms / 1e9)
    return row


def mistake(
    case: Case, got: list[torch.Tensor], want: list[torch.Tensor], dtype: torch.dtype
) -> str | None:
    """What is wrong with a result beside the body's in float64, if anything is."""
    tol = case.tol[0] if dtype == torch.float32 else case.tol[1]
    if [g.shape for g in got] != [w.shape for w in want]:
        return f"shapes {[tuple(g.shape) for g in got]}, not {[tuple(w.shape) for w in want]}"
    for g, w in zip(got, want, strict=True):
        x, y = g.cpu().double(), w.double()
        error = float((x - y).norm() / (y.norm() + 1e-30))
        # a NaN is not below anything
        if not error <= tol:
            return f"relative error {error:.1e}, allowed {tol:.0e}"
    return None


def milliseconds(call: Callable[[], Any], device: torch.device) -> list[float]:
    """The times of several calls after some to warm up."""
    once = _timer(call, device)
    for _ in range(3):
        once()
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < CALLS or time.perf_counter() < end:
        times.append(once())
    return times


def _timer(call: Callable[[], Any], device: torch.device) -> Callable[[], float]:
    def on_cpu() -> float:
        start = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - start)

    if device.type == "cpu":
        return on_cpu
    other = torch.empty(CACHE_BYTES, dtype=torch.int8, device=device)
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def on_cuda() -> float:
        # empties the cache, and keeps the device busy while the host lays out the call
        other.random_(0, 9)
        start.record()
        call()
        end.record()
        end.synchronize()
        return start.elapsed_time(end)

    return on_cuda


def _short(value: float) -> float:
    return float(f"{value:.3g}")


COLUMNS = {
    "op": "<16",
    "case": "<12",
    "dtype": "<9",
    "how": "<24",
    "ms": ">8",
    "best_ms": ">8",
    "gb_per_s": ">9",
    "tflop_per_s": ">12",
}


def line(row: Row) -> str:
    """A line of the table; what a row does not know stays empty."""
    cells = [format(str(row.get(name, "")), width) for name, width in COLUMNS.items()]
    return " ".join([*cells, f"WRONG: {row['wrong']}"] if "wrong" in row else cells).rstrip()


if __name__ == "__main__":
    sys.exit(main())
