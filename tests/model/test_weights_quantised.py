"""Quantised checkpoints: written, read back exactly, and every kind of damage named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flashling.batch import Batch
from flashling.config import NANO, TOY, ModelConfig
from flashling.model import weights
from flashling.model.convert import quantize
from flashling.model.ling import Ling
from flashling.model.names import published
from flashling.model.past import Fresh
from flashling.model.weights import CheckpointError, read
from flashling.quant import FP8, INT4, PLANS, Scheme

from ..quant import by_hand
from .test_model import build, text

FORMS = [form for form in PLANS if form != "bf16"]
ONE = "model-00001-of-00001.safetensors"
# wide enough for more than one block of 128
WIDE = TOY.with_(hidden_size=160, intermediate_size=192)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    weights.save(build(TOY, torch.float32), folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        (folder / name).write_text(f"the text of {name}")
    return folder


@pytest.fixture
def made(source: Path, tmp_path: Path) -> Callable[[str], Path]:
    def make(form: str) -> Path:
        quantize(source, tmp_path / form, form)
        return tmp_path / form

    return make


def tensors_of(folder: Path) -> dict[str, torch.Tensor]:
    return {n: t for f in sorted(folder.glob("*.safetensors")) for n, t in load_file(f).items()}


@torch.no_grad()
def logits(model: Ling) -> tuple[torch.Tensor, torch.Tensor]:
    batch = Batch.pack([text(70)])
    hidden = model(batch, past := Fresh(batch))
    guess = model.mtp_hidden(hidden, batch, past)[:-1]
    return model.logits(hidden), model.logits(guess)


@torch.no_grad()
def by_hand_model(folder: Path, config: ModelConfig, dtype: torch.dtype) -> Ling:
    """A model filled with weights that the second decoder took out of the files."""
    found, model = tensors_of(folder), Ling(config).cast(dtype)
    own = model.state_dict()
    for t in published(config):
        if len(t.shape) == 2:
            weight = by_hand.weight(found, t.name.removesuffix(".weight"), (*t.shape,)[:2])
        else:
            weight = found[t.name]
        t.view(own).copy_(weight)
    return model.eval()


@pytest.mark.parametrize("config", [TOY, WIDE], ids=["toy", "wide"])
@pytest.mark.parametrize("form", FORMS)
def test_the_model_is_the_dequantised_one(form: str, config: ModelConfig, tmp_path: Path) -> None:
    if config is WIDE and form != "fp8-block":
        pytest.skip("wide is for blocks")
    weights.save(build(config, torch.float32), tmp_path / "plain")
    assert quantize(tmp_path / "plain", tmp_path / form, form) == []
    for dtype in (torch.float32, torch.float64):
        got, want = read(tmp_path / form, dtype), by_hand_model(tmp_path / form, config, dtype)
        assert (
            got.config.quantization
            == json.loads((tmp_path / form / "config.json").read_text())["quantization_config"]
        )
        for (name, a), b in zip(got.state_dict().items(), want.state_dict().values(), strict=True):
            assert torch.equal(a, b), name
        for a, b in zip(logits(got), logits(want), strict=True):
            assert torch.equal(a, b)
    # and it is near the model that it was made from
    plain = read(tmp_path / "plain", torch.float64)
    for (name, a), b in zip(got.state_dict().items(), plain.state_dict().values(), strict=True):
        assert (a - b).norm() <= 0.12 * b.norm(), name


@pytest.mark.parametrize("form", FORMS)
def test_what_stays_is_as_it_was(form: str, source: Path, made: Callable[[str], Path]) -> None:
    folder = made(form)
    old, new = tensors_of(source), tensors_of(folder)
    for name, tensor in old.items():
        if tensor.ndim == 2 and PLANS[form].of(name):
            base = name.removesuffix(".weight")
            assert f"{base}.weight_scale" in new or f"{base}.weight_scale_inv" in new
        else:
            assert new[name].dtype == tensor.dtype and torch.equal(new[name], tensor), name
    index = json.loads((folder / weights.INDEX).read_text())
    assert index["weight_map"].keys() == new.keys()
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in new.values())
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "LICENSE"):
        assert (folder / name).read_text() == f"the text of {name}"


def test_from_one_form_to_another_and_back(made: Callable[[str], Path], tmp_path: Path) -> None:
    once = read(made("int8"), torch.float32)
    # bfloat16 holds int8 times a bfloat16 scale only nearly, so go on from the packed one
    quantize(tmp_path / "int8", tmp_path / "again", "int8")
    again = read(tmp_path / "again", torch.float32)
    for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    quantize(tmp_path / "int8", tmp_path / "plain", "bf16")
    plain = read(tmp_path / "plain", torch.bfloat16)
    assert plain.config.quantization is None
    assert torch.equal(plain.head, once.head.bfloat16())
    assert torch.equal(plain.layers[0].mixer.qkvg, once.layers[0].mixer.qkvg.bfloat16())


def test_saving_a_dequantised_model_writes_plain_weights(
    made: Callable[[str], Path], tmp_path: Path
) -> None:
    model = read(made("nano"), torch.float32)
    weights.save(model, tmp_path / "plain", dtype=torch.float32)
    back = read(tmp_path / "plain", torch.float32)
    assert back.config.quantization is None
    assert torch.equal(back.head, model.head)


def test_without_mtp(source: Path, tmp_path: Path) -> None:
    quantize(source, tmp_path / "a", "int4", mtp=False)
    assert not (tmp_path / "a" / "model-mtp-layer.safetensors").exists()
    model = read(tmp_path / "a", torch.float32)
    assert len(model.mtp) == 0 and model.config.num_nextn_predict_layers == 0


def test_forms_and_folders_that_are_refused(source: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="form 'int3' is unknown; choose one of bf16, fp8"):
        quantize(source, tmp_path / "a", "int3")
    with pytest.raises(ValueError, match="already holds weights"):
        quantize(source, source, "int4")


def test_progress_is_told(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    quantize(source, tmp_path / "a", "fp8", progress=lambda done, total: seen.append((done, total)))
    assert [n for n, _ in seen] == list(range(1, len(published(TOY)) + 1))
    assert {total for _, total in seen} == {len(seen)}


# ---- forms that others write ----

DENSE = "model.layers.0.attention.dense"


def change(folder: Path, edit: Callable[[dict[str, torch.Tensor]], object]) -> None:
    (folder / weights.INDEX).unlink(missing_ok=True)
    tensors = load_file(folder / ONE)
    edit(tensors)
    save_file({n: t.contiguous() for n, t in tensors.items()}, folder / ONE)


def declare(folder: Path, said: dict | None) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = said
    (folder / "config.json").write_text(json.dumps(config))


def test_scales_of_other_shapes_and_types(made: Callable[[str], Path]) -> None:
    folder = made("fp8")
    want = read(folder, torch.float32).layers[0].mixer.o
    change(folder, lambda t: t.update({f"{DENSE}.weight_scale": t[f"{DENSE}.weight_scale"][:, 0]}))
    assert torch.equal(read(folder, torch.float32).layers[0].mixer.o, want)
    change(
        folder, lambda t: t.update({f"{DENSE}.weight_scale": t[f"{DENSE}.weight_scale"].float()})
    )
    assert torch.equal(read(folder, torch.float32).layers[0].mixer.o, want)


@pytest.mark.parametrize("form", FORMS)
def test_the_tensors_tell_where_the_config_is_silent(
    form: str, made: Callable[[str], Path]
) -> None:
    folder = made(form)
    want = read(folder, torch.float32)
    declare(folder, None)
    got = read(folder, torch.float32)
    for (name, a), b in zip(want.state_dict().items(), got.state_dict().values(), strict=True):
        assert torch.equal(a, b), name


def test_blocks_in_the_other_dialect(tmp_path: Path) -> None:
    weights.save(build(WIDE, torch.float32), tmp_path / "plain")
    folder = tmp_path / "block"
    quantize(tmp_path / "plain", folder, "fp8-block")
    want = read(folder, torch.float32)
    declare(
        folder,
        {
            "quant_method": "compressed-tensors",
            "format": "float-quantized",
            "config_groups": {
                "group_0": {
                    "targets": ["Linear"],
                    "weights": {
                        "num_bits": 8,
                        "type": "float",
                        "strategy": "block",
                        "block_structure": [128, 128],
                    },
                }
            },
            "ignore": ["lm_head"],
        },
    )

    def rename(t: dict[str, torch.Tensor]) -> None:
        for name in [n for n in t if n.endswith("_inv")]:
            t[name.removesuffix("_inv")] = t.pop(name)

    change(folder, rename)
    got = read(folder, torch.float32)
    for a, b in zip(want.state_dict().values(), got.state_dict().values(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("scheme", [Scheme("int", 8, (1, None), True), Scheme("int", 4, (1, 16))])
def test_other_integers(scheme: Scheme, source: Path, tmp_path: Path) -> None:
    scheme = Scheme("int", scheme.bits, scheme.block, packed=True)
    quantize(source, tmp_path / "a", "bf16")
    stored = scheme.pack(tensors_of(source)[f"{DENSE}.weight"])
    change(
        tmp_path / "a",
        lambda t: [
            t.pop(f"{DENSE}.weight"),
            t.update({f"{DENSE}.{n}": x for n, x in stored.items()}),
        ],
    )
    got = read(tmp_path / "a", torch.float32).layers[0].mixer.o
    assert torch.equal(got, scheme.unpack(stored))


# ---- damage ----

EXPERT = "model.layers.1.mlp.experts.3.up_proj"


def broken(name: str, edit: Callable[[torch.Tensor], torch.Tensor]) -> Callable:
    return lambda t: t.update({name: edit(t[name])})


def filled(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    return lambda t: t.float().index_fill(0, torch.tensor([1]), value).to(t.dtype)


DAMAGE = [
    (
        "int4",
        lambda t: t.pop(f"{EXPERT}.weight_scale"),
        "weight_packed",
        "is stored as int32 and has no weight_scale",
    ),
    ("int4", lambda t: t.pop(f"{EXPERT}.weight_packed"), "weight_scale", "has no weight beside"),
    (
        "int4",
        broken(f"{EXPERT}.weight_scale", lambda s: s[:, :1]),
        "weight_scale",
        r"has shape \[32, 1\], int4 in groups of 32 of \[32, 64\] asks for \[32, 2\]",
    ),
    (
        "int4",
        broken(f"{EXPERT}.weight_scale", filled(float("nan"))),
        "weight_scale",
        "holds NaN or infinite",
    ),
    (
        "int4",
        broken(f"{EXPERT}.weight_packed", lambda p: p[:, :4]),
        "weight_packed",
        r"has shape \[32, 4\], config.json asks for \[32, 8\]",
    ),
    (
        "int4",
        broken(f"{EXPERT}.weight_shape", lambda s: s + 1),
        "weight_shape",
        r"holds \[33, 65\]",
    ),
    (
        "int4",
        lambda t: t.update({f"{EXPERT}.weight_zero_point": torch.zeros(32, 2)}),
        "weight_zero_point",
        "does not belong to a weight stored as weight_packed",
    ),
    (
        "int4",
        lambda t: t.update({f"{EXPERT}.weight": torch.zeros(32, 64)}),
        "weight",
        "does not belong to a weight stored as weight_packed",
    ),
    (
        "fp8",
        lambda t: t.pop(f"{EXPERT}.weight_scale"),
        "weight",
        "is stored as float8_e4m3fn and has no weight_scale",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight_scale", filled(float("inf"))),
        "weight_scale",
        "holds NaN or infinite",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight_scale", lambda s: s[:5]),
        "weight_scale",
        r"has shape \[5, 1\], float8 per channel of \[32, 64\]",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight", filled(float("nan"))),
        "weight",
        "holds NaN or infinite values",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight", lambda w: w.view(torch.int8)),
        "weight",
        "holds int8, config.json declares float8 per channel",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight", lambda w: w.float().to(torch.float8_e5m2)),
        "weight",
        "is stored as float8_e5m2",
    ),
    (
        "fp8",
        broken(f"{EXPERT}.weight", lambda w: w.bfloat16()),
        "weight_scale",
        "does not belong to a weight of bfloat16",
    ),
    (
        "fp8-block",
        broken(f"{EXPERT}.weight_scale_inv", lambda s: s.repeat(2, 1)),
        "weight_scale_inv",
        r"has shape \[2, 1\], float8 in blocks of 128 x 128",
    ),
    (
        "int8",
        lambda t: t.update({f"{EXPERT}.weight_scale_inv": torch.ones(32, 1)}),
        "weight_scale_inv",
        "does not belong",
    ),
]


@pytest.mark.parametrize(("form", "edit", "part", "said"), DAMAGE)
def test_damage_is_named(
    form: str, edit: Callable, part: str, said: str, made: Callable[[str], Path]
) -> None:
    folder = made(form)
    change(folder, edit)
    with pytest.raises(CheckpointError, match=rf"{ONE}: {EXPERT}\.{part} {said}"):
        read(folder)


def test_an_unread_method_is_named(made: Callable[[str], Path]) -> None:
    folder = made("int4")
    declare(folder, {"quant_method": "awq"})
    with pytest.raises(CheckpointError, match="config.json: .*quant_method 'awq' is not read"):
        read(folder)


def test_parts_of_unknown_weights_are_named(made: Callable[[str], Path]) -> None:
    folder = made("int4")
    name = "model.layers.1.mlp.experts.9.up_proj.weight_packed"
    change(folder, lambda t: t.update({name: torch.zeros(32, 8, dtype=torch.int32)}))
    with pytest.raises(CheckpointError, match=f"holds {name}, which the model has no place for"):
        read(folder)


# ---- the embedded model ----


def test_the_embedded_model_fits(tmp_path: Path) -> None:
    model = Ling(NANO).init_weights(0)
    weights.save(model, tmp_path / "plain", wide=("router", "bias"))
    quantize(tmp_path / "plain", tmp_path / "nano", "nano", shard_bytes=15_000_000)
    files = list((tmp_path / "nano").glob("*.safetensors"))
    assert max(f.stat().st_size for f in files) <= 15_000_000
    assert sum(f.stat().st_size for f in (tmp_path / "nano").iterdir()) <= 24_000_000
    back = read(tmp_path / "nano", torch.float32)
    assert torch.equal(back.layers[1].ffn.router, model.layers[1].ffn.router)
    for scheme, name in ((INT4, "layers.1.ffn.down"), (FP8, "embed.weight")):
        a, b = back.state_dict()[name], model.state_dict()[name]
        assert (a - b).norm() <= (0.1 if scheme is INT4 else 0.01) * b.norm()
