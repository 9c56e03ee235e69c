"""Recipes: their bytes, their models, their errors."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from flashling.bench.engine import decode, errors, memory
from flashling.bench.engine.plan import read
from flashling.bench.engine.recipes import RECIPES, random_model, weight_bytes
from flashling.cli.app import main
from flashling.config import LING_FLASH, TOY, ModelConfig
from flashling.engine.memory import Costs
from flashling.engine.runner import Runner
from flashling.llm import sizes
from flashling.model.ling import Ling
from flashling.model.packed import pack
from flashling.quant import FP8, FP8_BLOCK, INT4, INT4_128, Scheme

CPU = torch.device("cpu")
# of a row, random weights of 128 inputs: three bits of mantissa, or 15 steps of a group's range
APART = {"fp8": (0.02, 0.09), "int4-all": (0.05, 0.25)}


@pytest.mark.parametrize("name", RECIPES)
def test_a_random_model_has_the_bytes_that_were_planned_and_runs(
    name: str, config: ModelConfig
) -> None:
    model = random_model(config, CPU, RECIPES[name])
    held = [*model.parameters(), *model.buffers()]
    assert not any(x.is_meta for x in held)
    small = sum(b.nbytes for n, b in model.named_buffers() if n.endswith((".bias", ".load")))
    assert sum(x.nbytes for x in held) - small == weight_bytes(config, RECIPES[name])
    runner = Runner(model, 2, 128)
    runner.fill([[1, 2, 3]], [1])
    runner.step(torch.tensor([1]))
    assert runner.rows.lengths.tolist() == [0, 4] and runner.rows.tails.tolist() == [0, 4]
    assert torch.isfinite(runner.rows.cache.state).all()


def test_weights_have_unit_gain_in_every_form(config: ModelConfig) -> None:
    for name, recipe in RECIPES.items():
        weight = random_model(config, CPU, recipe).layers[1].ffn.gate_up
        plain = weight if isinstance(weight, torch.Tensor) else weight.unpack()
        gain = float(plain.float().square().sum(-1).mean().sqrt())
        assert 0.9 < gain < 1.1, (name, gain)


@pytest.mark.parametrize(
    ("scheme", "rows"),
    [(FP8, 72), (FP8_BLOCK, 256), (INT4, 72), (INT4_128, 72)],
    ids=lambda v: str(v),
)
def test_a_stack_is_packed_as_each_of_its_weights(scheme: Scheme, rows: int) -> None:
    weight = torch.randn(5, rows, 128, generator=torch.Generator().manual_seed(0))
    found = pack(weight, scheme)
    assert found.shape == weight.shape
    for one, plain in zip(found.unpack(), weight, strict=True):
        torch.testing.assert_close(one, scheme.unpack(scheme.pack(plain)))


def test_errors_are_those_of_the_bits(config: ModelConfig) -> None:
    rows = {r["recipe"]: r for r in errors.measure(config, CPU)}
    assert set(rows) == set(RECIPES)
    assert rows["bf16"]["hidden"] == rows["bf16"]["kl"] == 0 and rows["bf16"]["same_token"] == 1
    # its first layer has no routed experts
    assert rows["int4"]["layers"][0] == 0
    for name, (least, most) in APART.items():
        assert least < rows[name]["hidden"] < most, rows[name]
    # the head alone: the wider of both has the larger steps
    assert 0.02 < rows["int4-fp8"]["head"]["fp8"] < 0.05 and "head" not in rows["fp8"]
    assert 0.005 < rows["int4-all"]["head"]["int8"] < 0.01
    assert rows["fp8"]["kl"] < rows["int4-fp8"]["kl"] < rows["int4-all"]["kl"]


def test_widths_that_no_kernel_takes_are_named() -> None:
    rows = {r["recipe"]: r for r in errors.measure(TOY, CPU)}
    assert "qkvg has 64 inputs, fp8-block wants a multiple of 128" in rows["fp8"]["refused"]
    with pytest.raises(ValueError, match="multiple of 128; choose another recipe"):
        random_model(TOY, CPU, RECIPES["fp8"])


def test_what_fits_at_full_size() -> None:
    found = {name: memory.table(LING_FLASH, recipe) for name, recipe in RECIPES.items()}
    assert found["fp8-channel"]["weights"] / 1e9 == pytest.approx(105.8, abs=0.1)
    assert found["bf16"]["fits"]["141"] == {"missing": pytest.approx(78.8e9, abs=1e8)}
    assert "missing" in found["fp8"]["fits"]["96"] and found["int4"]["fits"]["80"]["together"] > 64
    with pytest.raises(ValueError, match=r"bf16 takes 208\.4 GB of weights, .* GB more than the"):
        memory.check_weights(LING_FLASH, RECIPES["bf16"], "bf16", CPU)


def test_on_80_gb_int4_runs_and_the_others_say_what_is_missing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    free, config = 79_000_000_000, LING_FLASH.with_(num_nextn_predict_layers=0)
    monkeypatch.setattr(memory, "free_bytes", lambda _: free)
    assert main(["bench", "engine", "decode", "recipe=fp8-channel", f"out={tmp_path}"]) == 1
    said = "recipe fp8-channel takes 105.8 GB of weights, 26.8 GB more than the 79.0 GB that are"
    assert said in capsys.readouterr().err
    # with int4 the cells of the usual plan that fit, and the bytes that the others miss
    memory.check_weights(config, RECIPES["int4"], "int4", CPU)
    left, plan = free - weight_bytes(config, RECIPES["int4"]), read(["recipe=int4"])
    short = {
        (b, c): decode.Cell(b, c).missing(config, left) for b in plan.batches for c in plan.contexts
    }
    fit = {cell for cell, missing in short.items() if not missing}
    assert {(1, 262_144), (64, 4096), (8, 131_072)} <= fit
    assert 0 < short[128, 4096] < 1e9 < 1e10 < short[256, 4096] < short[64, 131_072]
    # the engine that chat and serve would get there
    taken = dict[str, Any]()
    monkeypatch.setattr(sizes, "_gpu_bytes", lambda *_: left)
    monkeypatch.setattr(
        sizes,
        "Engine",
        lambda _, slots, pages, *rest, **more: taken.update(
            slots=slots, pages=pages, budget=rest[0], checkpoint_bytes=rest[1]
        ),
    )
    model = SimpleNamespace(
        head=SimpleNamespace(device=torch.device("cuda")), config=config, dtype=torch.bfloat16
    )
    sizes.engine_for(cast(Ling, model))
    costs = Costs.of(config)
    assert taken["slots"] >= 16 and taken["pages"] * 64 > 131_072
    used = taken["slots"] * costs.slot + taken["pages"] * costs.page + taken["checkpoint_bytes"]
    assert 2e9 < used < left
    left = 1 << 30
    with pytest.raises(ValueError, match="more are needed for workspaces"):
        sizes.engine_for(cast(Ling, model))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe=fp7"], "no recipe 'fp7'; there are: bf16, fp8"),
        (["model=gpt"], "no model 'gpt'; there are: ling-2.6-flash"),
        (["batches=1,x"], "batches=1,x: give numbers, with commas between several"),
        (["contexts=0"], r"contexts \[0\]: give numbers of 1 at least"),
        (["wings=2"], "there is no 'wings' to change; there are: model"),
        (["out=no/such"], "no folder no/such; make it"),
    ],
)
def test_a_wrong_word_is_named(words: list[str], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(words)
