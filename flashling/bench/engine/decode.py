"""Decode steps of a whole model, from the embedding to the drawn token: times, bytes, limits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ... import ops
from ...config import ModelConfig
from ...engine.cache import Cache
from ...engine.costs import Costs
from ...engine.memory import Wanted, workspace_bytes
from ...engine.request import pages_for
from ...engine.runner import Runner
from ...model.ling import Ling
from ...model.moe import Moe
from . import timing

# two chunks: every phase of the open chunk counts alike
STEPS = 2 * ops.CHUNK
# of so many sequences some are in every phase at each step, so that one chunk says as much
MANY = ops.CHUNK
# replays before those that are timed, and steps whose router's choices are counted
WARM, COUNTED = 3, 2
# steps of a trace
TRACED = 8
# positions that a cell needs beyond its context
SPARE = STEPS + WARM + COUNTED + 8
# the deviation of expert biases where routing is skewed; router scores lie in 0..1
SKEW = 0.15


@dataclass(frozen=True)
class Cell:
    """So many sequences of so many tokens each."""

    batch: int
    context: int

    def missing(self, config: ModelConfig, free: int) -> int:
        """Bytes beyond `free` that the cell takes beside the weights; 0 if it fits."""
        costs = Costs.of(config.with_(num_nextn_predict_layers=0))
        pages = self.batch * pages_for(self.context + SPARE)
        need = self.batch * costs.slot + pages * costs.page + work_bytes(config, self.batch)
        return max(0, need - free)


def work_bytes(config: ModelConfig, batch: int) -> int:
    """What a step needs beside weights and pasts, the spare slot and page among it."""
    c = config.with_(num_nextn_predict_layers=0)
    return workspace_bytes(c, Wanted(slots=batch, context=1, budget=batch))


def measure(
    model: Ling, cell: Cell, bandwidth: float, skews: tuple[float, ...]
) -> Iterator[dict[str, Any]]:
    """A row of figures for the cell under each skew of the routing, on one cache and one graph;
    bandwidth: bytes a second that can be read.
    """
    runner = Runner(model, cell.batch, cell.context + SPARE)
    step = recorded(runner)
    noise(runner)
    for skew in skews:
        with skewed(model, skew):
            spread(runner, cell.context)
            for _ in range(WARM):
                step()
            found = timing.summary(timing.times(step, steps_of(cell.batch), runner.device))
            distinct = distinct_experts(runner)
            read = bytes_read(model, cell, distinct)
            limit = 1e3 * sum(read.values()) / bandwidth
            yield {
                "routing": f"bias {skew:g}" if skew else "random",
                **found,
                "tokens_per_s": 1e3 * cell.batch / found["ms_mean"],
                "limit_ms": limit,
                "of_limit": limit / found["ms_mean"],
                "bytes": read,
                "distinct_experts": distinct,
                "distinct_tokens": runner.tokens.unique().numel(),
                # sums, since a mask would take a quarter of what may be all memory
                "is_finite": bool(runner.rows.cache.state.sum((-2, -1)).isfinite().all()),
            }


def steps_of(batch: int) -> int:
    """Steps that are timed, of so many sequences."""
    return STEPS // 2 if batch >= MANY else STEPS


def trace(model: Ling, cell: Cell) -> Iterator[dict[str, Any]]:
    """Milliseconds of one step by op."""
    runner = Runner(model, cell.batch, cell.context + SPARE)
    step = recorded(runner)
    noise(runner)
    spread(runner, cell.context)
    step()
    yield {"ms_by_op": timing.shares(step, TRACED, runner.device)}


def recorded(runner: Runner) -> Callable[[], None]:
    """The step that is measured, of all of the runner's slots: a graph's replay on CUDA, the same
    calls elsewhere. It runs some steps: fill the slots afterwards.
    """
    return runner.record().replay if runner.device.type == "cuda" else runner.step


def noise(runner: Runner) -> None:
    """Fill a runner's cache as `fill_noise`."""
    fill_noise(runner.rows.cache, runner.model.config)


@torch.no_grad()
def fill_noise(cache: Cache, config: ModelConfig) -> None:
    """Fill states, open chunks and pages with what a prompt would have left of random weights:
    keys, values and latents of unit deviation, and the decayed sums of their products.
    """
    device = cache.state.device
    draw = torch.Generator(device).manual_seed(1)
    for x in (cache.state, cache.tail, cache.pages):
        x.normal_(generator=draw)
    cache.state.mul_(deviations(config).to(device)[:, :, None, None])


