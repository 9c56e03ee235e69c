"""Which form of a kernel wins, and which rows keep their bits: the questions of first light.

`python3 -m benchmarks.sweeps [few] [bits] [many] [grouped] [lightning] [int4] [int4_experts]
[out=FOLDER]` on one GPU. Times are medians over replays of a graph of a chain of calls, weights
rotated past the cache.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch
import triton

from flashling import ops
from flashling.ops.device import slug
from flashling.ops.experts.int4 import streamed
from flashling.ops.experts.int4_triton import Tile4
from flashling.ops.experts.int4_triton import grouped as grouped4
from flashling.ops.experts.library import experts_library
from flashling.ops.experts.triton import Many
from flashling.ops.experts.triton import experts as many_experts
from flashling.ops.lightning import Carry
from flashling.ops.lightning import triton as scans
from flashling.ops.linear import FLOAT8, Fp8, Int4
from flashling.ops.linear import int4_triton as fours
from flashling.ops.linear.triton import Few, Stream, library, linear, quantise, splits, stream
from flashling.ops.warm import compile_kernels

from .ops import about

Report = dict[str, Any]
# bytes of weights that one chain walks over: several times the cache of any GPU
ROUND = 1 << 29
# tokens, rows of gate and up, rows of down, warps, stages, swapped
WIDE_TILES = [
    Many(128, 128, 256, 8, 4),
    Many(128, 64, 128, 8, 4, False),
    Many(128, 128, 256, 8, 3, False),
    Many(64, 64, 128, 4, 3, False),
]


def _tiles4(tokens: int, up: int, down: int, inputs: int, warps: int, stages: int):
    return Tile4(tokens, up, inputs, warps, stages), Tile4(tokens, down, inputs, warps, stages)


# tokens -> the tiles of both products: tokens, rows of gate and up, rows of down, inputs, warps,
# stages
FOUR_TILES = {
    16: [_tiles4(8, 128, 128, 256, 4, 3), _tiles4(8, 32, 32, 256, 2, 3)],
    32: [_tiles4(8, 128, 128, 256, 4, 3)],
    64: [
        _tiles4(8, 128, 128, 256, 4, 3),
        _tiles4(8, 64, 64, 256, 2, 3),
        _tiles4(8, 32, 32, 256, 1, 3),
        _tiles4(16, 64, 128, 128, 4, 4),
    ],
    256: [
        _tiles4(16, 128, 128, 256, 4, 3),
        _tiles4(16, 128, 128, 128, 4, 4),
        _tiles4(32, 64, 128, 128, 4, 4),
    ],
    1024: [_tiles4(64, 64, 128, 128, 4, 3), _tiles4(64, 128, 128, 128, 8, 3)],
    8192: [
        _tiles4(128, 128, 128, 128, 8, 3),
        _tiles4(128, 128, 256, 128, 8, 3),
        _tiles4(64, 64, 128, 128, 4, 3),
    ],
}
SHAPES = {"qkvg": (16384, 4096), "o": (4096, 4096), "q_b": (6144, 1536), "down": (4096, 1024)}


def graph_us(calls: Sequence[Callable[[], Any]]) -> float:
    """Microseconds of one call: the median of 9 replays of a graph that makes them all."""
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        for call in calls[:2]:
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for call in calls:
            call()
    graph.replay()
    times = []
    for _ in range(9):
        a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        a.record()
        graph.replay()
        b.record()
        b.synchronize()
        times.append(a.elapsed_time(b))
    return 1e3 * median(times) / len(calls)


def weight(outputs: int, inputs: int, seed: int = 0) -> Fp8:
    """A random e4m3 weight of unit gain."""
    g = torch.Generator("cuda").manual_seed(seed)
    numbers = torch.randn(outputs, inputs, generator=g, device="cuda") * 112
    scale = torch.full((outputs,), inputs**-0.5 / 112, device="cuda")
    return Fp8(numbers.clamp_(-448, 448).to(FLOAT8), scale)


def rows(count: int, width: int, seed: int = 1) -> torch.Tensor:
    """Normal bfloat16 rows."""
    g = torch.Generator("cuda").manual_seed(seed)
    return torch.randn(count, width, generator=g, device="cuda").bfloat16()


def few() -> list[Report]:
    """Question 1: many short programs or persistent ones."""
    found = []
    for name in ("qkvg", "o"):
        outputs, inputs = SHAPES[name]
        copies = min(max(2, ROUND // (outputs * inputs)), 24)
        weights = [weight(outputs, inputs, i) for i in range(copies)]
        forms = [*product((1, 2, 4), (1, 2), (1, 4)), (None, 1, 1)]
        rated = []
        for per_sm, ahead, stages in forms:
            tile = Few(4, per_sm=per_sm, ahead=ahead, stages=stages)
            us = graph_us([_chain(weights, tile)]) / copies
            rated.append(
                {"weight": name, "tile": repr(tile), "us": round(us, 2)}
                | {"tb_per_s": round(outputs * inputs / us / 1e6, 2)}
            )
        for row in sorted(rated, key=lambda r: r["us"])[:6]:
            print(json.dumps(row), flush=True)
        found += rated
    return found


def _chain(weights: Sequence[Fp8], tile: Few) -> Callable[[], None]:
    """Each call's input is the output of the one before, as in a decode step."""
    inputs = weights[0].shape[1]
    x = rows(1, inputs)

    def run() -> None:
        h = x
        for w in weights:
            h = linear(h, w, tile=tile)[:, :inputs]

    return run


