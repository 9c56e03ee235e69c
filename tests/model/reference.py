"""A second implementation of the architecture, by plain loops over published tensors.

It shares no line with the package: recurrences instead of chunks, one token and one expert at a
time, expanded attention, names and layouts of the published checkpoint.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def rms(x: Tensor, w: Tensor, eps: float) -> Tensor:
    return w * (x / torch.sqrt(x.pow(2).mean(-1, keepdim=True) + eps))


def base_slopes(n: int) -> list[float]:
    if math.log2(n).is_integer():
        start = 2 ** (-(2 ** -(math.log2(n) - 3)))
        return [start * start**i for i in range(n)]
    p = 2 ** math.floor(math.log2(n))
    return base_slopes(p) + base_slopes(2 * p)[0::2][: n - p]


class Reference:
    """weights: published name -> tensor; c: the parsed config.json."""

    def __init__(self, c: dict, weights: dict[str, Tensor], dtype: torch.dtype) -> None:
        self.c, self.dtype = c, dtype
        self.w = {k: v.to(dtype) for k, v in weights.items()}
        self.eps = c["rms_norm_eps"]

    def angles(self, position: int, dim: int) -> tuple[Tensor, Tensor]:
        k = torch.arange(0, dim, 2, dtype=torch.float64)
        inv = (1.0 / self.c["rope_theta"] ** (k / dim)).float().to(self.dtype)
        return (position * inv).cos(), (position * inv).sin()

    def lightning(self, i: int, x: Tensor) -> Tensor:
        c, p = self.c, f"model.layers.{i}.attention."
        heads, d = c["num_attention_heads"], c["head_dim"]
        rot = int(d * c["partial_rotary_factor"])
        qkv = (x @ self.w[p + "query_key_value.weight"].T).view(-1, 3, heads, d)
        factor = 1 - (i - c.get("decay_offset", 0)) / (c["num_hidden_layers"] - 1) + 1e-5
        slope = torch.tensor(base_slopes(heads), dtype=torch.float32) * factor
        keep = torch.exp(-slope.to(self.dtype))
        state = torch.zeros(heads, d, d, dtype=self.dtype)
        outs = []
        for t in range(len(x)):
            q = rms(qkv[t, 0], self.w[p + "query_layernorm.weight"], self.eps)
            k = rms(qkv[t, 1], self.w[p + "key_layernorm.weight"], self.eps)
            cos, sin = self.angles(t, rot)
            q, k = (self.half(y, cos, sin) for y in (q, k))
            for h in range(heads):
                state[h] = keep[h] * state[h] + torch.outer(k[h], qkv[t, 2, h])
            outs.append(torch.stack([q[h] @ state[h] for h in range(heads)]) / math.sqrt(d))
        o = torch.stack(outs).flatten(1)
        groups = o.view(len(o), c["group_norm_size"], -1)
        groups = groups / torch.sqrt(groups.pow(2).mean(-1, keepdim=True) + self.eps)
        o = groups.flatten(1) * self.w[p + "g_norm.weight"]
        o = o * torch.sigmoid(x @ self.w[p + "g_proj.weight"].T)
        return o @ self.w[p + "dense.weight"].T

    def half(self, y: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        n = len(cos)
        out = y.clone()
        out[:, :n] = y[:, :n] * cos - y[:, n : 2 * n] * sin
        out[:, n : 2 * n] = y[:, n : 2 * n] * cos + y[:, :n] * sin
        return out

    def pairs(self, y: Tensor, t: int) -> Tensor:
        cos, sin = self.angles(t, y.shape[-1])
        out = y.clone()
        out[..., 0::2] = y[..., 0::2] * cos - y[..., 1::2] * sin
        out[..., 1::2] = y[..., 1::2] * cos + y[..., 0::2] * sin
        return out

    def mla(self, i: int, x: Tensor) -> Tensor:
        c, p = self.c, f"model.layers.{i}.attention."
        heads, nope, rope = c["num_attention_heads"], c["qk_nope_head_dim"], c["qk_rope_head_dim"]
        if c["q_lora_rank"] is None:
            q = x @ self.w[p + "q_proj.weight"].T
        else:
            low = x @ self.w[p + "q_a_proj.weight"].T
            low = rms(low, self.w[p + "q_a_layernorm.weight"], self.eps)
            q = low @ self.w[p + "q_b_proj.weight"].T
        q = q.view(-1, heads, nope + rope)
        kv = x @ self.w[p + "kv_a_proj_with_mqa.weight"].T
        latent = rms(kv[:, :-rope], self.w[p + "kv_a_layernorm.weight"], self.eps)
        up = (latent @ self.w[p + "kv_b_proj.weight"].T).view(len(x), heads, -1)
        outs = []
        for t in range(len(x)):
            row = []
            for h in range(heads):
                qh = torch.cat([q[t, h, :nope], self.pairs(q[t, h, nope:], t)])
                scores = []
                for u in range(t + 1):
                    key = torch.cat([up[u, h, :nope], self.pairs(kv[u, -rope:], u)])
                    scores.append(qh @ key / math.sqrt(nope + rope))
                weights = torch.softmax(torch.stack(scores), 0)
                row.append(weights @ up[: t + 1, h, nope:])
            outs.append(torch.cat(row))
        return torch.stack(outs) @ self.w[p + "dense.weight"].T

    def mlp(self, p: str, x: Tensor) -> Tensor:
        gate = x @ self.w[p + "gate_proj.weight"].T
        up = x @ self.w[p + "up_proj.weight"].T
        return (gate * torch.sigmoid(gate) * up) @ self.w[p + "down_proj.weight"].T

    def moe(self, i: int, x: Tensor) -> Tensor:
        c, p = self.c, f"model.layers.{i}.mlp."
        rows = []
        for y in x:
            s = torch.sigmoid(self.w[p + "gate.weight"] @ y)
            b = s + self.w[p + "gate.expert_bias"]
            per = c["num_experts"] // c["n_group"]
            best = [
                sum(sorted(b[g * per : g * per + per].tolist())[-2:]) for g in range(c["n_group"])
            ]
            kept = sorted(range(c["n_group"]), key=lambda g: (-best[g], g))[: c["topk_group"]]
            pool = [e for e in range(c["num_experts"]) if e // per in kept]
            chosen = sorted(pool, key=lambda e: (-float(b[e]), e))[: c["num_experts_per_tok"]]
            total = sum(float(s[e]) for e in chosen) + 1e-20
            out = torch.zeros_like(y)
            for e in chosen:
                w = s[e] / total * c["routed_scaling_factor"]
                out = out + w * self.mlp(p + f"experts.{e}.", y)
            rows.append(out + self.mlp(p + "shared_experts.", y))
        return torch.stack(rows)

    def block(self, i: int, x: Tensor) -> Tensor:
        c, p = self.c, f"model.layers.{i}."
        is_mla = i >= c["num_hidden_layers"] or (i + 1) % c["layer_group_size"] == 0
        y = rms(x, self.w[p + "input_layernorm.weight"], self.eps)
        x = x + (self.mla(i, y) if is_mla else self.lightning(i, y))
        y = rms(x, self.w[p + "post_attention_layernorm.weight"], self.eps)
        is_moe = i >= c["first_k_dense_replace"]
        return x + (self.moe(i, y) if is_moe else self.mlp(p + "mlp.", y))

    def hidden(self, tokens: list[int]) -> Tensor:
        x = self.w["model.word_embeddings.weight"][tokens]
        for i in range(self.c["num_hidden_layers"]):
            x = self.block(i, x)
        return rms(x, self.w["model.norm.weight"], self.eps)

    def logits(self, tokens: list[int]) -> Tensor:
        return self.hidden(tokens) @ self.w["lm_head.weight"].T

    def mtp_logits(self, tokens: list[int]) -> Tensor:
        """Row t has read tokens 0..t+1 and guesses token t + 2; one row fewer than tokens."""
        i = self.c["num_hidden_layers"]
        p = f"model.layers.{i}."
        following = self.w["model.word_embeddings.weight"][tokens[1:]]
        e = rms(following, self.w[p + "enorm.weight"], self.eps)
        h = rms(self.hidden(tokens)[:-1], self.w[p + "hnorm.weight"], self.eps)
        u = self.block(i, torch.cat([e, h], -1) @ self.w[p + "eh_proj.weight"].T)
        return rms(u, self.w[p + "final_layernorm.weight"], self.eps) @ self.w["lm_head.weight"].T
