"""The draws of a whole step: many rows at once, each as `choose` draws it alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...batch import sent
from ...sampling import Sampling
from ..op import op, wide
from . import logprobs_of, pick


@dataclass(frozen=True)
class Draw:
    """How one row is drawn: the arguments of `choose`."""

    settings: Sampling
    prompt: Sequence[int]
    out: Sequence[int]
    sample: int = 0
    allowed: Tensor | None = None


@dataclass(frozen=True)
class Drawn:
    """What was drawn from one row: the token, or None where the mask and the bias leave none; the
    model's log-probability of it; the likeliest tokens as many as asked for; whether the row is
    finite, without which the others mean nothing.
    """

    token: int | None
    logprob: float
    top: tuple[tuple[int, float], ...]
    is_finite: bool


def draw(logits: Tensor, rows: Sequence[Draw]) -> list[Drawn]:
    """Draw from each row of logits [N, V], N at least 1; one copy from the device in all.
    ValueError as `choose_rows`.
    """
    tokens, logprobs = choose_rows(logits, rows), logprobs_of(logits)
    own = logprobs.gather(-1, tokens.clamp(min=0)[:, None])
    parts = [tokens[:, None], torch.isfinite(logits).all(-1, keepdim=True), own]
    most = min(max(r.settings.logprobs for r in rows), logits.shape[-1])
    if most:
        best = logprobs.topk(most)
        parts += [best.indices, best.values]
    # float64 holds tokens and both float types exactly
    read = torch.cat([p.double() for p in parts], -1).tolist()
    found: list[Drawn] = []
    for row, (token, is_finite, logprob, *rest) in zip(rows, read, strict=True):
        pairs = zip(map(int, rest[:most]), rest[most:], strict=True)
        top = tuple(pairs)[: row.settings.logprobs]
        found.append(Drawn(int(token) if token >= 0 else None, logprob, top, bool(is_finite)))
    return found


@op()
def choose_rows(logits: Tensor, rows: Sequence[Draw]) -> Tensor:
    """Tokens [N] int64 on the device, row by row those of `choose` over logits [N, V]; -1 where
    `choose` finds that no token may come. ValueError for a bias or a mask that does not fit the
    vocabulary.
    """
    _check(rows, logits.shape[-1])
    x = _mask(_penalise(wide(logits), rows), rows)
    tokens = pick(x, *_settings(rows, x.device))[0]
    held = [n for n, r in enumerate(rows) if r.allowed is not None]
    if held:
        at = torch.tensor(held, device=x.device)
        tokens[at] = torch.where((x[at] > -torch.inf).any(-1), tokens[at], -1)
    return tokens


def _check(rows: Sequence[Draw], vocab: int) -> None:
    for r in rows:
        for token in r.settings.logit_bias:
            if not 0 <= token < vocab:
                raise ValueError(f"logit_bias names token {token}; the vocabulary has {vocab}")
        if r.allowed is not None and r.allowed.shape != (vocab,):
            raise ValueError(f"a mask of {len(r.allowed)} tokens for a vocabulary of {vocab}")


def _places(found: list[tuple[Any, ...]], x: Tensor) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    """Of (row, token, value ...): an index of x, and each column of values in the type of x."""
    row, token, *values = zip(*found, strict=True)
    index = torch.tensor(row, device=x.device), torch.tensor(token, device=x.device)
    return index, [torch.tensor(v, dtype=x.dtype, device=x.device) for v in values]


def _penalise(x: Tensor, rows: Sequence[Draw]) -> Tensor:
    """x after penalties and bias, a copy where there are any."""
    numbered = [(n, r, r.settings) for n, r in enumerate(rows)]
    seen = [
        (n, token, s.repetition_penalty)
        for n, r, s in numbered
        if s.repetition_penalty != 1
        for token in {*r.prompt, *r.out}
    ]
    said = [
        (n, token, count, s.frequency_penalty, s.presence_penalty)
        for n, r, s in numbered
        if s.frequency_penalty or s.presence_penalty
        for token, count in Counter(r.out).items()
    ]
    biased = [(n, token, bias) for n, _, s in numbered for token, bias in s.logit_bias.items()]
    if seen or said or biased:
        x = x.clone()
    if seen:
        at, [by] = _places(seen, x)
        x[at] = torch.where(x[at] > 0, x[at] / by, x[at] * by)
    if said:
        at, [count, often, once] = _places(said, x)
        x[at] -= often * count + once
    if biased:
        at, [bias] = _places(biased, x)
        x[at] += bias
    return x


def _mask(x: Tensor, rows: Sequence[Draw]) -> Tensor:
    """x without what the masks exclude, and without stops that come too early."""
    allowed = [(n, r.allowed) for n, r in enumerate(rows) if r.allowed is not None]
    if allowed:
        at = torch.tensor([n for n, _ in allowed], device=x.device)
        masks = torch.stack([mask for _, mask in allowed]).to(x.device)
        x = x.index_copy(0, at, x[at].masked_fill(~masks, -torch.inf))
    early = [
        (n, token)
        for n, r in enumerate(rows)
        if len(r.out) < r.settings.min_tokens
        for token in r.settings.stop_ids
    ]
    if not early:
        return x
    longer = x.clone()
    longer[_places(early, x)[0]] = -torch.inf
    if not allowed:
        return longer
    # a grammar that lets only stops come goes before min_tokens
    is_held = torch.tensor([r.allowed is not None for r in rows], device=x.device)
    is_longer = ~is_held | (longer > -torch.inf).any(-1)
    return torch.where(is_longer[:, None], longer, x)


def _settings(rows: Sequence[Draw], device: torch.device) -> tuple[Any, ...]:
    """The arguments of `pick` after the logits."""
    of = [r.settings for r in rows]
    whole = [
        (signed(s.seed), r.sample, len(r.prompt) + len(r.out), s.top_k)
        for r, s in zip(rows, of, strict=True)
    ]
    real = [(s.temperature, s.top_p, s.min_p) for s in of]
    seed, sample, position, top_k = sent(torch.tensor(whole).T.contiguous(), device)
    temperature, *rest = sent(torch.tensor(real, dtype=torch.float64).T.contiguous(), device)
    cut = (top_k, *rest) if any(s.is_cut for s in of) else None
    return temperature, seed, sample, position, cut


def signed(seed: int) -> int:
    """The bits of a uint64 as an int64."""
    return seed - (seed >> 63 << 64)
