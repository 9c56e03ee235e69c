"""Time on a device: of calls, of what a call is made of, and of nothing but reading."""

from __future__ import annotations

import ast
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch

from ... import ops

# words of 32 bits that are read to measure a ceiling, on a GPU and elsewhere
WORDS = {"cuda": 1 << 30, "cpu": 1 << 20}
# the part of a trace in which no kernel runs
IDLE = "idle"
# what the kernels of libraries are called, and the op that they do; the first that fits counts
LIBRARY = (
    ("flash", "attention (library)"),
    ("fmha", "attention (library)"),
    ("memcpy|memset", "copies"),
    ("gemm|gemv|nvjet|cutlass|cublas|xmma", "matmul (library)"),
    ("embedding|gather|index", "index"),
    ("argmax|reduce", "reductions"),
    ("cat", "joins"),
    ("elementwise|triton_poi|triton_per|triton_red", "element by element"),
)


def times(call: Callable[[], Any], count: int, device: torch.device) -> list[float]:
    """Milliseconds of each of `count` calls, end to end without a pause."""
    if device.type == "cuda":
        marks = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
        marks[0].record()
        for mark in marks[1:]:
            call()
            mark.record()
        marks[-1].synchronize()
        return [a.elapsed_time(b) for a, b in zip(marks, marks[1:], strict=False)]
    found = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        found.append(1e3 * (time.perf_counter() - start))
    return found


def summary(found: list[float]) -> dict[str, float]:
    """Mean, median and 99th percentile of milliseconds."""
    ordered = sorted(found)
    high = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))]
    return {"ms_mean": mean(found), "ms_median": median(found), "ms_p99": high}


def read_bandwidth(device: torch.device) -> float:
    """Bytes a second that a kernel which only reads gets: the best of several calls."""
    words = WORDS[device.type]
    x = torch.randint(-(2**31), 2**31 - 1, (words,), dtype=torch.int32, device=device)
    if device.type == "cuda":
        from .read_triton import BLOCK, TURNS, read

        out = torch.empty(words // (BLOCK * TURNS), dtype=torch.int32, device=device)
        found = times(lambda: read(x, out), 12, device)
    else:
        found = times(x.sum, 12, device)
    return x.nbytes / min(found) * 1e3


def shares(call: Callable[[], Any], count: int, device: torch.device) -> dict[str, float]:
    """Milliseconds of a call by op, the most first, from a trace of `count` calls; on a GPU as
    `exclusive`, so that all and `IDLE` together are the time from the first kernel's start to the
    last one's end. What is timed after a trace in the same process may be slower than before.
    """
    from torch.profiler import ProfilerActivity, profile

    is_cuda = device.type == "cuda"
    kind = ProfilerActivity.CUDA if is_cuda else ProfilerActivity.CPU
    with profile(activities=[kind]) as seen:
        for _ in range(count):
            call()
        if is_cuda:
            torch.cuda.synchronize()
    if is_cuda:
        kernels = [e for e in seen.events() or () if e.device_type.name == "CUDA"]
        spans = ((op_of(e.name), e.time_range.start, e.time_range.end) for e in kernels)
        micros = exclusive(spans)
    else:
        micros = defaultdict[str, float](float)
        for event in seen.key_averages():
            micros[op_of(event.key)] += event.self_cpu_time_total
    ranked = sorted(micros.items(), key=lambda item: -item[1])
    return {name: each / 1e3 / count for name, each in ranked if each > 0}


def exclusive(spans: Iterable[tuple[str, float, float]]) -> dict[str, float]:
    """The time that each op adds, of the name, start and end of kernels: from the latest end of
    those that started before to its own end. A kernel may be launched early, and then waits for the
    one before it: its whole duration would count that time twice. Where none runs it is `IDLE`.
    """
    ordered = sorted(spans, key=lambda span: span[1:])
    found, at = defaultdict[str, float](float), ordered[0][1] if ordered else 0.0
    for name, start, end in ordered:
        found[IDLE] += max(0.0, start - at)
        found[name] += max(0.0, end - max(at, start))
        at = max(at, end)
    return found


def op_of(kernel: str) -> str:
    """The op that a kernel belongs to, by the kernel's name."""
    own = _kernels()
    if kernel in own:
        return own[kernel]
    return next((op for names, op in LIBRARY if re.search(names, kernel, re.I)), "other")


@cache
def _kernels() -> dict[str, str]:
    """Our kernels' names, and the folder of each; those of one name in two folders are both's."""
    found: dict[str, str] = {}
    room = Path(ops.__file__).parent
    for file in sorted(room.rglob("*triton.py")):
        op = file.stem.removesuffix("_triton") if file.parent == room else file.parent.name
        for node in ast.parse(file.read_text("utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.decorator_list:
                before = found.get(node.name, op)
                found[node.name] = op if before == op else f"{before}, {op}"
    return found
