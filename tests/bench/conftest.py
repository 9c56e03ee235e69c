"""Widths that every recipe takes."""

from __future__ import annotations

import pytest

from flashling.config import TOY, ModelConfig

WIDE = dict.fromkeys(("hidden_size", "intermediate_size", "moe_intermediate_size"), 128)
HEADS = {"num_attention_heads": 4, "head_dim": 32, "v_head_dim": 32, "q_lora_rank": 128}
MOE = {"moe_shared_expert_intermediate_size": 128, "num_nextn_predict_layers": 0}


@pytest.fixture
def config() -> ModelConfig:
    """A toy whose widths are whole blocks of scales."""
    return TOY.with_(**WIDE, **HEADS, **MOE)
