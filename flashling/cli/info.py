"""`flashling info`: what a model is made of, and where it fits. Arithmetic on its config alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..config import PRESETS, ModelConfig
from .terminal import paint, table

if TYPE_CHECKING:
    from ..model.names import Published

DEVICES = (24, 48, 80, 96, 128, 141)
# of a device's memory; the rest is the driver's, the activations' and the allocator's
USABLE = 0.92
FORMATS: tuple[str, ...] = ("bf16", "fp8", "int4", "int4-all")
USUAL = 8192
GB = 1e9
# bytes a second that devices can read, by their data sheets
BANDWIDTHS = {
    "DGX Spark (273 GB/s)": 273e9,
    "H100 (3.35 TB/s)": 3.35e12,
    "H200 (4.8 TB/s)": 4.8e12,
    "B200 (8 TB/s)": 8e12,
}


@dataclass(frozen=True)
class Sizes:
    """Memory of a model: weights in bytes by format; bytes that each token and each sequence
    keeps (bf16 latents; float32 states and the open chunk in bf16).
    """

    weights: dict[str, int]
    token: int
    state: int
    tail: int

    @property
    def sequence(self) -> int:
        """Bytes of a sequence beside its tokens."""
        return self.state + self.tail


def info(model: str = "embedded", /) -> None:
    """Show a model's shape, its parameters, its memory, and what fits where.

    Parameters
    ----------
    model
        A model's folder, or a name: ling-flash, ling-1t, ling-mini, nano, toy.
    """
    from ..engine.memory import size_text

    name, config = _config(model)
    total, active = parameters(config)
    print(paint(name, "bold"))
    print(f"  {shape(config)}\n")
    print(
        f"parameters: {_count(sum(total.values()))}, of them active for a token: {_active(active)}"
    )
    rows = [[part, _count(n), _count(active[part])] for part, n in total.items() if n]
    print(table([["part", "parameters", "active"], *rows]), end="\n\n")
    s = sizes(config)
    print("memory")
    print(table([[f"weights, {f}", size_text(s.weights[f])] for f in FORMATS]))
    print(table([["cache per token (MLA latents, bf16)", size_text(s.token)]]))
    state = f"{size_text(s.state)} + {size_text(s.tail)}"
    print(table([["state per sequence (float32) and its open chunk", state]]), end="\n\n")
    usual = min(USUAL, config.max_position_embeddings)
    print(f"what fits: the longest context of one sequence (sequences of {usual:,} tokens at once)")
    rows = [[f"{d} GB", *(_fit(s, config, f, d) for f in FORMATS)] for d in DEVICES]
    print(table([["device", *FORMATS], *rows]), end="\n\n")
    read = [step_bytes(config, f, usual) for f in FORMATS]
    print("tokens a second of one sequence, predicted from bytes alone: none can be faster")
    rows = [[name, *(f"{rate / n:,.0f}" for n in read)] for name, rate in BANDWIDTHS.items()]
    print(table([["device", *FORMATS], *rows]))


def _config(model: str) -> tuple[str, ModelConfig]:
    wanted = set(model.lower().split("-"))
    named = [n for n in PRESETS if n == model.lower() or wanted <= set(n.split("-"))]
    if model == "embedded":
        from .. import nano

        return "embedded model", ModelConfig.read(nano.path())
    if len(named) == 1 and not Path(model).exists():
        return named[0], PRESETS[named[0]]
    if not Path(model).exists():
        raise ValueError(f"{model!r} is no folder and no name; names: {', '.join(PRESETS)}")
    return str(model), ModelConfig.read(model)


def shape(c: ModelConfig) -> str:
    """A model's shape in a line."""
    return (
        f"{c.num_hidden_layers} layers ({len(c.lightning_layers)} Lightning, "
        f"{sum(c.is_mla(i) for i in range(c.num_hidden_layers))} MLA), {c.num_nextn_predict_layers}"
        f" MTP; width {c.hidden_size:,}, {c.num_attention_heads} heads of {c.head_dim}; "
        f"{c.num_experts} experts, {c.num_experts_per_tok} for each token; vocabulary "
        f"{c.vocab_size:,}; {c.max_position_embeddings:,} positions"
    )