def deviations(config: ModelConfig) -> Tensor:
    """Of the entries of each Lightning layer's state [L, H]: a sum over u of exp(-s u) k v has the
    variance of a geometric series in exp(-2 s).
    """
    c, layers = config, config.num_hidden_layers
    rates = [
        ops.slopes(c.num_attention_heads, layer, layers, c.decay_offset)
        for layer in c.lightning_layers
    ]
    return (1 - torch.exp(-2 * torch.stack(rates))).rsqrt()


def spread(runner: Runner, context: int) -> None:
    """Give slots about `context` tokens, their open chunks of all lengths as of sequences that did
    not begin together, and tokens of their own.
    """
    rows, device = runner.rows, runner.device
    lengths = context - torch.arange(len(rows.lengths), device=device) * 37 % ops.CHUNK
    rows.lengths.copy_(lengths.clamp(min=1))
    rows.tails.copy_((rows.lengths - 1) % ops.CHUNK + 1)
    vocab, draw = runner.model.config.vocab_size, torch.Generator(device).manual_seed(7)
    runner.tokens.random_(0, vocab, generator=draw)


@contextmanager
def skewed(model: Ling, deviation: float) -> Iterator[None]:
    """Expert biases of that deviation instead of the model's own, so that some experts are chosen
    far more often than others.
    """
    layers = [m for m in model.modules() if isinstance(m, Moe)]
    before = [m.bias.clone() for m in layers]
    draw = torch.Generator(before[0].device).manual_seed(11)
    if deviation:
        for m in layers:
            m.bias.normal_(0, deviation, generator=draw)
    try:
        yield
    finally:
        for m, bias in zip(layers, before, strict=True):
            m.bias.copy_(bias)


def distinct_experts(runner: Runner) -> list[float]:
    """Of each layer with experts, how many of them the runner's next steps chose: as `counted`."""
    return counted(runner.model, runner.step)


@torch.no_grad()
def counted(model: Ling, step: Callable[[], Any]) -> list[float]:
    """Of each layer with experts, how many of them the rows of some steps chose: the mean."""
    seen: list[int] = []
    layers = [m for m in model.layers.modules() if isinstance(m, Moe)]

    def watch(m: Moe, given: tuple[Tensor, ...]) -> None:
        chosen = ops.route(given[0], m.router, m.bias, m.choice)[1]
        seen.append(chosen.unique().numel())

    hooks = [m.register_forward_pre_hook(watch) for m in layers]
    for _ in range(COUNTED):
        step()
    for hook in hooks:
        hook.remove()
    return [sum(seen[i :: len(layers)]) / COUNTED for i in range(len(layers))]


def bytes_read(model: Ling, cell: Cell, distinct: list[float]) -> dict[str, float]:
    """Bytes that a step must read, by kind, and those of states that it writes: a chunk is folded
    into its state once in 64 steps. Activations are left out.
    """
    c = model.config
    costs, mean_rows = Costs.of(c), (ops.CHUNK + 1) / 2
    weights, experts = 0, 0.0
    counts = iter(distinct)
    for m in model.modules():
        own = [*m.parameters(recurse=False), *m.buffers(recurse=False)]
        weights += sum(x.nbytes for x in own)
        if isinstance(m, Moe):
            routed = stored(m.gate_up) + stored(m.down)
            weights -= routed + m.load.nbytes
            experts += routed * next(counts) / c.num_experts
    weights -= model.embed.weight.nbytes
    # the mean length over the steps
    tokens = cell.context - (ops.CHUNK - 1) / 2 * (cell.batch > 1) + WARM + steps_of(cell.batch) / 2
    return {
        "weights": weights,
        "experts": experts,
        "states": cell.batch * costs.state * (1 + 1 / ops.CHUNK),
        "tails": cell.batch * costs.tail * mean_rows / ops.CHUNK,
        "latents": cell.batch * costs.token * tokens,
    }


def stored(weight: ops.Weight) -> int:
    """Bytes of a weight with its scales."""
    if isinstance(weight, Tensor):
        return weight.nbytes
    return sum(b.nbytes for b in weight.buffers())
