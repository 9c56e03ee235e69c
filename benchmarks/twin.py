"""The architecture's claim: the same model with softmax attention in its 28 Lightning layers.

`python3 -m benchmarks.twin [PART ...] [NAME=VALUE ...]` is `flashling bench engine` with one more
part, `twin`. The twin's layers are those of the family before: grouped queries, 4 heads of keys and
values in bfloat16, no gate; all else is the same, in the same precision. Its attention is torch's.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention.bias import causal_lower_right

from flashling import ops
from flashling.batch import Batch
from flashling.bench.engine import decode, prefill, timing
from flashling.bench.engine.recipes import Maker, Recipe, fill, recipe_of
from flashling.bench.engine.run import PARTS, Bench, main
from flashling.config import ModelConfig
from flashling.engine.cache import PAGE
from flashling.engine.request import pages_for
from flashling.engine.steps import Recorded
from flashling.model.layers import weight
from flashling.model.lightning import Lightning
from flashling.model.ling import Ling
from flashling.model.rotary import Rotary

# heads of keys and values in the family before this one
KV_HEADS = 4
# flash attention, and what a CPU has in its place
BACKENDS = [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]


class Window:
    """The past of N sequences of equal length, up to `room` tokens each, filled with noise."""

    def __init__(self, model: Ling, slots: int, room: int) -> None:
        c, dtype, device = model.config, model.dtype, model.head.device
        draw = torch.Generator(device).manual_seed(1)
        self.slots, pages = slots, pages_for(room)
        self.scan_at = {layer: i for i, layer in enumerate(c.lightning_layers)}
        self.attend_at = {layer: i for i, layer in enumerate(c.mla_layers)}
        shape = len(self.scan_at), 2, slots, KV_HEADS, room, c.head_dim
        self.kv = torch.empty(shape, dtype=dtype, device=device).normal_(generator=draw)
        shape = slots * pages, len(self.attend_at), PAGE, c.latent_dim
        self.pages = torch.empty(shape, dtype=dtype, device=device).normal_(generator=draw)
        at = torch.arange(slots * pages, dtype=torch.int32, device=device)
        self.table = at.view(slots, pages)

    def at(self, first: int, count: int) -> Tensor:
        """Say that the next rows are tokens first, first + 1 ... of each sequence; their positions,
        sequence after sequence.
        """
        self.first, self.end, device = first, first + count, self.table.device
        places = torch.arange(first, self.end, device=device)
        self.page = self.table[:, places // PAGE].flatten().long()
        self.place = (places % PAGE).repeat(self.slots)
        self.lengths = torch.full((self.slots,), self.end, dtype=torch.int32, device=device)
        return places.repeat(self.slots)

    def attend(self, layer: int, q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
        """As `Past.attend`, for one row of each sequence or many of a single one."""
        pages = self.pages[:, self.attend_at[layer]]
        pages[self.page, self.place] = latent
        if len(q) == self.slots:
            return ops.mla_paged(q, pages, self.table, self.lengths, kv_b, value_dim)
        seen = self.table[0, : pages_for(self.end)].long()
        context = pages[seen].flatten(0, 1)[: self.end]
        return ops.mla_over(q, context, kv_b, value_dim)

    def scan(self, layer: int, q: Tensor, k: Tensor, v: Tensor, decay: Tensor) -> Tensor:
        """The twin scans nothing."""
        raise AssertionError(f"layer {layer} of the twin is softmax attention")

    def softmax(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attention of layer `layer`: q [T, H, W], k and v [T, 4, W] -> [T, H, W]."""
        q, k, v = (x.unflatten(0, (self.slots, -1)).transpose(1, 2) for x in (q, k, v))
        keys, values = self.kv[self.scan_at[layer]]
        keys[:, :, self.first : self.end], values[:, :, self.first : self.end] = k, v
        keys, values = keys[:, :, : self.end], values[:, :, : self.end]
        rows = q.shape[2]
        mask: Any = causal_lower_right(rows, self.end) if rows > 1 else None
        with sdpa_kernel(BACKENDS):
            out = F.scaled_dot_product_attention(q, keys, values, attn_mask=mask, enable_gqa=True)
        return out.transpose(1, 2).flatten(0, 1)


