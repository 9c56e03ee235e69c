"""What recipes cost in accuracy: each beside bf16 on some layers of the model's own width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...batch import Batch
from ...config import ModelConfig
from ...model.block import Block
from ...model.packed import Packed, pack
from ...model.past import Fresh
from ...model.rotary import Rotary
from ...quant import FP8, FP8_BLOCK, INT4, INT4_128, INT8
from .recipes import RECIPES, Form, Maker, Recipe, fill, place

SCHEMES = {
    "fp8": FP8,
    "fp8-block": FP8_BLOCK,
    "int8": INT8,
    "int4": INT4,
    "int4-128": INT4_128,
}
PLAIN = RECIPES["bf16"]
# rows of the one prompt that is read
TOKENS = 256

Weight = Tensor | Packed


class Stream:
    """The rows of one recipe on their way through the layers, and how far they were from bf16's."""

    def __init__(self, recipe: Recipe, x: Tensor) -> None:
        self.recipe, self.x, self.delta = recipe, x, torch.zeros_like(x)
        self.apart: list[float] = []

    @property
    def rows(self) -> Tensor:
        """The residual stream [T, D] in float32."""
        return self.x.float() + self.delta.float()


@torch.no_grad()
def measure(
    config: ModelConfig, device: torch.device, is_over: Callable[[], bool] = lambda: False
) -> list[dict[str, Any]]:
    """A row for each recipe: the median relative error of a row after each layer of one group, of
    the final rows, and of their logits the Kullback-Leibler divergence (nats) and the share of
    rows whose likeliest token is the same; where the head is packed too, the error of the logits
    that this alone makes. Weights are random in bf16,
    then quantised; layer after layer, so that one layer in all forms is the most that memory holds.
    """
    c = config.with_(num_hidden_layers=config.layer_group_size, num_nextn_predict_layers=0)
    maker = Maker.of(device, 3, c.num_hidden_layers)
    starts = maker.normal(TOKENS, c.hidden_size).bfloat16()
    batch = Batch.pack([torch.zeros(TOKENS, dtype=torch.int64)], device=device)
    rotary, past = Rotary.of(c, batch.positions, torch.bfloat16), Fresh(batch)
    refused = {name: reason for name, r in RECIPES.items() if (reason := r.refusal(c))}
    streams = {name: Stream(r, starts) for name, r in RECIPES.items() if name not in refused}
    for i in range(c.num_hidden_layers):
        if is_over():
            return []
        _through(_layer(c, i, maker), streams, f"layers.{i}", (rotary, past))
    norm = maker.plain("norm", (c.hidden_size,))
    head = maker.weight("head", (c.vocab_size, c.hidden_size))
    assert isinstance(head, Tensor)
    rows = _final(streams, norm, head, c.rms_norm_eps)
    return rows + [{"recipe": name, "refused": why} for name, why in refused.items()]


def _layer(c: ModelConfig, index: int, maker: Maker) -> Block:
    with torch.device("meta"):
        layer = Block(c, index)
    fill(layer, maker, PLAIN, f"layers.{index}")
    return layer.eval()


def _through(layer: Block, streams: dict[str, Stream], prefix: str, given: Any) -> None:
    """Take all streams through a layer whose weights are plain."""
    plain = {name: p.data for name, p in layer.named_parameters()}
    packed: dict[tuple[str, Form], Weight] = {}
    modules = dict(layer.named_modules())

    def form_of(recipe: Recipe, name: str) -> Form:
        return recipe.form(f"{prefix}.{name}", tuple(plain[name].shape)) or "bf16"

    for stream in streams.values():
        for name in plain:
            form = form_of(stream.recipe, name)
            if (name, form) not in packed:
                packed[name, form] = packed_as(plain[name], form)
            path, _, last = name.rpartition(".")
            place(modules[path], last, packed[name, form])
        stream.x, stream.delta = layer(stream.x, stream.delta, *given)
    want = streams["bf16"].rows
    for stream in streams.values():
        stream.apart.append(_apart(stream.rows, want))


def packed_as(weight: Tensor, form: Form) -> Weight:
    """A plain weight in a form."""
    return weight if form == "bf16" else pack(weight, SCHEMES[form])


def _apart(found: Tensor, want: Tensor) -> float:
    return float(((found - want).norm(dim=-1) / want.norm(dim=-1)).median())


def _final(
    streams: dict[str, Stream], norm: Tensor, head: Tensor, eps: float
) -> list[dict[str, Any]]:
    def hidden(s: Stream) -> Tensor:
        return ops.add_norm(s.x, s.delta, norm, eps)[1]

    want = hidden(streams["bf16"])
    plain = ops.linear(want, head).float()
    logits = plain.log_softmax(-1)
    heads: dict[Form, Weight] = {"bf16": head}
    rows = list[dict[str, Any]]()
    for name, s in streams.items():
        form = s.recipe.head
        if form not in heads:
            heads[form] = packed_as(head, form)
        found = ops.linear(hidden(s), heads[form]).float().log_softmax(-1)
        rows.append(
            {
                "recipe": name,
                "layers": s.apart,
                "hidden": _apart(hidden(s).float(), want.float()),
                "kl": float((logits.exp() * (logits - found)).sum(-1).mean()),
                "same_token": float((logits.argmax(-1) == found.argmax(-1)).float().mean()),
            }
        )
        if form != "bf16":
            rows[-1]["head"] = {form: _apart(ops.linear(want, heads[form]).float(), plain)}
    return rows
