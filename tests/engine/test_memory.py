"""Memory plans: exact where tensors are counted, cut with a sentence where wishes do not fit."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from flashling.config import LING_FLASH, NANO, TOY
from flashling.engine.cache import Cache
from flashling.engine.costs import Costs
from flashling.engine.memory import SLACK, MemoryPlan, Wanted, weight_bytes
from flashling.engine.tiers import Host, Tiers
from flashling.llm import sizes
from flashling.model.names import published
from flashling.quant import PLANS

GIB = 2**30


def used(p: MemoryPlan) -> int:
    past = p.slots * p.costs.slot + p.pages * p.costs.page
    return p.weights + p.workspaces + past + p.checkpoint_bytes


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_costs_are_what_the_cache_allocates(dtype: torch.dtype) -> None:
    cache, costs = Cache(TOY, 3, 5, dtype), Costs.of(TOY, dtype)
    # a spare slot and page among the workspaces
    assert 4 * costs.slot == cache.state.nbytes + cache.tail.nbytes
    assert 6 * costs.page == cache.pages.nbytes
    found = cache.snapshot(0, 64, 32)
    assert found.nbytes == costs.checkpoint
    small = cache.quantise(found).nbytes if dtype == torch.bfloat16 else costs.checkpoint
    assert costs.least == small
    assert Costs.of(TOY, dtype, exact=True).least == costs.checkpoint


@pytest.mark.parametrize("form", PLANS)
def test_weights_are_the_stored_tensors(form: str) -> None:
    """As the files that `flashling quantize` writes: every tensor that `pack` makes."""
    total = 0
    for t in published(TOY):
        scheme = PLANS[form].of(t.name) if len(t.shape) == 2 else None
        if scheme is None:
            total += torch.empty(t.shape).numel() * (4 if t.name.endswith("bias") else 2)
        else:
            total += sum(x.nbytes for x in scheme.pack(torch.ones(t.shape)).values())
    assert weight_bytes(TOY, form) == total


def test_full_size_figures() -> None:
    costs = Costs.of(LING_FLASH.with_(num_nextn_predict_layers=0))
    assert (costs.token, costs.state, costs.slot) == (4608, 56 << 20, 84 << 20)
    # the latents of the MTP layer are one fifth of a page
    assert Costs.of(LING_FLASH).token == 5760
    assert weight_bytes(LING_FLASH, "fp8") / GIB == pytest.approx(101.47, abs=0.01)


def test_one_h200_beside_the_written_figures() -> None:
    """Written: with FP8, MTP and 4 GB of workspace 26 GB remain, 338 sequences of 4k. That counts
    a state of 56 MiB alone, and latents of four layers: so does the first line here. A slot has an
    open chunk too (28 MiB) and the MTP layer keeps latents, which leaves 232; and each slot of a
    plan comes with one checkpoint (70 MiB), which leaves 140 and nothing beside. The plan for 139
    GB itself keeps 2 % for the allocator and makes room for one chunk of 8,192 rows.
    """
    bare = Costs.of(LING_FLASH.with_(num_nextn_predict_layers=0))
    whole = Costs.of(LING_FLASH)
    assert int(26e9) // (bare.state + 4096 * bare.token) == pytest.approx(338, rel=0.01)
    assert int(26e9) // (whole.slot + 4096 * whole.token) == 232
    assert int(26e9) // (whole.slot + whole.checkpoint + 4096 * whole.token) == 140
    wanted = Wanted(slots=338, context=4096, exact=True)
    plan = MemoryPlan.of(LING_FLASH, int(139e9), "fp8", wanted)
    assert plan.slots == 128 and "slots 338 -> 128: 2" in plan.said[0]
    # in int8 a checkpoint takes 14.2 MiB
    plan = MemoryPlan.of(LING_FLASH, int(139e9), "fp8", replace(wanted, exact=False))
    assert plan.slots == 185 and plan.costs.least / 2**20 == pytest.approx(14.22, abs=0.01)
    # written for 139 GiB: 64 live slots in 5.3 GiB, 2.2 million tokens of latents in 9.4 GiB (these
    # need 11.7: the MTP layer), and 10.7 GiB of states: 768 in int8, 210 in float32 with 14.5 GiB,
    # since the workspaces are 3.4 GiB by the formula and 10 there
    plan = MemoryPlan.of(LING_FLASH, 139 * GIB, "fp8")
    assert (plan.slots, plan.checkpoints, plan.said) == (64, 210, ())
    assert plan.tokens == pytest.approx(2.2e6, rel=0.02)
    # 200 and more that run at once, each with pages for 4,096 tokens and a checkpoint, one of them
    # with the longest context
    plan = MemoryPlan.of(LING_FLASH, 139 * GIB, "fp8", Wanted(slots=200, context=131_072))
    assert (plan.slots, plan.said) == (200, ()) and used(plan) <= 139 * GIB
    assert plan.pages >= 199 * 64 + 2048
    assert plan.checkpoint_bytes >= 200 * plan.costs.least


@pytest.mark.parametrize("free", [104.5, 106, 110, 120, 139, 300])
@pytest.mark.parametrize("slots", [1, 64, 500])
def test_a_plan_fits_and_wastes_nothing(free: float, slots: int) -> None:
    plan = MemoryPlan.of(LING_FLASH, int(free * GIB), "fp8", Wanted(slots, 131_072, 2048))
    room = int(free * GIB) * (1 - SLACK) + 1
    assert room - plan.costs.page <= used(plan) <= room
    assert plan.pages * 64 >= plan.context >= 1024 and 1 <= plan.slots <= slots
    assert (plan.slots < slots) == any(s.startswith("slots") for s in plan.said)
    assert (plan.context < 131_072) == any(s.startswith("context") for s in plan.said)
    assert (plan.checkpoints == 0) == any(s.startswith("checkpoints") for s in plan.said)


def test_more_memory_never_gives_less() -> None:
    found = []
    for free in range(105, 140, 3):
        p = MemoryPlan.of(LING_FLASH, free * GIB, "fp8", Wanted(context=65_536, budget=2048))
        found.append((p.context, p.slots))
    assert found == sorted(found) and found[0][0] < 65_536 and found[-1] == (65_536, 64)


def test_what_cannot_fit_names_the_remedies() -> None:
    with pytest.raises(ValueError) as error:
        MemoryPlan.of(LING_FLASH, 80 * GIB, "fp8")
    for part in (
        "80.00 GiB are free",
        "GiB more",
        "101.47 GiB",
        "1,024 tokens",
        "format",
        "larger",
    ):
        assert part in str(error.value)
    with pytest.raises(ValueError, match="format 'fp9' is unknown; choose one of bf16, fp8"):
        MemoryPlan.of(LING_FLASH, 80 * GIB, "fp9")
    with pytest.raises(ValueError, match="slots 0 must be 1 at least"):
        MemoryPlan.of(NANO, GIB, "bf16", Wanted(slots=0))


def test_the_table_tells_everything() -> None:
    wanted = Wanted(context=10**6, host_bytes=64 * GIB, disk_bytes=10 << 20)
    plan = MemoryPlan.of(LING_FLASH, 139 * GIB, "fp8", wanted)
    lines = plan.table().splitlines()
    names = "weights workspaces live pages checkpoints host disk context disk".split()
    assert [line.split()[0] for line in lines] == names
    assert "64 of 84.00 MiB" in lines[2] and lines[6].endswith("none")
    assert f"{64 * GIB // plan.costs.session(131_072)} sessions of 131,072 tokens" in lines[5]
    assert lines[7] == "context 1,000,000 -> 131,072: the model has no more"
    assert lines[8].startswith("disk 10.00 MiB -> 0: a session takes ")


@pytest.mark.parametrize("host", [0, 16 * GIB])
def test_a_gpu_that_shares_the_computers_memory(host: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """128 GB of which the system shows 119.7 GiB: every matrix in four bits fits beside it."""
    c, total = LING_FLASH.with_(num_nextn_predict_layers=0), int(119.7 * GIB)
    weights = weight_bytes(c, "int4-all")
    assert weights / 1e9 == pytest.approx(59.9, abs=0.1)
    told = SimpleNamespace(is_integrated=True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: told)
    monkeypatch.setattr(sizes, "_available", lambda: total - 4 * GIB - weights)
    tiers = Tiers(Host(host)) if host else None
    free = sizes._gpu_bytes(torch.device("cuda"), tiers)
    assert free == total - (4 + 8) * GIB - weights - host
    plan = MemoryPlan.of(c, free + weights, "int4-all", sizes.GPU)
    assert (plan.slots, plan.context, plan.said) == (64, 131_072, ())
    # as it is planned, everything lies in the one memory, the tier and the system's part too
    assert used(plan) + host + 12 * GIB <= total
    with pytest.raises(ValueError, match="more are needed for weights"):
        MemoryPlan.of(c, sizes.shared_bytes(total, host), "bf16", sizes.GPU)
    assert sizes.shared_bytes(GIB, 0) == 0


def test_80_gb_take_the_experts_in_four_bits_and_say_what_is_cut() -> None:
    c, free = LING_FLASH.with_(num_nextn_predict_layers=0), int(79.1 * GIB)
    plan = MemoryPlan.of(c, free, "int4", Wanted(64, 131_072, 8192))
    assert used(plan) <= free and (plan.slots, plan.context, plan.said) == (64, 131_072, ())
    more = MemoryPlan.of(c, free, "int4", Wanted(256, 131_072, 8192))
    assert more.slots < 256 and more.said[0].startswith(f"slots 256 -> {more.slots}: ")
    for form in ("fp8", "bf16"):
        with pytest.raises(ValueError, match="choose a format of fewer bits"):
            MemoryPlan.of(c, free, form)
