"""What the compiler makes of the kernels that serve the full model, for GPUs at hand or not.

`python3 -m benchmarks.compiled [80 89 90 100 120 121] [here] [out=FOLDER]
[recipes=bf16,fp8,blocks,int4,int4-128]`. Each kind of GPU is compiled for with the tiles that would
be chosen there; `here` is the GPU at hand, whose launches then find the kernels in Triton's cache.
Everything is compiled anew. Tells seconds, shared memory beside what a program can have, registers
and spilled bytes.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from flashling.config import LING_FLASH, ModelConfig
from flashling.engine import warm
from flashling.model.ling import Ling
from flashling.model.packed import HEAD, Packed, replace
from flashling.ops import Fp8, Int4, Int8, device
from flashling.ops.linear.int4 import EACH, GROUPS

from .ops import about

Report = dict[str, Any]
FOURS = dict(zip(("int4", "int4-128"), GROUPS, strict=True))
RECIPES = ("bf16", "fp8", "blocks", *FOURS)
# of a sequence in a step, so that the kernels of several rows are among them
DRAFTS = 3


class Elsewhere:
    """What Triton asks of a driver before it launches anything."""

    def __init__(self, kind: int) -> None:
        self.kind = kind

    def get_current_target(self) -> Any:
        """The kind of GPU to compile for."""
        from triton.backends.compiler import GPUTarget

        return GPUTarget("cuda", self.kind, 32)

    def get_current_device(self) -> int:
        """There is one."""
        return 0

    def get_current_stream(self, _: int = 0) -> int:
        """The default one."""
        return 0


def settle(kind: int | None, folder: str) -> None:
    """Let this process compile for a kind of GPU, or the one at hand, into a cache of its own.
    Before anything of Triton is imported.
    """
    os.environ["TRITON_CACHE_DIR"] = folder
    if kind is not None:
        from triton.runtime import driver

        device.pretend(device.KINDS[kind])
        driver.set_active(Elsewhere(kind))  # pyright: ignore[reportArgumentType]


def empty(config: ModelConfig, recipe: str) -> Ling:
    """A model without numbers, its linear weights in a recipe's form; with int4 a head in int8."""

    def make(name: str, weight: torch.Tensor) -> Packed:
        *front, rows, columns = weight.shape
        if name == HEAD:
            return Int8(weight.to(torch.int8), torch.empty(rows))
        if recipe in FOURS:
            words = torch.empty(*front, rows, columns // EACH, dtype=torch.int32)
            scales = columns // FOURS[recipe]
            return Int4(words, torch.empty(*front, rows, scales, dtype=torch.bfloat16))
        across = [-(-rows // 128), -(-columns // 128)] if recipe == "blocks" else [rows]
        return Fp8(weight.to(torch.float8_e4m3fn), torch.empty(*front, *across))

    with torch.device("meta"):
        model = Ling(config).cast(torch.bfloat16)
        if recipe == "bf16":
            return model
        return replace(replace(model, make), make, (HEAD,) if recipe == "int4" else ())


def compiled(recipe: str, show: bool = False) -> Report:
    """Compile a recipe's kernels in this process, which is settled."""
    from flashling.ops.warm import compile_kernels

    began = perf_counter()
    found = compile_kernels(warm.calls(empty(LING_FLASH, recipe), DRAFTS), _bar if show else None)
    seconds = perf_counter() - began
    gpu = device.current()
    facts = {
        k.name: [usage(x.compiled) for x in found if x.name == k.name] for k in found if not k.error
    }
    most = {n: {key: max(u[key] for u in us) for key in us[0]} for n, us in facts.items()}
    return {
        "recipe": recipe,
        "kernels": len(found),
        "seconds": round(seconds, 1),
        "too_large": sorted(n for n, u in most.items() if u["shared"] > gpu.program_bytes),
        "failed": dict(Counter(k.name for k in found if k.error)),
        "errors": sorted({_short(k.error) for k in found if k.error}),
        "most": most,
    }


def usage(kernel: Any) -> dict[str, int]:
    """Shared bytes of a program, registers and spilled bytes of a thread."""
    import triton

    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(kernel.asm["cubin"])
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    registers, stack, local = (
        max(map(int, re.findall(rf"{key}:(\d+)", text)), default=0)
        for key in ("REG", "STACK", "LOCAL")
    )
    return {"shared": kernel.metadata.shared, "registers": registers, "spilled": stack + local}


def _short(error: Exception | None) -> str:
    lines = [line for line in str(error).splitlines() if "error" in line.lower()]
    return re.sub(r"\S*/\S+", "...", (lines or str(error).splitlines())[-1])[:160]


def _bar(done: int, total: int) -> None:
    if sys.stderr.isatty():
        print(f"\rkernels {done} of {total}\x1b[K", end="", file=sys.stderr, flush=True)


def measure(kind: int | None, recipes: list[str]) -> list[Report]:
    """A row for each recipe, each compiled anew in a process of its own."""
    rows = []
    for recipe in recipes:
        # such weights are unpacked there when they are read
        if kind and recipe in ("fp8", "blocks") and not device.KINDS[kind].has_e4m3:
            continue
        with (
            tempfile.TemporaryDirectory() as folder,
            ProcessPoolExecutor(
                1, multiprocessing.get_context("spawn"), settle, (kind, folder)
            ) as pool,
        ):
            row = {"kind": kind or "here"} | pool.submit(partial(compiled, recipe, True)).result()
        rows.append(row)
        print(line(row), flush=True)
    return rows


def line(row: Report) -> str:
    """A row of the table, and what is wrong with it."""
    name = max(row["most"], key=lambda n: row["most"][n]["shared"])
    most = row["most"][name]
    spills = {n: u["spilled"] for n, u in row["most"].items() if u["spilled"]}
    text = (
        f"{row['kind']!s:>4} {row['recipe']:<7} {row['kernels']:>4} kernels {row['seconds']:>6} s"
    )
    text += f"  most shared {most['shared']:>6} ({name})"
    text += f"  spilled {spills}" if spills else ""
    text += f"  TOO LARGE {row['too_large']}" if row["too_large"] else ""
    return text + (f"  FAILED {row['failed']} {row['errors']}" if row["failed"] else "")


def main(*arguments: str) -> int:
    """Compile for the kinds named, all unless told; 1 if a kernel does not compile or fit."""
    options = dict(a.split("=", 1) for a in arguments if "=" in a)
    names = [a for a in arguments if "=" not in a] or list(map(str, device.KINDS))
    recipes = options.get("recipes", ",".join(RECIPES)).split(",")
    known = [*map(str, device.KINDS), "here"]
    if unknown := [n for n in names if n not in known] + [r for r in recipes if r not in RECIPES]:
        print(f"{unknown[0]!r} is none of {', '.join((*known, *RECIPES))}", file=sys.stderr)
        return 2
    here = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    facts = about(here) | {"command": " ".join(["python3 -m benchmarks.compiled", *arguments])}
    facts |= {"cores": os.cpu_count()}
    rows = [r for n in names for r in measure(None if n == "here" else int(n), recipes)]
    out = Path(options.get("out", Path(__file__).parent / "results"))
    listed = ",\n  ".join(map(json.dumps, rows))
    path = out / "compiled.json"
    path.write_text(f'{{"about": {json.dumps(facts)}, "rows": [\n  {listed}\n]}}\n')
    return int(any(r["failed"] or r["too_large"] for r in rows))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
