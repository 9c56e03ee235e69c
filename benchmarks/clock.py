"""How calls are timed, and what the device can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import torch

from flashling.ops.linear import FLOAT8

Call = Callable[[], Any]
# a measurement: replays at least, until the seconds are over, and microseconds that one takes
REPLAYS, SECONDS, REPLAY_US = 9, 0.1, 400
# of a device's bandwidth: more than its last cache holds, many times
BIG = 1 << 31
SIDE = 8192


def graph(calls: Sequence[Call]) -> list[float]:
    """Microseconds of a call in each replay of a CUDA graph that makes all of them, over and over
    until a replay takes `REPLAY_US`. RuntimeError where a call waits for the device.
    """
    _on_the_side(calls)
    first = eager(calls[:1], 3)[0]
    rounds = max(1, round(REPLAY_US / max(first * len(calls), 1)))
    recorded = torch.cuda.CUDAGraph()
    with torch.cuda.graph(recorded):
        for _ in range(min(rounds, 64)):
            for call in calls:
                call()
    count = min(rounds, 64) * len(calls)
    recorded.replay()
    return [t / count for t in _times(recorded.replay)]


def eager(calls: Sequence[Call], most: int | None = None) -> list[float]:
    """Microseconds of a call, launched by the host."""
    _on_the_side(calls)

    def run() -> None:
        for call in calls:
            call()

    return [t / len(calls) for t in _times(run, most)]


def _on_the_side(calls: Sequence[Call]) -> None:
    """Run once what may compile or allocate, where a recording may follow."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        calls[0]()
    torch.cuda.current_stream().wait_stream(side)


def _times(run: Call, most: int | None = None) -> list[float]:
    times: list[float] = []
    end = time.perf_counter() + SECONDS
    while len(times) < (most or REPLAYS) or (most is None and time.perf_counter() < end):
        a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        a.record()
        run()
        b.record()
        b.synchronize()
        times.append(1e3 * a.elapsed_time(b))
    return times


def on_cpu(call: Call) -> list[float]:
    """Microseconds of calls one after the other."""
    for _ in range(3):
        call()
    times: list[float] = []
    end = time.perf_counter() + 3 * SECONDS
    while len(times) < REPLAYS or time.perf_counter() < end:
        start = time.perf_counter()
        call()
        times.append(1e6 * (time.perf_counter() - start))
    return times


def ceilings() -> dict[str, float]:
    """What the GPU at hand reaches: TB/s read and copied (both ways counted), TFLOP/s of the
    library's products of 8192^3 numbers, and microseconds of an empty launch in a graph.
    """
    from .probes import copy, nothing, read

    x = torch.ones(BIG // 4, dtype=torch.int32, device="cuda")
    y, out = torch.empty_like(x), torch.empty(1 << 16, dtype=torch.int32, device="cuda")
    found = {
        "read_tb_per_s": BIG / _us(lambda: read(x, out)) / 1e6,
        "copy_tb_per_s": 2 * BIG / _us(lambda: copy(x, y)) / 1e6,
        "launch_us": _us(*[lambda: nothing(out)] * 200),
    }
    a, b = (torch.randn(SIDE, SIDE, device="cuda").bfloat16() for _ in range(2))
    found["bf16_tflop_per_s"] = 2 * SIDE**3 / _us(lambda: a @ b.t()) / 1e6
    if torch.cuda.get_device_capability() >= (8, 9):
        one = torch.ones(SIDE, 1, device="cuda")
        p, q = a.to(FLOAT8), b.to(FLOAT8)
        options = {"scale_a": one, "scale_b": one.t(), "out_dtype": torch.bfloat16}
        us = _us(lambda: torch._scaled_mm(p, q.t(), **options, use_fast_accum=True))  # pyright: ignore[reportPrivateImportUsage]
        found["fp8_tflop_per_s"] = 2 * SIDE**3 / us / 1e6
    return {name: float(f"{value:.4g}") for name, value in found.items()}


def _us(*calls: Call) -> float:
    return median(graph(calls))
