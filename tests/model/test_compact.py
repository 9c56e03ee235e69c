"""Quantised checkpoints read as they are stored, beside the same ones unpacked."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashling.config import TOY
from flashling.model import compact, weights
from flashling.model.convert import quantize
from flashling.model.ling import Ling
from flashling.model.packed import Packed
from flashling.model.weights import CheckpointError
from flashling.ops import Fp8, Int4, Int8

from .layouts import change
from .test_model import build

# whole blocks of 128 inputs, and a fused weight whose last block is cut
WIDE = TOY.with_(
    hidden_size=128,
    intermediate_size=256,
    moe_intermediate_size=128,
    moe_shared_expert_intermediate_size=128,
    num_attention_heads=4,
    head_dim=32,
    v_head_dim=32,
    q_lora_rank=128,
)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plain")
    weights.save(build(WIDE), folder)
    return folder


def packed_of(model: Ling) -> dict[str, Packed]:
    return {n: m for n, m in model.named_modules() if isinstance(m, Packed)}


@pytest.mark.parametrize("form", ["fp8", "fp8-block", "int4", "int4-128", "int4-all"])
def test_what_is_stored_is_what_is_held(form: str, plain: Path, tmp_path: Path) -> None:
    quantize(plain, tmp_path / form, form)
    want = weights.read(tmp_path / form, torch.float32).state_dict()
    model = compact.read(tmp_path / form, torch.float32)
    packed = packed_of(model)
    kinds = {type(m) for n, m in packed.items() if n != "head"}
    assert kinds == {Int4 if form.startswith("int4") else Fp8}
    assert type(packed.get("head")) is (Int8 if form == "int4-all" else type(None))
    routed = {n for n in packed if "shared" not in n and n.endswith(("gate_up", "down"))}
    assert (
        len(packed) > len(routed) if form not in ("int4", "int4-128") else packed.keys() == routed
    )
    for name, m in packed.items():
        assert torch.equal(m.unpack(torch.float32), want.pop(name)), name
    rest = {n: t for n, t in model.state_dict().items() if n.rpartition(".")[0] not in packed}
    assert rest.keys() == want.keys()
    assert all(torch.equal(t, want[n]) for n, t in rest.items())


def test_other_forms_are_unpacked(plain: Path, tmp_path: Path) -> None:
    for form in ("bf16", "int8"):
        quantize(plain, tmp_path / form, form)
        model = compact.read(tmp_path / form, torch.float32)
        assert not packed_of(model)
        want = weights.read(tmp_path / form, torch.float32).state_dict()
        assert all(torch.equal(t, want[n]) for n, t in model.state_dict().items())


def test_a_number_that_is_none_is_named(plain: Path, tmp_path: Path) -> None:
    quantize(plain, tmp_path / "fp8", "fp8")
    name = "model.layers.0.attention.dense.weight"

    def spoil(t: torch.Tensor) -> torch.Tensor:
        t.view(torch.uint8)[0, 0] = 0xFF
        return t

    change(tmp_path / "fp8", name, spoil)
    with pytest.raises(CheckpointError, match=f"{name} holds NaN"):
        compact.read(tmp_path / "fp8")


def test_weights_that_do_not_fit_are_named_before_any_is_read(
    plain: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Small:
        is_integrated = False

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Small)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 20, 1 << 30))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "a small GPU")
    with pytest.raises(ValueError, match=r"weights take .* GiB are free on a small GPU; take"):
        compact.read(plain, device="cuda")
