"""What a model costs to train: floating-point operations per token, and a device's peak."""

from __future__ import annotations

import torch

from ..config import ModelConfig
from ..ops.lightning import flops as lightning_flops

# dense bfloat16 operations per second
PEAKS = {"H200": 989e12, "H100": 989e12, "H800": 989e12, "A100": 312e12, "B200": 2250e12}


def peak_flops(device: torch.device) -> float | None:
    """bfloat16 peak of a known GPU in FLOP/s, else None."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((peak for known, peak in PEAKS.items() if known in name), None)


def layer_flops(config: ModelConfig, layer: int, length: float) -> float:
    """Forward operations per token of one layer, in documents of `length` tokens."""
    c, width = config, config.hidden_size
    heads = c.num_attention_heads
    if c.is_mla(layer):
        q_out = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim)
        kv = c.kv_lora_rank * heads * (c.qk_nope_head_dim + c.v_head_dim)
        q = width * q_out if c.q_lora_rank is None else c.q_lora_rank * (width + q_out)
        mixer = q + width * c.latent_dim + kv + heads * c.v_head_dim * width
        # each row sees half of its document on average
        attention = 2 * (q_out + heads * c.v_head_dim) * length / 2
    else:
        mixer = 5 * heads * c.head_dim * width
        attention = lightning_flops(1, heads, c.head_dim)
    if c.is_moe(layer):
        hidden = c.num_experts_per_tok * c.moe_intermediate_size
        hidden += c.moe_shared_expert_intermediate_size
        ffn = 3 * width * hidden + width * c.num_experts
    else:
        ffn = 3 * width * c.intermediate_size
    return 2.0 * (mixer + ffn) + attention


def train_flops(config: ModelConfig, length: float, targets: float, has_mtp: bool) -> float:
    """Forward and backward operations per token: three times the forward ones.

    targets: the share of tokens that meet the head. Recomputation is not counted (MFU, not HFU).
    """
    layers = range(config.num_layers if has_mtp else config.num_hidden_layers)
    trunk = sum(layer_flops(config, layer, length) for layer in layers)
    heads = 2 if has_mtp else 1
    head = 2.0 * config.hidden_size * config.vocab_size * targets * heads
    eh = 4.0 * config.hidden_size**2 * (heads - 1)
    return 3 * (trunk + head + eh)
