"""The compiler takes every kernel for every kind of GPU, with the tiles chosen there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]
SOAK = pytest.mark.soak


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """A command in a process where kernels are compiled, not interpreted."""
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder / "cache")}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=ROOT, env=env
    )


@pytest.mark.timeout(3000)
@pytest.mark.parametrize(
    ("kind", "recipe"),
    [
        pytest.param(kind, recipe, marks=SOAK)
        for kind in ("80", "89", "90", "100", "120", "121")
        for recipe in ("bf16", "fp8", "blocks", "int4")
        if kind != "80" or recipe in ("bf16", "int4")
    ],
)
def test_kernels_compile_and_fit(kind: str, recipe: str, tmp_path: Path) -> None:
    out = run(tmp_path, "-m", "benchmarks.compiled", kind, f"recipes={recipe}", f"out={tmp_path}")
    assert out.returncode == 0, out.stdout + out.stderr
    [row] = json.loads((tmp_path / "compiled.json").read_text())["rows"]
    assert row["kernels"] > 30 and not row["failed"] and not row["too_large"]


STEPS = """
import random, sys
from contextlib import nullcontext
import triton
from triton import JITFunction
from benchmarks.compiled import LING_FLASH, empty, settle
settle(90, sys.argv[1])
import torch
from flashling import ops
from flashling.engine import warm
from flashling.engine.cache import PAGE, Cache
from flashling.ops.op import using

seen = set()
triton.knobs.runtime.jit_cache_hook = lambda *, fn, key, **_: seen.add((fn.name, key)) or True
run = JITFunction.run
def dry(self, *args, grid, warmup, **options):
    run(self, *args, grid=grid, warmup=True, **options)
JITFunction.run = dry
model, drafts, exact = empty(LING_FLASH, sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "exact"
with ops.exactly() if exact else nullcontext(), using("cuda"), torch.no_grad():
    for call in warm.calls(model, drafts):
        call()
    warmed, draw = set(seen), random.Random(5)
    shadow = warm._shadow(model)
    cache = Cache(shadow.config, 32, 2 * 8192 // PAGE, shadow.dtype, "meta")
    for _ in range(60):
        counts = [int(2 ** draw.uniform(0, 12)) for _ in range(draw.choice([1, 1, 2, 5]))]
        warm._prompt(shadow, cache, tuple(counts), drafts > 0)
print(len(warmed), *map(str, sorted(seen - warmed)), sep="\\n")
"""


@pytest.mark.parametrize(
    ("recipe", "drafts", "mode"),
    [
        pytest.param("fp8", 0, "usual", marks=SOAK),
        ("fp8", 2, "usual"),
        ("int4", 0, "usual"),
        ("fp8", 2, "exact"),
    ],
)
def test_no_step_launches_a_kernel_that_was_not_warmed(
    recipe: str, drafts: int, mode: str, tmp_path: Path
) -> None:
    out = run(tmp_path, "-c", STEPS, str(tmp_path), recipe, str(drafts), mode)
    assert out.returncode == 0, out.stderr[-3000:]
    warmed, *more = out.stdout.splitlines()
    assert int(warmed) > 50 and not more, more
