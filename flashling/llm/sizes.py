"""How large an engine a model gets on its device."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import torch

from ..engine.drafts import guess_bytes
from ..engine.engine import Engine
from ..engine.memory import MemoryPlan, Wanted
from ..engine.request import pages_for
from ..engine.tiers import Tiers
from ..model.ling import Ling

# of a computer's memory, and what of it is taken before anybody asks: pages for one text of the
# whole context and for some short ones
CPU_SHARE, CPU_PAGES, CPU_CHECKPOINTS = 1 / 4, 256, 1 << 30
CPU = Wanted(slots=16, context=1 << 20, budget=256)
GPU = Wanted(slots=64, context=1 << 17, budget=8192)
# of memory that a GPU shares with its computer: for the system and the programs beside the engine
SYSTEM = 8 << 30


def engine_for(
    model: Ling,
    tiers: Tiers | None = None,
    exact: bool = False,
    running: int | None = None,
    drafts: int = 0,
) -> Engine:
    """An engine for a model that is loaded, in what is left of its device's memory, with `tiers`
    below it. running: sequences that run at once; drafts: of each. ValueError if not even one of
    1,024 tokens fits, or not so many.
    """
    device, config = model.head.device, model.config
    is_cpu = device.type == "cpu"
    free = _cpu_bytes() if is_cpu else _gpu_bytes(device, tiers)
    free -= guess_bytes(model) if drafts else 0
    usual = CPU if is_cpu else GPU
    slots = usual.slots if running is None else running
    wanted = replace(usual, slots=slots, draws=1 + drafts, dtype=model.dtype, exact=exact)
    plan = MemoryPlan.of(config, free, None, wanted)
    if running is not None and plan.slots < running:
        told = "; ".join(plan.said)
        raise ValueError(f"{running} requests at once do not fit ({told}); ask for {plan.slots}")
    pages, checkpoints = plan.pages, plan.checkpoint_bytes
    if is_cpu:
        pages = min(pages, pages_for(plan.context) + CPU_PAGES)
        checkpoints = min(checkpoints, CPU_CHECKPOINTS)
    return Engine(
        model, plan.slots, pages, wanted.budget, checkpoints, drafts, tiers=tiers, exact=exact
    )


def shared_bytes(available: int, host_bytes: int) -> int:
    """What an engine may take of memory that its GPU shares with the computer, `available` bytes of
    which are not in use: the tier in host memory lies there too.
    """
    return max(0, available - SYSTEM - host_bytes)


def _gpu_bytes(device: torch.device, tiers: Tiers | None) -> int:
    if not torch.cuda.get_device_properties(device).is_integrated:
        return torch.cuda.mem_get_info(device)[0]
    host = tiers.host if tiers is not None else None
    # the driver counts what is cached of files as taken
    return shared_bytes(_available(), host.budget_bytes if host is not None else 0)


def _available() -> int:
    found = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text())
    return int(found[1]) * 1024 if found else 0


def _cpu_bytes() -> int:
    return int(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") * CPU_SHARE)
