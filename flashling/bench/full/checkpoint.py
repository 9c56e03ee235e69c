"""A checkpoint of meaningless numbers in a published layout, written fast: for reading it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import torch

from ... import nano
from ...config import ModelConfig
from ...model.files import INDEX
from ...model.names import published
from ...quant import PLANS, Plan
from ...quant.scheme import FLOAT8

SHARD = 4 << 30
# bytes that are written again and again: numbers that no check takes for damage
BLOCK, WRITERS = 64 << 20, 8
NAMES = {torch.bfloat16: "BF16", torch.float32: "F32", FLOAT8: "F8_E4M3", torch.int32: "I32"}
Stored = tuple[str, torch.dtype, tuple[int, ...]]


def write(config: ModelConfig, form: str, folder: Path) -> int:
    """Fill `folder` with config.json, the embedded model's tokenizer, and shards with an index, as
    "fp8" or "bf16" are published. The bytes of the tensors.
    """
    plan = PLANS[form]
    shards, places = list(_shards(config, plan)), dict[str, str]()
    jobs = []
    for i, shard in enumerate(shards, 1):
        name = f"model-{i:05d}-of-{len(shards):05d}.safetensors"
        places |= dict.fromkeys((s[0] for s in shard), name)
        jobs.append(partial(_write, folder / name, shard))
    with ThreadPoolExecutor(WRITERS) as pool:
        total = sum(pool.map(lambda job: job(), jobs))
    text = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / INDEX).write_text(json.dumps(text), "utf-8")
    describe(config.with_(quantization=plan.to_dict()), folder)
    return total


def describe(config: ModelConfig, folder: Path) -> None:
    """Write the config, and beside it the embedded model's tokenizer."""
    config.write(folder)
    shutil.copyfile(nano.path() / "tokenizer.json", folder / "tokenizer.json")


def _shards(config: ModelConfig, plan: Plan) -> Iterator[list[Stored]]:
    shard: list[Stored] = []
    size = 0
    for stored in _stored(config, plan):
        if shard and size > SHARD:
            yield shard
            shard, size = [], 0
        shard.append(stored)
        size += nbytes(stored)
    yield shard


def _stored(config: ModelConfig, plan: Plan) -> Iterator[Stored]:
    for t in published(config):
        scheme = plan.of(t.name) if len(t.shape) == 2 else None
        if scheme is None:
            is_wide = t.name.endswith("bias")
            yield t.name, torch.float32 if is_wide else torch.bfloat16, t.shape
            continue
        yield t.name, FLOAT8, t.shape
        yield f"{t.name}_scale", scheme.scale, scheme.scale_shape(t.shape)


def nbytes(stored: Stored) -> int:
    """Bytes of a stored tensor."""
    _, dtype, shape = stored
    return torch.Size(shape).numel() * dtype.itemsize


def _write(file: Path, shard: list[Stored]) -> int:
    """One file: wide types first, then by name, as the usual writer orders them."""
    shard = sorted(shard, key=lambda s: (-s[1].itemsize, s[0]))
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for stored in shard:
        name, dtype, shape = stored
        end = at + nbytes(stored)
        head[name] = {"dtype": NAMES[dtype], "shape": list(shape), "data_offsets": [at, end]}
        at = end
    told = json.dumps(head).encode()
    told += b" " * (-len(told) % 8)
    # every byte is a small number in e4m3, and two or four of them are one in other types
    block = torch.randint(0x20, 0x3C, (BLOCK,), dtype=torch.uint8).numpy().data
    with open(file, "wb", buffering=0) as opened:
        opened.write(len(told).to_bytes(8, "little") + told)
        for start in range(0, at, BLOCK):
            part = block[: min(BLOCK, at - start)]
            while part:
                part = part[opened.write(part) :]
        os.fsync(opened.fileno())
    return at


def forget(folder: Path) -> None:
    """Ask for the files to be dropped from the page cache; memory file systems keep them."""
    for file in folder.glob("*.safetensors"):
        with open(file, "rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