def bits() -> list[Report]:
    """Question 3: has row 0 the same bits alone and among 16, 64 and 128 rows, and at what cost?"""
    found = []
    for name, (outputs, inputs) in SHAPES.items():
        for form, call in _forms(weight(outputs, inputs), rows(1024, inputs)).items():
            row: Report = {"weight": name, "form": form}
            try:
                want = call(128)[0]
                counts = (1, 4, 16, 32, 64, 1024)
                row["equal"] = {n: bool(torch.equal(call(n)[0], want)) for n in counts}
                row["us"] = {n: round(graph_us([partial(call, n)] * 20), 2) for n in (1, 16, 64)}
            except RuntimeError as error:
                row["error"] = str(error)[:200]
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


def _forms(w: Fp8, x: torch.Tensor) -> dict[str, Callable[[int], torch.Tensor]]:
    plain, parts = w.unpack(torch.bfloat16), splits(*w.shape)

    def streamed(n: int) -> torch.Tensor:
        tile = Stream(64, max(16, min(128, n)), parts, 4, 4)
        return stream(*quantise(x[:n]), w, tile, torch.bfloat16)

    return {
        "fp8 stream": streamed,
        "fp8 as chosen": lambda n: linear(x[:n], w),
        "fp8 library": lambda n: library(*quantise(x[:n]), w),
        "bf16 library": lambda n: torch.nn.functional.linear(x[:n], plain),
    }


def many() -> list[Report]:
    """Question 2, dense: TFLOP/s of 8,192 rows, the library beside the Triton tile."""
    found = []
    for name, (outputs, inputs) in SHAPES.items():
        w, x = weight(outputs, inputs), rows(8192, inputs)
        numbers, scale = quantise(x)
        forms = {
            "library": lambda n=numbers, s=scale, w=w: library(n, s, w),
            "stream 128x128": lambda n=numbers, s=scale, w=w: stream(
                n, s, w, Stream(128, 128, 1, 8, 4, is_swapped=False), torch.bfloat16
            ),
            "stream 256x128": lambda n=numbers, s=scale, w=w: stream(
                n, s, w, Stream(256, 128, 1, 8, 3, is_swapped=False), torch.bfloat16
            ),
            "quantise": lambda x=x: quantise(x),
        }
        for form, call in forms.items():
            us = graph_us([call] * 10)
            tflops = 2 * 8192 * outputs * inputs / us / 1e6
            found.append(
                {"weight": name, "form": form, "us": round(us, 1), "tflop_per_s": round(tflops)}
            )
            print(json.dumps(found[-1]), flush=True)
    return found


def grouped() -> list[Report]:
    """Question 2, experts: TFLOP/s of 8,192 tokens that each visit 8 of 256 experts, sorting,
    quantising and weighting included, the library beside Triton tiles.
    """
    tokens, num, k, width, hidden = 8192, 256, 8, 4096, 1024
    found = []
    x = rows(tokens, width)
    scores, chosen = torch.rand(tokens, num, device="cuda").topk(k)
    weights = scores / scores.sum(-1, keepdim=True)
    for is_blocked in (False, True):
        gate_up = _stack(num, 2 * hidden, width, is_blocked)
        down = _stack(num, width, hidden, is_blocked)
        forms: dict[str, Callable[[], Any]] = {
            repr(tile): partial(many_experts, x, weights, chosen, gate_up, down, tile=tile)
            for tile in WIDE_TILES
        }
        if not is_blocked:
            forms["library"] = partial(experts_library, x, weights, chosen, gate_up, down)
        want = many_experts(x, weights, chosen, gate_up, down).float()
        for form, call in forms.items():
            row: Report = {"scales": "blocks" if is_blocked else "channels", "form": form}
            try:
                error = (call().float() - want).norm() / want.norm()
                us = graph_us([call] * 3)
                tflops = 6 * tokens * k * width * hidden / us / 1e6
                row |= {"us": round(us), "tflop_per_s": round(tflops), "apart": float(error)}
            except (RuntimeError, triton.errors.TritonError) as failure:
                row["failed"] = str(failure)[:200]
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


