"""Decode steps with drafts of the MTP layer: times, and what they give by how many are taken."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ... import ops
from ...engine.cache import Cache
from ...engine.costs import Costs
from ...engine.drafts import guess_bytes, guess_head
from ...engine.flight import Flight
from ...engine.memory import Wanted, workspace_bytes
from ...engine.request import Request, Usage, pages_for
from ...engine.request import Sequence as Running
from ...engine.steps import Steps, laid
from ...model.ling import Ling
from ...model.mtp import Mtp
from ...sampling import Sampling
from . import decode, timing
from .recipes import Maker, Recipe, fill

# drafts of a sequence, and rows of a step that are worth a measurement
DRAFTS, MOST = (1, 2, 3), 256
# tokens of a sequence and step, in the mean, that acceptance is forced to
FORCED = (1.0, 1.6, 2.0, 2.5)


@contextmanager
def with_mtp(model: Ling, recipe: Recipe) -> Iterator[Ling]:
    """The model with an MTP layer of random weights, held as the recipe holds the others."""
    config, before = model.config, model.mtp
    longest = config.max_position_embeddings + _room(max(DRAFTS))
    model.config = config.with_(num_nextn_predict_layers=1, max_position_embeddings=longest)
    with torch.device("meta"):
        layer = Mtp(model.config, 0)
    fill(layer, Maker.of(model.head.device, 5, config.num_hidden_layers), recipe, "mtp.0")
    model.mtp = nn.ModuleList([layer.eval()])
    try:
        yield model
    finally:
        model.config, model.mtp = config, before


def missing(model: Ling, cell: decode.Cell, drafts: int, free: int) -> int:
    """Bytes beyond `free` that the cell takes beside the weights; 0 if it fits."""
    costs, rows = Costs.of(model.config), 1 + drafts
    wanted = Wanted(slots=cell.batch, context=1, budget=cell.batch * rows, draws=rows)
    pages = cell.batch * pages_for(cell.context + _room(drafts))
    need = cell.batch * costs.slot + pages * costs.page + workspace_bytes(model.config, wanted)
    need += guess_bytes(model)
    return max(0, need - free)


def _room(drafts: int) -> int:
    """Positions that a cell needs beyond its context."""
    return (decode.STEPS + decode.WARM + decode.COUNTED + 2) * (1 + drafts)


class Forced(Steps):
    """Steps that take each draft with a chance of `rate` while those before it are taken, and
    count the tokens that they give in `taken`.
    """

    def __init__(self, model: Ling, cache: Cache, drafts: int) -> None:
        super().__init__(model, cache, drafts, guess_head(model))
        self.rate = torch.zeros((), device=self.device)
        self.taken = torch.zeros((), dtype=torch.int64, device=self.device)

    def accepted(self, tokens: Tensor, drawn: Tensor, stops: Tensor, room: Tensor) -> Tensor:
        """As `Steps.accepted`, by chance."""
        chance = torch.rand(tokens[:, 1:].shape, device=room.device)
        is_in = torch.arange(1, drawn.shape[1], device=room.device) < room[:, None]
        found = ((chance < self.rate) & is_in).long().cumprod(-1).sum(-1)
        self.taken += found.sum() + len(found)
        return found


def rate_of(tokens: float, drafts: int) -> float:
    """The chance of a draft with which a step gives so many tokens in the mean: 1 + p + p^2 ...
    up to p^drafts.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        if sum(middle**i for i in range(drafts + 1)) < tokens:
            low = middle
        else:
            high = middle
    return high if tokens > 1 else 0.0


@torch.no_grad()
def measure(model: Ling, cell: decode.Cell, drafts: int) -> Iterator[dict[str, Any]]:
    """A row for each number of tokens that acceptance is forced to, beside the plain step; steps as
    the engine runs them, what they leave for the host among them.
    """
    device = model.head.device
    pages = pages_for(cell.context + _room(drafts))
    cache = Cache(model.config, cell.batch, cell.batch * pages, model.dtype, device)
    for slot in range(cell.batch):
        cache.lay(slot, range(slot * pages, (slot + 1) * pages))
    decode.fill_noise(cache, model.config)
    steps, running = Forced(model, cache, drafts), _running(model, cell)
    plain = timing.summary(_times(steps, running, 0))
    given = laid(running, cell.batch, cache.spare_slot, drafts).to(device)
    distinct = decode.counted(model, lambda: steps.step(given, False))
    torch.manual_seed(0)
    for tokens in (t for t in FORCED if t <= drafts + 1):
        steps.rate.fill_(rate_of(tokens, drafts))
        found = timing.summary(_times(steps, running, drafts))
        each = int(steps.taken) / decode.steps_of(cell.batch) / cell.batch
        yield {
            "forced": tokens,
            **found,
            "plain_ms": plain["ms_mean"],
            # tokens of a sequence and step from which on drafts are worth their time
            "break_even": found["ms_mean"] / plain["ms_mean"],
            "tokens_per_step": each,
            "tokens_per_s": 1e3 * cell.batch * each / found["ms_mean"],
            "plain_tokens_per_s": 1e3 * cell.batch / plain["ms_mean"],
            "distinct_experts": distinct,
        }


def _running(model: Ling, cell: decode.Cell) -> list[Running]:
    """Sequences that await a draw, their open chunks of all lengths as in `decode.spread`."""
    how, draw = Sampling(temperature=0.0), torch.Generator().manual_seed(7)
    found = []
    for n in range(cell.batch):
        done = max(1, cell.context - n * 37 % ops.CHUNK)
        newest = int(torch.randint(0, model.config.vocab_size, (1,), generator=draw))
        s = Running(n, Request((0,), how), n, n, Usage(1), [0] * done + [newest], slot=n)
        s.done, s.base = done, (done - 1) // ops.CHUNK * ops.CHUNK
        found.append(s)
    return found


def _times(steps: Forced, running: Sequence[Running], drafts: int) -> list[float]:
    """Milliseconds of each step; `steps.taken` counts the tokens of those that are timed."""
    flight = steps.launch(running, drafts)

    def again() -> Flight:
        return steps.again(flight)

    for _ in range(decode.WARM):
        again()
    steps.taken.zero_()
    return timing.times(again, decode.steps_of(len(running)), steps.device)
