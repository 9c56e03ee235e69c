"""What whole sequences are worth, and the likeliest ones, over a plain `Kept` past."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from .ling import Ling
from .oracle import Generation
from .past import Fresh, Kept

# rows of a prompt that run at once: bounds memory
ROWS = 1024


@torch.no_grad()
def score(model: Ling, tokens: Sequence[int]) -> list[float]:
    """The log-probability of each token after the first, given those before it."""
    if len(tokens) < 2:
        raise ValueError(f"{len(tokens)} tokens have nothing to score; give two at least")
    batch = Batch.pack([list(tokens)], device=model.head.device)
    hidden = model(batch, Fresh(batch))
    found: list[float] = []
    for at in range(0, len(tokens) - 1, ROWS):
        rows = hidden[at : min(at + ROWS, len(tokens) - 1)]
        logprobs = ops.logprobs_of(model.logits(rows))
        after = batch.tokens[at + 1 : at + 1 + len(rows), None]
        found += logprobs.gather(1, after)[:, 0].tolist()
    return found


@dataclass
class _Beam:
    slot: int
    tokens: list[int]
    logprobs: list[float]

    @property
    def total(self) -> float:
        return sum(self.logprobs)


@torch.no_grad()
def likeliest(
    model: Ling,
    prompt: Sequence[int],
    count: int,
    *,
    width: int = 4,
    stop_ids: Sequence[int] = (),
    max_tokens: int = 128,
) -> list[Generation]:
    """Up to `count` distinct continuations of `prompt`, best first by total log-probability.

    A beam search `width` wide (`count` at least), one batch per token; width 1 is greedy. A
    continuation that reaches `max_tokens` has finish "length".
    """
    width = max(width, count) if count > 1 else width
    past = Kept(model.config, width, model.dtype, model.head.device)
    stops = {*model.config.eos_token_ids, *stop_ids}
    room = min(max_tokens, past.limit - len(prompt) + 1)
    hidden = None
    for at in range(0, len(prompt), ROWS):
        hidden = _append(model, past, [(0, list(prompt[at : at + ROWS]))])
    if hidden is None:
        raise ValueError("a prompt is empty; give at least one token")
    live, done = [_Beam(0, [], [])], []
    for length in range(1, room + 1):
        live, ended = _branch(live, ops.logprobs_of(model.logits(hidden)), width, stops)
        done = sorted([*done, *ended], key=lambda b: -b.total)[:count]
        # totals only fall, so a live beam below the last of enough cannot come back
        if not live or (len(done) == count and live[0].total <= done[-1].total):
            live = []
            break
        if length < room:
            _place(past, live)
            hidden = _append(model, past, [(b.slot, b.tokens[-1:]) for b in live])
    best = sorted([*done, *live], key=lambda b: -b.total)[:count]
    kinds = {True: "stop", False: "length"}
    return [Generation(b.tokens, b.logprobs, finish=kinds[b.tokens[-1] in stops]) for b in best]


def _branch(
    live: list[_Beam], logprobs: Tensor, width: int, stops: set[int]
) -> tuple[list[_Beam], list[_Beam]]:
    """The `width` best continuations of live beams by one token, and those that end with it."""
    totals = torch.tensor([b.total for b in live], device=logprobs.device, dtype=logprobs.dtype)
    vocab = logprobs.shape[-1]
    scores = (logprobs + totals[:, None]).flatten()
    best = scores.topk(min(len(scores), width + len(live) * len(stops))).indices.tolist()
    kept: list[_Beam] = []
    ended: list[_Beam] = []
    for place in best:
        n, token = divmod(place, vocab)
        b = live[n]
        logprob = float(logprobs[n, token])
        target = ended if token in stops else kept
        if token in stops or len(kept) < width:
            target.append(_Beam(b.slot, [*b.tokens, token], [*b.logprobs, logprob]))
    return kept, ended


def _place(past: Kept, live: list[_Beam]) -> None:
    """Give each beam a slot of its own: the first of a parent keeps the parent's, others copy."""
    taken: set[int] = set()
    later = []
    for b in live:
        if b.slot in taken:
            later.append(b)
        taken.add(b.slot)
    free = (s for s in range(len(past.base)) if s not in taken)
    for b in later:
        slot = next(free)
        past.copy(b.slot, slot)
        b.slot = slot


def _append(model: Ling, past: Kept, rows: list[tuple[int, list[int]]]) -> Tensor:
    """Append tokens to slots; the last hidden row of each [N, D]."""
    slots = [slot for slot, _ in rows]
    first = [past.length(s) for s in slots]
    batch = Batch.pack([t for _, t in rows], first=first, device=model.head.device)
    hidden = model(batch, past.begin(batch, slots))
    past.commit()
    return hidden[batch.last_rows]