def _stack(num: int, outputs: int, inputs: int, is_blocked: bool) -> Fp8:
    """Random e4m3 weights of unit gain, side by side."""
    g = torch.Generator("cuda").manual_seed(outputs)
    numbers = torch.empty(num, outputs, inputs, dtype=FLOAT8, device="cuda")
    for part in numbers:
        part.copy_((torch.randn(part.shape, generator=g, device="cuda") * 112).clamp_(-448, 448))
    across = [outputs // 128, inputs // 128] if is_blocked else [outputs]
    return Fp8(numbers, torch.full((num, *across), inputs**-0.5 / 112, device="cuda"))


def lightning() -> list[Report]:
    """Question 4: one layer's replay, phases spread over the chunk, mean of 128 steps and p99."""
    found = []
    for n in (1, 4, 16, 64, 256):
        times = _replays(n)
        # state and, on the average, half an open chunk of keys and values
        moved = n * 32 * 128 * (4 * 128 + 64 * 2 * 2 / 2)
        mean = sum(times) / len(times)
        found.append(
            {"sequences": n, "us_mean": round(mean, 2), "us_p99": round(times[126], 2)}
            | {"us_median": round(times[64], 2), "tb_per_s": round(moved / mean / 1e6, 2)}
        )
        print(json.dumps(found[-1]), flush=True)
    return found


def _replays(n: int, heads: int = 32, width: int = 128) -> list[float]:
    """Microseconds of a layer in 128 steps of n sequences, sorted; layers lie past the cache."""
    layers = max(4, 512 // n) if n < 64 else 4
    state = torch.randn(n, layers, heads, width, width, device="cuda")
    tail = torch.randn(n, layers, 2, 64, heads, width, device="cuda").bfloat16()
    slots = torch.arange(n, device="cuda")
    tails = (slots * 37 % 64 + 1).int()
    q, k, v = (rows(n * heads, width, i).view(n, heads, width) for i in range(3))
    decay = ops.slopes(heads, 3, 32).cuda()
    carries = [Carry(state[:, i], tail[:, i], slots) for i in range(layers)]

    def step() -> None:
        for carry in carries:
            scans.lightning_decode(q, k, v, decay, carry, tails)

    graph_us([step])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    times = []
    for _ in range(128):
        a, b = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        a.record()
        graph.replay()
        b.record()
        b.synchronize()
        times.append(1e3 * a.elapsed_time(b) / layers)
        tails.copy_(tails % 64 + 1)
    return sorted(times)


def int4() -> list[Report]:
    """Question 5: TB/s of packed bytes, scales included, of weights of four bits. A stack is read
    once: each expert meets one row, or 16 as if the stack were one tall weight.
    """
    few4 = [
        fours.Few4(rows, warps, per_sm, stages)
        for rows, warps, (per_sm, stages) in product(
            (4, 8, 16), (2, 4), ((None, 1), (4, 1), (2, 3), (4, 3))
        )
    ]
    wide = [(64, 4, 3), (64, 4, 4), (128, 4, 3), (128, 8, 3), (128, 8, 4), (256, 8, 3)]
    found = []
    for outputs, inputs in ((16384, 4096), (2048, 4096), (4096, 1024)):
        copies = -(-ROUND // (outputs * inputs * 9 // 16))
        weights = [_four(outputs, inputs, seed=i) for i in range(copies)]
        parts = fours.splits(outputs, inputs)
        for count in (1, 64):
            tiles = few4 if count == 1 else [fours.Stream4(o, 64, parts, w, s) for o, w, s in wide]
            x = rows(count, inputs)
            calls = {t: [partial(fours.linear, x, w, t) for w in weights] for t in tiles}
            found += _rated({"weight": f"{outputs} x {inputs}", "rows": count}, weights[0], calls)
    for experts, (outputs, inputs) in product((9, 221), ((2048, 4096), (4096, 1024))):
        copies = -(-ROUND // (experts * outputs * inputs * 9 // 16))
        stacks = [_four(experts, outputs, inputs, seed=i) for i in range(copies)]
        every = torch.arange(experts, device="cuda")[None]
        name = {"weight": f"{experts} x {outputs} x {inputs}"}
        x = rows(1, inputs)
        calls = {t: [partial(fours.few, x, w, t, every) for w in stacks] for t in few4}
        found += _rated(name | {"rows": 1}, stacks[0], calls)
        tall = [Int4(w.words.flatten(0, 1), w.scale.flatten(0, 1)) for w in stacks]
        x = rows(16, inputs)
        tiles = [fours.Stream4(o, 16, 1, w, s) for o, w, s in wide]
        calls = {t: [partial(fours.stream, x, w, t) for w in tall] for t in tiles}
        found += _rated(name | {"rows": 16}, tall[0], calls)
    return found


def int4_experts() -> list[Report]:
    """Question 6: microseconds of 256 experts of four bits, 8 for a token; TB/s of the packed bytes
    of those that were chosen, and TFLOP/s. `apart` is from the streamed form, of 16 tokens.
    """
    num, k, width, hidden = 256, 8, 4096, 1024
    pair = _four(num, 2 * hidden, width, seed=0), _four(num, width, hidden, seed=1)
    _compile_fours(pair, k)
    packed = sum(w.words.nbytes + w.scale.nbytes for w in pair) / num
    found = []
    for tokens, tiles in FOUR_TILES.items():
        x, chosen = rows(tokens, width), torch.rand(tokens, num, device="cuda").topk(k).indices
        forms = {repr(t): partial(grouped4, x, chosen, *pair, t) for t in tiles}
        if tokens <= 64:
            forms["streamed"] = partial(streamed, x, chosen, *pair)
        want = streamed(x[:16], chosen[:16], *pair).float()
        moved, products = packed * len(chosen.unique()), 6 * tokens * k * width * hidden
        for form, call in forms.items():
            row: Report = {"tokens": tokens, "form": form}
            try:
                error = (call()[:16].float() - want).norm() / want.norm()
                us = graph_us([call] * 3)
                row |= {"us": round(us), "tb_per_s": round(moved / us / 1e6, 2)}
                row |= {"tflop_per_s": round(products / us / 1e6), "apart": float(f"{error:.1e}")}
            except (RuntimeError, triton.errors.TritonError) as failure:
                row["failed"] = str(failure)[:200]
            found.append(row)
            print(json.dumps(row), flush=True)
    return found


def _compile_fours(pair: tuple[Int4, Int4], k: int) -> None:
    """All tiles at a time, since one after another would take longer than measuring them."""
    gate_up, down = (Int4(w.words.to("meta"), w.scale.to("meta")) for w in pair)
    x = torch.empty(16, gate_up.shape[-1], dtype=torch.bfloat16, device="meta")
    chosen = torch.empty(16, k, dtype=torch.int64, device="meta")
    tiles = {tile for tiles in FOUR_TILES.values() for tile in tiles}
    compile_kernels(partial(grouped4, x, chosen, gate_up, down, tile) for tile in tiles)


def _four(*shape: int, seed: int) -> Int4:
    """A random weight of four bits; its scales are all alike."""
    g = torch.Generator("cuda").manual_seed(seed)
    *front, inputs = shape
    size, kind = (*front, inputs // 8), {"dtype": torch.int32, "device": "cuda"}
    words = torch.randint(-(2**31), 2**31 - 1, size, generator=g, **kind)
    scale = torch.full((*front, inputs // 32), inputs**-0.5 / 5, device="cuda")
    return Int4(words, scale.bfloat16())


def _rated(
    name: Report, weight: Int4, calls: Mapping[Any, Sequence[Callable[[], Any]]]
) -> list[Report]:
    """A row for each tile, the fastest three printed; the first call tells how wrong it is."""
    found = []
    for tile, chain in calls.items():
        row = {**name, "tile": repr(tile)}
        try:
            us = graph_us(chain)
            moved = weight.words.nbytes + weight.scale.nbytes
            row |= {"us": round(us, 2), "tb_per_s": round(moved / us / 1e6, 2)}
            row["error"] = _wrong(chain[0](), weight, name["rows"])
        except (RuntimeError, triton.errors.TritonError) as error:
            row["failed"] = str(error)[:200]
        found.append(row)
    for row in sorted(found, key=lambda r: r.get("us", 1e9))[:3]:
        print(json.dumps(row), flush=True)
    return found


def _wrong(got: torch.Tensor, weight: Int4, count: int) -> float:
    """The relative error of the first 256 outputs, of the first expert."""
    flat = Int4(weight.words.flatten(0, -2)[:256], weight.scale.flatten(0, -2)[:256])
    want = rows(count, weight.shape[-1]).double() @ flat.unpack(torch.float64).T
    got = got.reshape(count, -1)[:, :256].double()
    return float(f"{float((got - want).norm() / want.norm()):.1e}")


PARTS: dict[str, Callable[[], list[Report]]] = {
    "few": few,
    "bits": bits,
    "many": many,
    "grouped": grouped,
    "lightning": lightning,
    "int4": int4,
    "int4_experts": int4_experts,
}


def main(*arguments: str) -> int:
    """Measure the parts named, all unless told."""
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    parts = [a for a in arguments if "=" not in a] or list(PARTS)
    command = " ".join(["python3 -m benchmarks.sweeps", *parts])
    report: Report = {"about": about(torch.device("cuda")) | {"command": command}}
    for part in parts:
        report[part] = PARTS[part]()
    out = Path(options.get("out", Path(__file__).parent / "results"))
    path = out / f"sweeps-{slug(report['about']['device'])}.json"
    path.write_text(json.dumps(report, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