def parameters(config: ModelConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Parameters by component: all, and those that one token passes through (the embedding table
    counts whole, as in the published figure; the MTP layer is not active).
    """
    from ..model.names import published

    parts: tuple[str, ...] = (
        "embedding",
        "Lightning layers",
        "MLA layers",
        "dense feed-forward",
        "routed experts",
        "shared experts",
        "routers",
        "norms",
        "head",
        "MTP layer",
    )
    total: dict[str, int] = dict.fromkeys(parts, 0)
    active: dict[str, int] = dict.fromkeys(parts, 0)
    for t in published(config):
        part, n = part_of(config, t), math.prod(t.shape)
        total[part] += n
        active[part] += 0 if part == "MTP layer" else n
    share = config.num_experts_per_tok / config.num_experts
    active["routed experts"] = round(active["routed experts"] * share)
    return total, active


def part_of(c: ModelConfig, t: Published) -> str:
    """The component that a weight belongs to."""
    if t.param.startswith("mtp."):
        return "MTP layer"
    if not t.param.startswith("layers."):
        return {"embed.weight": "embedding", "head": "head"}.get(t.param, "norms")
    _, layer, room, *last = t.param.split(".")
    if not last:
        return "norms"
    if room == "mixer":
        return "MLA layers" if c.is_mla(int(layer)) else "Lightning layers"
    if last[0] in ("router", "bias"):
        return "routers"
    if last[0] == "shared":
        return "shared experts"
    return "routed experts" if t.expert is not None else "dense feed-forward"


def sizes(config: ModelConfig) -> Sizes:
    """Memory by the formats of published checkpoints; latents without those of MTP layers."""
    from ..engine.costs import Costs
    from ..engine.memory import weight_bytes

    costs = Costs.of(config.with_(num_nextn_predict_layers=0))
    weights = {f: weight_bytes(config, f) for f in FORMATS}
    return Sizes(weights, costs.token, costs.state, costs.tail)


def step_bytes(config: ModelConfig, form: str, tokens: int) -> float:
    """Bytes that a step of one sequence of so many tokens reads or writes: weights without the
    embedding, the experts that one token passes, its state, half an open chunk, and its latents.
    """
    from ..engine.costs import Costs
    from ..engine.memory import weight_bytes
    from ..model.names import published
    from ..quant import PLANS

    c = config.with_(num_nextn_predict_layers=0)
    total, routed = weight_bytes(c, form), 0
    for t in published(c):
        if t.expert is not None:
            scheme = PLANS[form].of(t.name)
            routed += scheme.nbytes(t.shape) if scheme else 2 * math.prod(t.shape)
    costs, embedding = Costs.of(c), 2 * c.vocab_size * c.hidden_size
    read = total - embedding - routed * (1 - c.num_experts_per_tok / c.num_experts)
    return read + costs.state + costs.tail / 2 + tokens * costs.token


def _fit(s: Sizes, c: ModelConfig, form: str, device: int) -> str:
    room = device * GB * USABLE - s.weights[form]
    longest = int((room - s.sequence) // s.token)
    if longest < 1:
        return "-"
    usual = min(USUAL, c.max_position_embeddings)
    together = int(room // (s.sequence + usual * s.token))
    shown = min(longest, c.max_position_embeddings)
    return f"{shown:,} ({together:,})"


def _count(n: int) -> str:
    for size, unit in ((10**9, "B"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:,.2f} {unit}"
    return str(n)


def _active(active: dict[str, int]) -> str:
    n = sum(active.values())
    return f"{_count(n)} ({_count(n - active['embedding'])} without the embedding table)"
