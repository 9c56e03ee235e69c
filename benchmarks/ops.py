"""`make bench`: every op on the cases of its cases.py, first checked, then timed.

A call is checked against the body in float64 within the case's tolerance, in memory that holds NaN
where nothing was written, and with fewer rows; one that fails gets no speed. On a GPU kernels are
compiled first, in parallel; a call is timed in a CUDA graph over copies of its inputs that no cache
holds, a public peer beside it, and compared with what the device reached in the same run. Prints a
table and writes benchmarks/results/ops-<device>.json. `python3 -m benchmarks.ops [OP ...]
[out=FOLDER] [seconds=N]` takes some ops alone, in that order; after N seconds no call begins.
"""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from flashling.ops.cases import Case, Maker, all_cases
from flashling.ops.device import slug
from flashling.ops.linear import Fp8, Int4, Int8

from . import clock
from .check import Poison, fewer, kept, meaning, mistake
from .peers import peer
from .work import leaves, work

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
COMMAND = "python3 -m benchmarks.ops"
# bytes that the copies of a call's inputs move together, and what they may fill
ROTATED, MOST_HELD, MOST_COPIES = 1 << 29, 1 << 34, 48
# what a peer may differ by: it rounds in other places
PEER_TOLERANCE = 5e-2

Row = dict[str, Any]


def main(*arguments: str) -> int:
    """Measure on the device at hand; 1 if a check failed."""
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    wanted = [a for a in arguments if "=" not in a]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    # the full shapes are for a GPU
    cases = all_cases("full" if device.type == "cuda" else "small")
    if unknown := set(wanted) - {c.op.__name__ for c in cases}:
        known = ", ".join(sorted({c.op.__name__ for c in cases}))
        print(f"no op {unknown.pop()!r}; there are {known}", file=sys.stderr)
        return 2
    if wanted:
        cases = [c for op in wanted for c in cases if c.op.__name__ == op]
    facts: Row = about(device) | {"command": " ".join([COMMAND, *arguments])}
    begin = time.perf_counter()
    if device.type == "cuda":
        facts["compiled_s"] = _compile(cases)
        facts["ceilings"] = clock.ceilings()
    else:
        # small shapes gain nothing from a second thread, and where others use the cores too, a
        # call would wait for it a thousand times longer than it computes
        torch.set_num_threads(1)
    print(json.dumps(facts))
    measure = on_cpu if device.type == "cpu" else partial(on_gpu, device, facts["ceilings"])
    rows = []
    print(line(dict(zip(COLUMNS, COLUMNS, strict=True))))
    name = slug(facts["device"]) if device.type == "cuda" else "cpu"
    path = Path(options.get("out", RESULTS)) / f"ops-{name}.json"
    end = begin + float(options.get("seconds", "inf"))
    with torch.no_grad():
        for case in cases:
            if time.perf_counter() > end:
                print(f"no time for {len(cases) - len(rows)} more calls")
                break
            rows.append({"op": case.op.__name__, "case": case.name} | _tried(measure, case))
            print(line(rows[-1]), flush=True)
            if device.type == "cuda":
                torch.cuda.empty_cache()
            facts["seconds"] = round(time.perf_counter() - begin)
            _write(path, facts, rows)
    print(f"written: {path.name}, after {facts['seconds']} s")
    wrong = [r for r in rows if "wrong" in r]
    if wrong:
        print(f"{len(wrong)} of {len(rows)} calls are wrong and have no speed", file=sys.stderr)
    return int(bool(wrong))


def _write(path: Path, facts: Row, rows: Sequence[Row]) -> None:
    """All that is measured so far: what stops the rest does not take it away."""
    listed = ",\n  ".join(map(json.dumps, rows))
    path.write_text(f'{{"about": {json.dumps(facts)}, "rows": [\n  {listed}\n]}}\n')


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


def _compile(cases: Sequence[Case]) -> float:
    """Compile what the cases launch, all cores at it: the seconds."""
    from flashling.ops.warm import compile_kernels

    def show(done: int, total: int) -> None:
        if sys.stderr.isatty():
            print(f"\rkernels {done} of {total}\x1b[K", end="", file=sys.stderr, flush=True)

    def calls() -> Any:
        for case in cases:
            if kernel(case.op, "cuda") not in ("body", "compile"):
                args = case.inputs(Maker(torch.bfloat16, torch.device("meta")))
                yield partial(case.op, *args)

    begin = time.perf_counter()
    compile_kernels(calls(), show)
    return round(time.perf_counter() - begin, 1)


def kernel(op: Callable[..., Any], kind: str) -> str:
    """What runs an op on a device: its kernel, "compile", or "body"."""
    return vars(op)["kernels"].get(kind, "body").lstrip(".")


def _tried(measure: Callable[[Case], Row], case: Case) -> Row:
    """A row even where a kernel does not compile or memory ends: the others still run."""
    try:
        return measure(case)
    except Exception as error:
        return {"how": "", "wrong": f"{type(error).__name__}: {str(error).strip()[:200]}"}


def on_cpu(case: Case) -> Row:
    """The body in float32, beside itself in float64."""
    cpu = torch.device("cpu")
    want, at, how = meaning(case, case.inputs(Maker(torch.float64, cpu)))
    args = case.inputs(Maker(torch.float32, cpu))
    row: Row = {"how": "body", "against": how}
    wrong = _checked(case, args, want, at, case.tol[0])
    if wrong:
        return row | {"wrong": wrong}
    out = case.op(*args)
    times = clock.on_cpu(lambda: case.op(*args))
    return row | _speed(case, args, out, times)


