"""The doctor: sound checkpoints of every published layout, and every damage named."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from flashling import nano
from flashling.model.convert import quantize
from flashling.model.doctor import Report, answers, examine
from flashling.model.ling import Ling
from flashling.model.names import published
from flashling.model.weights import CheckpointError, read
from flashling.quant import PLANS

from ..quant import by_hand
from . import layouts
from .layouts import LAYOUTS, MTP, add, change

Make = Callable[[str], Path]
QKV = "model.layers.0.attention.query_key_value"
EXPERT = "model.layers.2.mlp.experts.3.up_proj"
EH = "model.layers.4.eh_proj.weight"
THIRD = "model-00003-of-00026.safetensors"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Make:
    made: dict[str, Path] = {}

    def make(layout: str) -> Path:
        if layout not in made:
            made[layout] = layouts.write(tmp_path_factory.mktemp(layout), layout)
        return made[layout]

    return make


@pytest.fixture
def copied(written: Make, tmp_path: Path) -> Make:
    return lambda layout: Path(shutil.copytree(written(layout), tmp_path / layout))


def forms(report: Report) -> Counter[str]:
    return Counter(report.forms.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_are_read(layout: str, written: Make) -> None:
    folder = written(layout)
    files = sorted(p.name for p in folder.glob("*.safetensors"))
    assert len(files) == 26 + (layout != "int4")
    stored = {n: x for f in files for n, x in load_file(folder / f).items()}
    model = read(folder, torch.float32)
    assert len(model.mtp) == (layout != "int4")
    want = Ling(model.config.with_(num_nextn_predict_layers=len(model.mtp))).cast(torch.float32)
    own = want.state_dict()
    for t in published(want.config):
        if len(t.shape) == 2:
            weight = by_hand.weight(stored, t.name.removesuffix(".weight"), (*t.shape,)[:2])
        else:
            weight = stored[t.name]
        t.view(own).copy_(weight)
    for (name, a), b in zip(model.state_dict().items(), own.values(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("layout", LAYOUTS)
def test_published_layouts_are_sound(layout: str, written: Make) -> None:
    report = examine(written(layout))
    assert report.faults == []
    assert report.forms.keys() == {t.name for t in report.table}
    declared = {
        "bf16": None,
        "fp8": "float8 per channel",
        "int4": "int4 in groups of 32",
        "fp8-block": "float8 in blocks of 128 x 128",
    }[layout]
    found = forms(report)
    assert found.keys() == {"bfloat16", declared} - {None}
    if layout == "int4":
        assert found[declared] == 3 * 8 * 3
        assert report.notes == ["the checkpoint has no MTP layer: drafts by MTP are off"]
    else:
        assert len(report.table) == len(published(report.config)) and not any(
            "no MTP" in n for n in report.notes
        )


@pytest.mark.parametrize("form", PLANS)
def test_our_own_forms_are_sound(form: str, written: Make, tmp_path: Path) -> None:
    quantize(written("bf16"), tmp_path / form, form)
    report = examine(tmp_path / form)
    assert report.faults == [] and report.notes == []
    schemes = {str(s) for _, s in PLANS[form].groups}
    assert schemes <= forms(report).keys() <= schemes | {"bfloat16", "float32"}


def test_the_embedded_model_is_sound() -> None:
    report = examine(nano.path())
    assert report.faults == [] and report.notes == []
    assert forms(report)["int4 in groups of 32"] == 3 * 16 * 8


def test_no_weight_is_read(copied: Make) -> None:
    folder = copied("fp8")
    for file in folder.glob("*.safetensors"):
        data = file.read_bytes()
        head = 8 + int.from_bytes(data[:8], "little")
        # not a number in any of the types
        file.write_bytes(data[:head] + b"\xff" * (len(data) - head))
    assert examine(folder).faults == []
    with pytest.raises(CheckpointError, match="NaN"):
        read(folder)


def test_what_the_headers_say(written: Make) -> None:
    said = answers(examine(written("fp8")))
    assert "norm_topk_prob is absent" in said[0] and "eos_token_id is 1" in said[0]
    assert "router weights are stored as bfloat16" in said
    assert "expert biases are stored as bfloat16" in said
    assert any("scales are called weight_scale, as bfloat16" in s for s in said)
    assert "eh_proj is stored as bfloat16" in said
    said = answers(examine(written("fp8-block")))
    assert any("scales are called weight_scale_inv, as float32" in s for s in said)
    assert len(answers(examine(written("bf16")))) == 3


# ---- damage ----


def gone(x: torch.Tensor) -> None:
    return None


def narrow(x: torch.Tensor) -> torch.Tensor:
    return x[:, :-1]


# layout, tensor, what happens to it, the kind of fault, what is said of it
DAMAGE = [
    ("bf16", f"{QKV}.weight", gone, "missing", f"{QKV}.weight is missing"),
    ("bf16", EH, gone, "missing", f"{EH} is missing"),
    ("bf16", f"{QKV}.weight", narrow, "wrong", "has shape [192, 63], config.json asks for [192, 6"),
    ("bf16", f"{QKV}.weight", lambda x: x.int(), "wrong", "is stored as int32, which is not read"),
    ("bf16", f"{QKV}.weight", lambda x: x.half(), "wrong", "is stored as float16, the rest as bf"),
    ("bf16", "model.norm.weight", lambda x: x.char(), "wrong", "is stored as int8, which is not"),
    ("bf16", "model.norm.weight", lambda x: x[1:], "wrong", "has shape [63], config.json asks for"),
    ("fp8", f"{QKV}.weight_scale", gone, "wrong", "is stored as float8_e4m3fn and has no weight_s"),
    ("fp8", f"{QKV}.weight_scale", lambda x: x[1:], "wrong", "has shape [191, 1], float8 per chan"),
    ("fp8", f"{QKV}.weight_scale", lambda x: x.int(), "wrong", "is stored as int32, which is not"),
    ("fp8", f"{QKV}.weight", narrow, "wrong", "has shape [192, 63], config.json asks for [192, 64"),
    ("fp8", f"{QKV}.weight", lambda x: x.view(torch.int8), "wrong", "holds int8, config.json decl"),
    ("fp8", f"{QKV}.weight", gone, "wrong", f"{QKV}.weight_scale has no weight beside it"),
    ("int4", f"{EXPERT}.weight_scale", gone, "wrong", "is stored as int32 and has no weight_sc"),
    (
        "int4",
        f"{EXPERT}.weight_scale",
        narrow,
        "wrong",
        "has shape [32, 1], int4 in groups of 3",
    ),
    ("int4", f"{EXPERT}.weight_packed", narrow, "wrong", "has shape [32, 7], config.json asks for"),
    ("int4", f"{EXPERT}.weight_packed", lambda x: x.long(), "wrong", "is stored as int64, which i"),
    ("fp8-block", f"{QKV}.weight_scale_inv", gone, "wrong", "is stored as float8_e4m3fn and has n"),
    (
        "fp8-block",
        f"{QKV}.weight_scale_inv",
        narrow,
        "wrong",
        "has shape [2, 1], float8 in bloc",
    ),
]


@pytest.mark.parametrize(("layout", "name", "edit", "kind", "said"), DAMAGE)
def test_damage_is_named(
    layout: str, name: str, edit: Callable, kind: str, said: str, copied: Make
) -> None:
    folder = copied(layout)
    change(folder, name, edit)
    [fault] = examine(folder).faults
    assert fault.kind == kind
    [line] = fault.said
    assert said in line and line.startswith(name.rpartition(".")[0])
    assert fault.names == {name.rpartition(".")[0] + ".weight"}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_extra_tensors_are_named(layout: str, copied: Make) -> None:
    folder = copied(layout)
    add(folder, "model.layers.0.attention.slope", torch.ones(4))
    assert examine(folder).faults == []
    add(folder, "model.layers.0.attention.conv.weight", torch.ones(4))
    [fault] = examine(folder).faults
    assert fault.kind == "unexpected"
    assert fault.said == ["model.layers.0.attention.conv.weight has no place in the model"]


def test_a_zero_point_is_named(copied: Make) -> None:
    folder = copied("int4")
    add(folder, f"{EXPERT}.weight_zero_point", torch.ones(32, 2))
    [fault] = examine(folder).faults
    assert fault.said[0].startswith(f"{EXPERT}.weight_zero_point does not belong to a weight sto")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_missing_shard_is_named(layout: str, copied: Make) -> None:
    folder = copied(layout)
    held = [n for n, f in layouts.places(folder).items() if f == THIRD]
    (folder / THIRD).unlink()
    report = examine(folder)
    [fault] = report.faults
    assert fault.kind == "file" and "flashling pull" in fault.remedy
    assert fault.said == [f"{THIRD} is missing: model.safetensors.index.json names it"]
    homes = {n.rpartition(".")[0] for n in held}
    assert {n.rpartition(".")[0] for n in report.lost} == homes
    # without an index its weights are told one by one
    (folder / layouts.INDEX).unlink()
    [fault] = [f for f in examine(folder).faults if f.kind == "missing"]
    assert fault.names <= report.lost


def test_a_missing_mtp_file_is_not_a_model_without_mtp(copied: Make) -> None:
    folder = copied("bf16")
    (folder / MTP).unlink()
    report = examine(folder)
    assert [f.said for f in report.faults] == [
        [f"{MTP} is missing: model.safetensors.index.json names it"]
    ]
    (folder / layouts.INDEX).unlink()
    report = examine(folder)
    assert report.faults == [] and "no MTP layer" in report.notes[0]


def test_a_damaged_file_is_named(copied: Make) -> None:
    folder = copied("fp8")
    data = (folder / THIRD).read_bytes()
    (folder / THIRD).write_bytes(data[:-10])
    [fault] = examine(folder).faults
    assert fault.kind == "file" and f"{THIRD} is damaged or truncated" in fault.said[0]
    for file in folder.glob("*.safetensors"):
        file.unlink()
    kinds = [f.kind for f in examine(folder).faults]
    assert "file" in kinds


def index(folder: Path, edit: Callable[[dict[str, str]], object]) -> None:
    at = layouts.places(folder)
    edit(at)
    (folder / layouts.INDEX).write_text(json.dumps({"weight_map": at}))


def test_a_bad_index_is_named(copied: Make) -> None:
    folder, name = copied("bf16"), f"{QKV}.weight"
    home = layouts.places(folder)[name]
    index(folder, lambda at: at.update({name: THIRD}))
    [fault] = examine(folder).faults
    assert fault.kind == "index" and "or delete it" in fault.remedy
    assert fault.said == [f"model.safetensors.index.json puts {name} into {THIRD}, which does not "
                          "hold it"]  # fmt: skip
    index(folder, lambda at: at.pop(name))
    [fault] = examine(folder).faults
    assert fault.said == [f"model.safetensors.index.json does not name {name}, which is in {home}"]
    for text in ("{", "[]", '{"weights": {}}', '{"weight_map": 3}'):
        (folder / layouts.INDEX).write_text(text)
        [fault] = examine(folder).faults
        assert fault.kind == "index" and "is not a weight index" in fault.said[0]


def test_files_beside_the_index_are_noted(copied: Make) -> None:
    folder = copied("bf16")
    shutil.copy(folder / THIRD, folder / "old.safetensors")
    report = examine(folder)
    assert report.faults == []
    assert report.notes == ["model.safetensors.index.json does not name old.safetensors: not read"]


def test_what_reads_all_the_same_is_noted(copied: Make) -> None:
    folder = copied("bf16")
    change(folder, f"{QKV}.weight", lambda x: x.float())
    change(folder, "model.layers.1.mlp.gate.weight", lambda x: x.float())
    report = examine(folder)
    assert report.faults == []
    assert report.notes == [f"1 weights are wider than the bfloat16 rest: {QKV}.weight"]


def test_a_declaration_that_is_not_kept_is_noted(copied: Make) -> None:
    folder = copied("bf16")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = layouts.SAID["int4"]
    (folder / "config.json").write_text(json.dumps(config))
    report = examine(folder)
    assert report.faults == [] and "for 97 weights that are stored as they are" in report.notes[0]
    config["quantization_config"] = {"quant_method": "awq"}
    (folder / "config.json").write_text(json.dumps(config))
    [fault] = examine(folder).faults
    assert fault.kind == "config" and "quant_method 'awq' is not read" in fault.said[0]


def test_a_config_of_another_size(copied: Make) -> None:
    folder = copied("int4")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "intermediate_size": 128}))
    [fault] = examine(folder).faults
    assert fault.kind == "wrong" and len(fault.said) == 3
    assert all(n.startswith("model.layers.0.mlp.") for n in fault.names)