class Gqa(nn.Module):
    """x [T, D] -> [T, D]: normed and rotated q and k, as in Lightning, and softmax attention."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.heads, self.width = layer, config.num_attention_heads, config.head_dim
        self.eps = config.rms_norm_eps
        wide = self.heads * self.width
        self.qkvg = weight(wide + 2 * KV_HEADS * self.width, config.hidden_size)
        self.q_norm = weight(self.width)
        self.o = weight(config.hidden_size, wide)

    @property
    def first(self) -> ops.Weight:
        """The weight of the projection that `forward` is given."""
        return self.qkvg

    def forward(self, fused: Tensor, rotary: Rotary, past: Window) -> Tensor:
        """Attend within each sequence."""
        fused = fused.unflatten(-1, (-1, self.width))
        qk, v = fused.split([self.heads + KV_HEADS, KV_HEADS], 1)
        # one norm for both, so that the kernel may halve the heads where it likes
        halves = ops.queries_keys(qk, self.q_norm, self.q_norm, *rotary.half, self.eps)
        q, k = torch.cat(halves, 1).split([self.heads, KV_HEADS], 1)
        return ops.linear(past.softmax(self.layer, q, k, v).flatten(-2), self.o)


@contextmanager
def twinned(model: Ling, recipe: Recipe) -> Iterator[Ling]:
    """The model with other mixers, of random weights, in the place of its Lightning layers."""
    device, before = model.head.device, {}
    maker = Maker.of(device, 5, model.config.num_hidden_layers)
    for i, layer in enumerate(model.layers):
        if isinstance(layer.mixer, Lightning):
            before[i] = layer.mixer
            with torch.device("meta"):
                mixer = Gqa(model.config, i)
            fill(mixer, maker, recipe, f"layers.{i}.mixer")
            layer.mixer = mixer
    try:
        yield model
    finally:
        for i, mixer in before.items():
            model.layers[i].mixer = mixer


def token_bytes(config: ModelConfig) -> int:
    """Bytes that the twin keeps of a token."""
    c = config
    softmax = len(c.lightning_layers) * 2 * KV_HEADS * c.head_dim
    return 2 * (softmax + len(c.mla_layers) * c.latent_dim)


def missing(config: ModelConfig, tokens: int, free: int, work: int) -> int:
    """Bytes beyond `free` that so many tokens take beside weights and `work`."""
    return max(0, tokens * token_bytes(config) + work - free)


def step(model: Ling, batch: int, context: int) -> Iterator[dict[str, Any]]:
    """Times of a decode step of the twin; each replay brings token number `context` of each
    sequence, so that lengths stand still.
    """
    device, c = model.head.device, model.config
    past = Window(model, batch, context)
    positions = past.at(context - 1, 1)
    draw = torch.Generator(device).manual_seed(7)
    tokens = torch.randint(0, c.vocab_size, (batch,), generator=draw, device=device)
    starts = tuple(range(batch + 1))

    def once(given: Tensor) -> None:
        with torch.no_grad():
            hidden = model(Batch(given, positions, starts), past)
            given.copy_(model.logits(hidden).argmax(-1))

    call = Recorded(once, tokens).replay if device.type == "cuda" else lambda: once(tokens)
    for _ in range(decode.WARM):
        call()
    found = timing.summary(timing.times(call, decode.steps_of(batch), device))
    yield {
        **found,
        "tokens_per_s": 1e3 * batch / found["ms_mean"],
        "distinct_tokens": tokens.unique().numel(),
        "kept_bytes": batch * context * token_bytes(c),
    }


class Reader:
    """Reads chunks of one prompt of up to `tokens` tokens into a window."""

    def __init__(self, model: Ling, tokens: int) -> None:
        self.model = model
        self.past = Window(model, 1, tokens)

    def __call__(self, tokens: Tensor, first: int) -> Tensor:
        """As `prefill.Reader`."""
        positions = self.past.at(first, len(tokens))
        return self.model(Batch(tokens, positions, (0, len(tokens))), self.past)[-1:]


def run_twin(bench: Bench) -> None:
    """Decode steps and prompts of the twin: what `decode` and `prefill` measure of the model."""
    with twinned(bench.model, recipe_of(bench.plan.recipe)) as model:
        free, c = bench.free(), bench.config
        for context, batch in bench.cells(bench.plan.contexts, bench.plan.batches):
            cell = {"batch": batch, "context": context}
            short = missing(c, batch * context, free, decode.work_bytes(c, batch))
            bench.measure("twin", cell, short, partial(step, model, batch, context))
        for (tokens,) in bench.cells(bench.plan.prompts):
            short = missing(c, tokens, free, prefill.work_bytes(c, tokens))
            bench.measure("twin", {"tokens": tokens}, short, partial(_prompt, model, tokens))


def _prompt(model: Ling, tokens: int) -> Iterator[dict[str, Any]]:
    yield prefill.Prompt(model, Reader(model, tokens), tokens).measure()


# the trace stays last: it may slow down what is timed after it
*BEFORE, TRACE = PARTS.items()
ALL = dict([*BEFORE, ("twin", run_twin), TRACE])

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], ALL))
