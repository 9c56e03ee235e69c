"""`quantization_config`: written as published, read in every form that is met."""

from __future__ import annotations

import json

import pytest

from flashling.quant import FP8, FP8_BLOCK, INT4, INT8, PLANS, Plan

NAMES = {
    "model.word_embeddings.weight": "nano",
    "lm_head.weight": "int4-all nano",
    "model.layers.0.attention.query_key_value.weight": "fp8 fp8-block int8 int4-all nano",
    "model.layers.7.attention.kv_b_proj.weight": "fp8 fp8-block int8 nano",
    "model.layers.0.mlp.gate_proj.weight": "fp8 fp8-block int8 int4-all nano",
    "model.layers.1.mlp.gate.weight": "",
    "model.layers.1.mlp.experts.17.down_proj.weight": (
        "fp8 fp8-block int8 int4 int4-128 int4-all nano"
    ),
    "model.layers.1.mlp.shared_experts.up_proj.weight": "fp8 fp8-block int8 int4-all nano",
    "model.layers.32.eh_proj.weight": "nano",
}


@pytest.mark.parametrize("form", PLANS)
def test_what_each_form_stores(form: str) -> None:
    plan = PLANS[form]
    said = plan.to_dict(NAMES)
    back = Plan.read(json.loads(json.dumps(said)))
    for name, forms in NAMES.items():
        assert (plan.of(name) is not None) == (form in forms.split()), name
        # the fp8 dialect is read without its list: the tensors tell
        if form != "fp8-block":
            assert back.of(name) == plan.of(name)
    if form == "nano":
        found = [plan.of(n) for n in NAMES]
        assert found.count(INT4) == 1 and found.count(INT8) == 7
    if form == "int4-all":
        found = [plan.of(n) for n in NAMES]
        assert found.count(INT4) == 4 and found.count(INT8) == 1


def test_int4_as_published() -> None:
    said = PLANS["int4"].to_dict()
    assert said is not None
    assert said["quant_method"] == "compressed-tensors" and said["format"] == "pack-quantized"
    [group] = said["config_groups"].values()
    assert group["targets"] == ["Linear"] and group["input_activations"] is None
    assert group["weights"] == {
        "num_bits": 4,
        "type": "int",
        "symmetric": True,
        "strategy": "group",
        "group_size": 32,
        "block_structure": None,
        "actorder": None,
        "dynamic": False,
        "observer": "minmax",
        "observer_kwargs": {},
    }


def test_fp8_as_published() -> None:
    said = PLANS["fp8"].to_dict()
    assert said is not None and said["format"] == "float-quantized"
    group = said["config_groups"]["group_0"]
    assert (group["weights"]["type"], group["weights"]["strategy"]) == ("float", "channel")
    assert group["input_activations"]["dynamic"] is True
    assert group["input_activations"]["strategy"] == "token"
    assert "lm_head" in said["ignore"]
    assert PLANS["fp8-block"].to_dict(NAMES) == {
        "quant_method": "fp8",
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "weight_block_size": [128, 128],
        "modules_to_not_convert": [
            "model.word_embeddings",
            "lm_head",
            "model.layers.1.mlp.gate",
            "model.layers.32.eh_proj",
        ],
    }
    nano = PLANS["nano"].to_dict()
    assert nano is not None and nano["format"] == "mixed-precision"
    assert PLANS["bf16"].to_dict() is None


def group(**weights: object) -> dict:
    usual = {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True}
    return {
        "quant_method": "compressed-tensors",
        "format": "float-quantized",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": {**usual, **weights}}},
        "ignore": ["lm_head"],
    }


def test_forms_that_are_met() -> None:
    name = "model.layers.0.attention.dense.weight"
    assert Plan.read(group()).of(name) == FP8
    assert Plan.read(group()).of("lm_head.weight") is None
    block = Plan.read(group(strategy="block", block_structure=[128, 128])).of(name)
    assert block is not None and block.block == FP8_BLOCK.block
    older = Plan.read(group(type="int", num_bits=4, strategy=None, group_size=64)).of(name)
    assert older is not None and older.block == (1, 64)
    bare = Plan.read({"quant_method": "fp8"})
    assert bare.of(name) is None
    sized = Plan.read({"quant_method": "fp8", "weight_block_size": [64, 128]}).of(name)
    assert sized is not None and sized.block == (64, 128)
    assert Plan.read(None) == Plan()


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"quant_method": "gptq"}, "quant_method 'gptq' is not read"),
        ({"quant_method": "fp8", "fmt": "e5m2"}, "fmt 'e5m2'"),
        ({"quant_method": "fp8", "weight_block_size": [128]}, "weight_block_size"),
        ({**group(), "format": "marlin-24"}, "format 'marlin-24'"),
        (group(symmetric=False), "symmetric = false"),
        (group(num_bits=4), "type 'float' with num_bits 4"),
        (group(strategy="tensor_group", group_size=16), "strategy 'tensor_group'"),
        (group(strategy="group", group_size=None), "strategy 'group'"),
        (group(strategy="block"), "strategy 'block'"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_what_is_not_read(found: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Plan.read(found)


def test_a_name_beats_a_pattern_and_a_pattern_a_kind() -> None:
    groups = ((("Linear",), FP8), (("re:.*dense",), INT8), (("model.layers.0.dense",), INT4))
    plan = Plan(groups)
    assert plan.of("model.layers.0.dense.weight") == INT4
    assert plan.of("model.layers.1.dense.weight") == INT8
    assert plan.of("model.layers.1.other.weight") == FP8
    assert plan.of("model.word_embeddings.weight") is None
