"""`python3 -m benchmarks.tune [out=FOLDER]`: the tiles of e4m3 weights, for the GPU at hand.

For every weight of the full model and some numbers of rows, the kernels' own choice is timed
beside other tiles, and one that is quicker by more than chance is kept in flashling/ops/tuned. How
a weight's inputs are shared out is never changed: the bits of a row hang on it.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from statistics import median
from typing import Any

import torch

from flashling.config import LING_FLASH
from flashling.ops import Fp8
from flashling.ops.cases import Maker
from flashling.ops.device import Device, current, slug
from flashling.ops.linear.cases import fp8

from . import clock
from .compiled import empty

# the most rows of a bucket; a single row has a kernel of its own
ROWS = (1, 16, 32, 64, 128)
# a tile must be quicker by so much to be kept
GAIN = 0.03
# bytes of weights that a chain of calls walks over
ROTATED = 1 << 29
STEP = 128


def shapes() -> list[tuple[int, int]]:
    """Outputs and inputs of every linear map of the full model that is not an expert's."""
    found = [m for m in empty(LING_FLASH, "fp8").modules() if isinstance(m, Fp8)]
    return sorted({(m.shape[0], m.shape[1]) for m in found if len(m.shape) == 2})


def candidates(rows: int, weight: Fp8, gpu: Device) -> Iterator[Any]:
    """Tiles to try beside the choice: all that fit the device and leave a row its bits."""
    from flashling.ops.linear.triton import FEW_INPUTS, FEW_ROWS, Few, Stream, splits

    outputs, inputs = weight.shape
    if rows <= FEW_ROWS and inputs <= FEW_INPUTS:
        tiles = product((2, 4, 8, 16), (4, 8), (None, 2, 4), (1, 2))
        yield from (Few(r, w, p, stages=s) for r, w, p, s in tiles)
        return
    tall = max(rows, 16)
    for wide, warps, stages in product((64, 128), (4, 8), (3, 4, 5, 6)):
        # a tile's outputs lie in one row of blocks, and 8 warps want 128 of them
        fits = stages * (wide + tall) * STEP <= gpu.program_bytes
        if fits and warps * 16 <= wide * 2:
            yield Stream(wide, tall, splits(outputs, inputs), warps, stages)


def calls(rows: int, weights: list[Fp8], tile: Any) -> list[Callable[[], Any]]:
    """One call for each of the weights."""
    from flashling.ops.linear.triton import linear

    place = weights[0].numbers.device
    x = Maker(torch.bfloat16, place, source=place)(rows, weights[0].shape[1])
    return [partial(linear, x, w, tile=tile) for w in weights]


def best(rows: int, weights: list[Fp8]) -> tuple[Any, float, float]:
    """The quickest tile, its microseconds and those of the choice; the choice unless it gains."""
    from flashling.ops.linear.triton import choose

    chosen = choose(rows, weights[0])
    times = {}
    for tile in dict.fromkeys((chosen, *candidates(rows, weights[0], current()))):
        times[tile] = median(clock.graph(calls(rows, weights, tile)))
    quickest = min(times, key=lambda t: times[t])
    found = quickest if times[quickest] < (1 - GAIN) * times[chosen] else chosen
    return found, times[found], times[chosen]


def main(*arguments: str) -> int:
    """Write what is quicker than the choice to the file of this device."""
    from flashling.ops import tuned
    from flashling.ops.linear.triton import Few, choose, shape_of
    from flashling.ops.warm import compile_kernels

    if not torch.cuda.is_available():
        print("tiles are tuned on a GPU; here is none", file=sys.stderr)
        return 2
    options = dict(a.split("=", 1) for a in arguments)
    folder = Path(options.get("out", tuned.FOLDER))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{slug(current().name)}.json"
    # what was kept before must not be the choice now
    tuned.FOLDER = folder / "none"
    meta = Maker(torch.bfloat16, torch.device("meta"))
    forms = [(s, is_blocked) for s in shapes() for is_blocked in (False, True)]
    tried = (
        call
        for shape, is_blocked in forms
        for rows in ROWS
        for weight in [fp8(meta, *shape, blocks=is_blocked)]
        for tile in (choose(rows, weight), *candidates(rows, weight, current()))
        for call in calls(rows, [weight], tile)
    )
    bad = [k for k in compile_kernels(tried) if k.error]
    print(f"{len(bad)} tiles do not compile" if bad else "compiled")
    kept: dict[str, Any] = {}
    gpu = torch.device("cuda")
    for shape, is_blocked in forms:
        count = max(2, min(24, ROTATED // (shape[0] * shape[1])))
        makers = [Maker(torch.bfloat16, gpu, seed, gpu) for seed in range(count)]
        weights = [fp8(m, *shape, blocks=is_blocked) for m in makers]
        for rows in ROWS:
            tile, us, before = best(rows, weights)
            print(
                f"{shape_of(weights[0]):>18} {rows:>4} rows {us:7.2f} us, was {before:7.2f} {tile}"
            )
            # a bucket between two others must not take the next one's tile
            if isinstance(tile, Few) or rows > 1:
                op = "few" if isinstance(tile, Few) else "stream"
                at = kept.setdefault(op, {}).setdefault(shape_of(weights[0]), {})
                at[str(rows)] = asdict(tile)
    path.write_text(json.dumps(kept, indent=1) + "\n")
    print(f"written: {path.name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
