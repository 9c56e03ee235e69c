"""The configuration is read strictly, and every refusal names the key and the remedy."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flashling.config import LING_1T, LING_FLASH, LING_MINI, TOY, ModelConfig, Yarn

PUBLISHED = {
    "architectures": ["BailingMoeV2_5ForCausalLM"],
    "model_type": "bailing_hybrid",
    "vocab_size": 157184,
    "hidden_size": 4096,
    "num_hidden_layers": 32,
    "intermediate_size": 9216,
    "moe_intermediate_size": 1024,
    "moe_shared_expert_intermediate_size": 1024,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "head_dim": 128,
    "layer_group_size": 8,
    "group_norm_size": 4,
    "use_qk_norm": True,
    "use_qkv_bias": False,
    "use_bias": False,
    "linear_silu": False,
    "partial_rotary_factor": 0.5,
    "rope_theta": 6000000,
    "rope_scaling": None,
    "max_position_embeddings": 131072,
    "q_lora_rank": 1536,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "qk_head_dim": 192,
    "v_head_dim": 128,
    "rope_interleave": True,
    "first_k_dense_replace": 1,
    "num_experts": 256,
    "num_experts_per_tok": 8,
    "num_shared_experts": 1,
    "n_group": 8,
    "topk_group": 4,
    "score_function": "sigmoid",
    "topk_method": "noaux_tc",
    "moe_router_enable_expert_bias": True,
    "routed_scaling_factor": 2.5,
    "router_dtype": "fp32",
    "rms_norm_eps": 1e-6,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "num_nextn_predict_layers": 1,
    "pad_token_id": 156892,
    "eos_token_id": [156895, 156892],
    "attention_dropout": 0.0,
    "initializer_range": 0.02,
    "max_window_layers": 20,
    "use_cache": True,
    "torch_dtype": "bfloat16",
}


def test_the_published_file_is_the_preset() -> None:
    assert ModelConfig.from_dict(PUBLISHED) == LING_FLASH


@pytest.mark.parametrize("config", [LING_FLASH, LING_1T, LING_MINI, TOY])
def test_round_trip(config: ModelConfig, tmp_path: Path) -> None:
    config.write(tmp_path)
    assert ModelConfig.read(tmp_path) == config
    longer = config.with_(rope_scaling=Yarn(2.0, 131072), decay_offset=1)
    longer.write(tmp_path)
    assert ModelConfig.read(tmp_path / "config.json") == longer


def test_both_rope_forms_and_the_yarn_override() -> None:
    found = {k: v for k, v in PUBLISHED.items() if k not in ("rope_theta", "partial_rotary_factor")}
    found["rope_parameters"] = {
        "rope_theta": 6000000,
        "rope_type": "default",
        "partial_rotary_factor": 0.5,
    }
    assert ModelConfig.from_dict(found) == LING_FLASH
    yarn = {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 131072}
    config = ModelConfig.from_dict(PUBLISHED, rope_scaling=yarn, max_position_embeddings=262144)
    assert config.rope_scaling == Yarn(2.0, 131072)
    assert config.rope_scaling.attention_scale == pytest.approx(1.0693, abs=1e-4)


def test_absent_norm_topk_prob_means_normalise() -> None:
    assert ModelConfig.from_dict(PUBLISHED).norm_topk_prob
    assert ModelConfig.from_dict({**PUBLISHED, "norm_topk_prob": None}).norm_topk_prob
    assert not ModelConfig.from_dict({**PUBLISHED, "norm_topk_prob": False}).norm_topk_prob


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kv_lora_rank": ...}, "missing key 'kv_lora_rank'"),
        ({"rope_theta": ...}, "missing key 'rope_theta'"),
        ({"qk_scale": 3}, r"unknown key 'qk_scale' = 3.*allow=\('qk_scale',\)"),
        ({"architectures": ["BailingMoeV3ForCausalLM"]}, "Ling-3.0"),
        ({"short_conv_kernel_size": 4}, "Ling-3.0"),
        ({"linear_silu": True}, "linear_silu = true is not supported"),
        ({"use_qkv_bias": True}, "use_qkv_bias = True changes"),
        ({"rope_interleave": False}, "rope_interleave = False changes"),
        ({"hidden_act": "gelu"}, "hidden_act = 'gelu' changes"),
        ({"num_hidden_layers": 30}, "num_hidden_layers 30 must be a multiple"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 2}}, "'linear' is not supported"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 2}}, "needs factor and original"),
        ({"group_norm_size": 3}, "group_norm_size 3"),
        ({"decay_offset": 2}, "decay_offset 2"),
    ],
)
def test_refusals(change: dict, message: str) -> None:
    found = {k: v for k, v in {**PUBLISHED, **change}.items() if v is not ...}
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(found)


def test_unknown_keys_that_say_nothing_or_are_allowed_pass() -> None:
    quiet = {**PUBLISHED, "new_a": None, "new_b": False, "new_c": []}
    assert ModelConfig.from_dict(quiet) == LING_FLASH
    assert ModelConfig.from_dict({**PUBLISHED, "new": 1}, allow=("new",)) == LING_FLASH


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no config.json at"):
        ModelConfig.read(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match="is not JSON"):
        ModelConfig.read(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="holds a list"):
        ModelConfig.read(tmp_path)
