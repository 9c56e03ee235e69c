"""A quantised checkpoint of true shapes, written, and read as a server reads it."""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from ...config import PRESETS, ModelConfig
from ...engine.memory import weight_bytes
from ...llm.load import load
from ...model import compact
from ...model.stage import Spent
from ..local import served
from . import checkpoint
from .plan import Plan, Row

GB, FORM = 10**9, "fp8"


def measure(plan: Plan, device: torch.device) -> Iterator[Row]:
    """A row for each way of reading, in each folder: cold where the page cache can be dropped, then
    from the cache. In the first one then with the kernels compiled beside it, and by a server until
    it is ready.
    """
    config = shape(plan)
    for place in plan.folders:
        folder = Path(tempfile.mkdtemp(dir=place))
        try:
            began = time.perf_counter()
            nbytes = checkpoint.write(config, FORM, folder)
            wrote = time.perf_counter() - began
            whole = weight_bytes(PRESETS[plan.model], FORM)
            about = {"folder": place, "kind": filesystem(folder), "gb": nbytes / GB}
            yield {**about, "how": "written", "gb_per_s": nbytes / GB / wrote}
            for how in ("cold", "again", "again"):
                if how == "cold":
                    checkpoint.forget(folder)
                yield {**about, "how": how, **_read(folder, device, whole)}
            if place != plan.folders[0]:
                continue
            if device.type == "cuda":
                yield {**about, "how": "with kernels", **_started(folder)}
            yield {**about, "how": "served", **_served(folder)}
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def shape(plan: Plan) -> ModelConfig:
    """So many groups of layers of the model that the checkpoint has the wanted bytes, or all."""
    whole = PRESETS[plan.model].with_(num_nextn_predict_layers=0)
    group = whole.layer_group_size
    for count in range(group, whole.num_hidden_layers + 1, group):
        config = whole.with_(num_hidden_layers=plan.layers or count)
        if plan.layers or weight_bytes(config, FORM) >= plan.gigabytes * GB:
            return config
    return whole


def _read(folder: Path, device: torch.device, whole: int) -> Row:
    spent, began = Spent(), time.perf_counter()
    before = host_peak()
    model = compact.read(folder, torch.bfloat16, device, spent=spent)
    seconds = time.perf_counter() - began
    del model
    gc.collect()
    return {
        "seconds": seconds,
        "headers_s": spent.headers,
        "room_s": spent.room,
        "weights_s": spent.weights,
        "gb_per_s": spent.nbytes / spent.weights / GB,
        "in_files": spent.files / (spent.weights * spent.threads),
        "files_gb_per_s": spent.nbytes / (spent.files / spent.threads) / GB,
        "threads": spent.threads,
        "host_peak_gb": host_peak() / GB,
        "host_before_gb": before / GB,
        # the headers and the weights grow with the checkpoint: not measured, but extrapolated
        "predicted_whole_gb": whole / GB,
        "predicted_whole_s": (spent.headers + spent.weights) * whole / spent.nbytes + spent.room,
    }


def _started(folder: Path) -> Row:
    began = time.perf_counter()
    *_, startup = load(folder, None, None)
    assert startup is not None
    found = {"weights_s": startup.spent.weights, "kernels_s": startup.kernels}
    return {"seconds": time.perf_counter() - began, **found}


def _served(folder: Path) -> Row:
    """A server's process from its start until it has answered once."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    began = time.perf_counter()
    with served(str(folder)):
        return {"ready_s": time.perf_counter() - began}


def host_peak() -> int:
    """Bytes of memory that this process has had at most, without what was mapped from files."""
    with open("/proc/self/status") as file:
        found = re.search(r"VmHWM:\s*(\d+) kB", file.read())
    return int(found[1]) * 1024 if found else 0


def filesystem(folder: Path) -> str:
    """What kind of file system a folder is on."""
    if sys.platform != "linux":
        return "unknown"
    with open("/proc/mounts") as file:
        mounts = [line.split()[1:3] for line in file]
    real = os.path.realpath(folder)
    inside = [(len(at), kind) for at, kind in mounts if f"{real}/".startswith(at.rstrip("/") + "/")]
    return max(inside)[1] if inside else "unknown"