def on_gpu(gpu: torch.device, ceilings: dict[str, float], case: Case) -> Row:
    """The kernel in bfloat16, and a public peer beside it."""
    want, at, against = meaning(case, case.inputs(Maker(torch.float64, gpu, source=gpu)))
    copies = [case.inputs(Maker(torch.bfloat16, gpu, source=gpu))]
    args, how = copies[0], kernel(case.op, "cuda")
    row: Row = {"how": how, "against": against}
    wrong = _checked(case, args, want, at, case.tol[1])
    if wrong:
        return row | {"wrong": wrong}
    out = case.op(*args)
    if _has_rows(case):
        wrong, row["same_bits"] = fewer(case, args, leaves(out), case.tol[1])
        if wrong:
            return row | {"wrong": wrong}
    least = max(work(case.op, args, out)[0], 1)
    room = min(ROTATED / least, MOST_HELD / max(held(args), 1), MOST_COPIES)
    for seed in range(1, max(1, round(room))):
        copies.append(case.inputs(Maker(torch.bfloat16, gpu, seed, gpu)))
    times, row["timed"] = _timed([partial(case.op, *a) for a in copies])
    row |= _speed(case, args, out, times)
    row |= limit(case, args, out, row["us"], ceilings)
    other = _beside(case, copies, leaves(out))
    return row | ({"peer": other} if other else {})


def _has_rows(case: Case) -> bool:
    from .check import ROWS

    return case.op.__name__ in ROWS


def _checked(
    case: Case, args: Sequence[Any], want: list[Tensor], at: Tensor | None, tol: float
) -> str | None:
    # a compiled body allocates by itself
    if kernel(case.op, args[0].device.type) == "compile":
        out = leaves(case.op(*args))
    else:
        with Poison():
            out = leaves(case.op(*args))
    found = out + kept(args) if at is None else [t[at] for t in out]
    return mistake(found, want, tol)


def held(args: Sequence[Any]) -> int:
    """Bytes of what a call is given."""
    weights = [w for a in args for w in (a if isinstance(a, tuple) else (a,))]
    packed = [t for w in weights if isinstance(w, Fp8 | Int8 | Int4) for t in w.buffers()]
    return sum(t.nbytes for t in leaves((*args, *packed, *kept(args))))


def _timed(calls: Sequence[Callable[[], Any]]) -> tuple[list[float], str]:
    inputs = f"{len(calls)} sets of inputs"
    try:
        return clock.graph(calls), f"graph, {inputs}"
    except RuntimeError:
        # a call that waits for the device cannot be recorded
        return clock.eager(calls), f"eager, {inputs}"


def _speed(case: Case, args: Sequence[Any], out: Any, times: list[float]) -> Row:
    us = median(times)
    moved, products = work(case.op, args, out)
    # far apart, the two say that the device was not ours alone
    row: Row = {"us": _short(us), "best_us": _short(min(times))}
    row["gb_per_s"] = _short(moved / us / 1e3)
    if products:
        row["tflop_per_s"] = _short(products / us / 1e6)
    return row


def limit(case: Case, args: Sequence[Any], out: Any, us: float, ceilings: dict[str, float]) -> Row:
    """What bounds a call by the ceilings, its bytes or its products, and the share that it reached.
    An op that has no products mostly writes as much as it reads, and is held to a copy.
    """
    moved, products = work(case.op, args, out)
    speed = ceilings["read_tb_per_s" if products else "copy_tb_per_s"]
    bounds = {"bytes": moved / speed / 1e6}
    if products:
        weights = [a for a in args if isinstance(a, Fp8)]
        kind = "fp8_tflop_per_s" if weights else "bf16_tflop_per_s"
        bounds["products"] = products / ceilings[kind] / 1e6
    bounds["launch"] = ceilings["launch_us"]
    name = max(bounds, key=lambda n: bounds[n])
    return {"limit": name, "of_limit": _short(bounds[name] / us)}


def _beside(case: Case, copies: Sequence[Sequence[Any]], out: list[Tensor]) -> Row | None:
    """A public peer's time, if it gives the same numbers; why not, if it does not run."""
    found = peer(case.op, copies[0])
    if found is None:
        return None
    name, first = found
    try:
        got = leaves(first())[: len(out)]
        if "another state" not in name and (wrong := mistake(got, out, PEER_TOLERANCE)):
            return {"name": name, "wrong": wrong}
        # a compiled body is one function for all copies
        rest = [] if name == "torch.compile" else [peer(case.op, a) for a in copies[1:]]
        times, how = _timed([first, *(p[1] for p in rest if p)])
    except (RuntimeError, ValueError, TypeError) as error:
        return {"name": name, "failed": str(error).splitlines()[0][:200]}
    return {"name": name, "us": _short(median(times)), "timed": how}


def _short(value: float) -> float:
    return float(f"{value:.3g}")


COLUMNS = {
    "op": "<16",
    "case": "<18",
    "how": "<24",
    "us": ">8",
    "best_us": ">8",
    "gb_per_s": ">9",
    "tflop_per_s": ">12",
    "limit": ">9",
    "of_limit": ">9",
    "same_bits": ">10",
}


def line(row: Row) -> str:
    """A line of the table; what a row does not know stays empty."""
    cells = [format(str(row.get(name, "")), width) for name, width in COLUMNS.items()]
    if "peer" in row:
        cells.append("; ".join(f"{v}" for k, v in row["peer"].items() if k != "timed"))
    return " ".join([*cells, f"WRONG: {row['wrong']}"] if "wrong" in row else cells).rstrip()


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
