"""The weight table: every published tensor is a slice of one of the model's own tensors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from ..config import ModelConfig


@dataclass(frozen=True)
class Published:
    """A tensor of the published checkpoint and its place: `param`, perhaps one `expert` of it,
    perhaps some of its `rows`.
    """

    name: str
    shape: tuple[int, ...]
    param: str
    expert: int | None = None
    rows: tuple[int, int] | None = None

    def view(self, tensors: dict[str, Tensor]) -> Tensor:
        """The slice of the model's tensor that this one is."""
        t = tensors[self.param]
        t = t if self.expert is None else t[self.expert]
        return t if self.rows is None else t[self.rows[0] : self.rows[1]]


def published(config: ModelConfig, *, mtp: bool = True) -> list[Published]:
    """Every tensor of a published checkpoint of `config`, in file order; `mtp` with its layers."""
    c = config
    found = [
        Published("model.word_embeddings.weight", (c.vocab_size, c.hidden_size), "embed.weight")
    ]
    for i in range(c.num_hidden_layers):
        found += _layer(c, i, f"layers.{i}.")
    found += [
        Published("model.norm.weight", (c.hidden_size,), "norm"),
        Published("lm_head.weight", (c.vocab_size, c.hidden_size), "head"),
    ]
    for i in range(c.num_nextn_predict_layers if mtp else 0):
        found += _mtp(c, i)
    return found


def is_mtp(config: ModelConfig, name: str) -> bool:
    """Whether a published name belongs to an MTP layer."""
    parts = name.split(".")
    return parts[:2] == ["model", "layers"] and int(parts[2]) >= config.num_hidden_layers


def _fused(prefix: str, param: str, width: int, sizes: dict[str, int]) -> Iterator[Published]:
    """Published matrices that stand above each other in one fused tensor."""
    at = 0
    for name, rows in sizes.items():
        yield Published(f"{prefix}{name}.weight", (rows, width), param, rows=(at, at + rows))
        at += rows


def _layer(c: ModelConfig, i: int, own: str) -> list[Published]:
    p, d = f"model.layers.{i}.", c.hidden_size
    found = [
        Published(p + "input_layernorm.weight", (d,), own + "input_norm"),
        Published(p + "post_attention_layernorm.weight", (d,), own + "post_norm"),
    ]
    mixer = _mla if c.is_mla(i) else _lightning
    found += mixer(c, p + "attention.", own + "mixer.")
    ffn = _moe if c.is_moe(i) else _dense
    return found + ffn(c, p + "mlp.", own + "ffn.")


def _lightning(c: ModelConfig, p: str, own: str) -> list[Published]:
    wide = c.num_attention_heads * c.head_dim
    sizes = {"query_key_value": 3 * wide, "g_proj": wide}
    return [
        *_fused(p, own + "qkvg", c.hidden_size, sizes),
        Published(p + "query_layernorm.weight", (c.head_dim,), own + "q_norm"),
        Published(p + "key_layernorm.weight", (c.head_dim,), own + "k_norm"),
        Published(p + "g_norm.weight", (wide,), own + "g_norm"),
        Published(p + "dense.weight", (c.hidden_size, wide), own + "o"),
    ]


def _mla(c: ModelConfig, p: str, own: str) -> list[Published]:
    heads, d, rank = c.num_attention_heads, c.hidden_size, c.q_lora_rank
    q_out = heads * (c.qk_nope_head_dim + c.qk_rope_head_dim)
    kv_out = heads * (c.qk_nope_head_dim + c.v_head_dim)
    first = {"q_proj": q_out} if rank is None else {"q_a_proj": rank}
    found = [*_fused(p, own + "qkv_a", d, {**first, "kv_a_proj_with_mqa": c.latent_dim})]
    if rank is not None:
        found += [
            Published(p + "q_a_layernorm.weight", (rank,), own + "q_a_norm"),
            Published(p + "q_b_proj.weight", (q_out, rank), own + "q_b"),
        ]
    return [
        *found,
        Published(p + "kv_a_layernorm.weight", (c.kv_lora_rank,), own + "kv_a_norm"),
        Published(p + "kv_b_proj.weight", (kv_out, c.kv_lora_rank), own + "kv_b"),
        Published(p + "dense.weight", (d, heads * c.v_head_dim), own + "o"),
    ]


def _dense(c: ModelConfig, p: str, own: str, hidden: int = 0) -> list[Published]:
    f = hidden or c.intermediate_size
    return [
        *_fused(p, own + "gate_up", c.hidden_size, {"gate_proj": f, "up_proj": f}),
        Published(p + "down_proj.weight", (c.hidden_size, f), own + "down"),
    ]


def _moe(c: ModelConfig, p: str, own: str) -> list[Published]:
    num, d, f = c.num_experts, c.hidden_size, c.moe_intermediate_size
    found = [
        Published(p + "gate.weight", (num, d), own + "router"),
        Published(p + "gate.expert_bias", (num,), own + "bias"),
    ]
    for e in range(num):
        q = f"{p}experts.{e}."
        found += [
            Published(q + "gate_proj.weight", (f, d), own + "gate_up", e, (0, f)),
            Published(q + "up_proj.weight", (f, d), own + "gate_up", e, (f, 2 * f)),
            Published(q + "down_proj.weight", (d, f), own + "down", e),
        ]
    shared = c.moe_shared_expert_intermediate_size
    return found + _dense(c, p + "shared_experts.", own + "shared.", shared)


def _mtp(c: ModelConfig, index: int) -> list[Published]:
    i, d = c.num_hidden_layers + index, c.hidden_size
    p, own = f"model.layers.{i}.", f"mtp.{index}."
    return [
        Published(p + "enorm.weight", (d,), own + "embed_norm"),
        Published(p + "hnorm.weight", (d,), own + "hidden_norm"),
        Published(p + "eh_proj.weight", (d, 2 * d), own + "eh"),
        *_layer(c, i, own + "block."),
        Published(p + "final_layernorm.weight", (d,), own + "final_norm"),
    ]
