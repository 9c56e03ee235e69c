"""Sampling: penalties, filters, and a draw whose noise depends on nothing but its place."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ...sampling import Sampling
from ..op import op, wide

LOW = 0xFFFFFFFF
# elements of logits that get their noise at once: bounds what it takes beside them
BLOCK = 1 << 22
# one for all, or one for each row
Number = int | Tensor
# of each row [N]: top_k int64 (0 for all), top_p and min_p float64
Cut = tuple[Tensor, Tensor, Tensor]


@op()
def philox(tokens: Tensor, seed: Number, sample: Number, position: Number) -> Tensor:
    """Random words [V] int64 in [0, 2^32), one for each token id of `tokens` [V] int64; [N, V]
    where seed, sample and position are tensors [N, 1] int64 (of a seed its 64 bits).

    Philox4x32-10 (Salmon et al., SC 2011) with key (seed mod 2^32, sample) and counter
    (position, token, seed div 2^32, 0); its first output word.
    """
    c3 = torch.zeros_like(tokens)
    c0, c1, c2 = c3 + (position & LOW), tokens & LOW, c3 + ((seed >> 32) & LOW)
    k0, k1 = seed & LOW, sample & LOW
    for _ in range(10):
        high0, low0 = _product(c0, 0xD2511F53)
        high1, low1 = _product(c2, 0xCD9E8D57)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + 0x9E3779B9) & LOW, (k1 + 0xBB67AE85) & LOW
    return c0


def _product(x: Tensor, by: int) -> tuple[Tensor, Tensor]:
    """High and low 32 bits of x * by; the signed overflow of int64 keeps the right bits."""
    full = x * by
    return (full >> 32) & LOW, full & LOW


def gumbel(tokens: Tensor, seed: Number, sample: Number, position: Number) -> Tensor:
    """Gumbel noise float64 of the same shape and places: -log(-log u), u = (word + 1/2) / 2^32."""
    u = (philox(tokens, seed, sample, position).double() + 0.5) / 2**32
    return -torch.log(-torch.log(u))


def logprobs_of(logits: Tensor) -> Tensor:
    """The model's own log-probabilities [..., V]: log-softmax in float32 or wider."""
    return torch.log_softmax(wide(logits), -1)


def filtered(
    logits: Tensor,
    settings: Sampling,
    prompt: Sequence[int],
    out: Sequence[int],
    allowed: Tensor | None = None,
) -> Tensor:
    """logits [V] after penalties, bias, a grammar's mask, temperature, top-k, top-p and min-p, in
    that order.

    What is filtered away is minus infinity. The repetition penalty counts prompt and output
    (arXiv 1909.05858), presence and frequency penalties the output alone. `allowed` [V] bool says
    which tokens may come; min_tokens gives way where only stops may. ValueError if none is left.
    """
    x = wide(logits).clone()
    vocab = len(x)
    if settings.repetition_penalty != 1 and (prompt or out):
        ids = torch.tensor(sorted({*prompt, *out}), device=x.device)
        r = settings.repetition_penalty
        x[ids] = torch.where(x[ids] > 0, x[ids] / r, x[ids] * r)
    if out and (settings.presence_penalty or settings.frequency_penalty):
        counts = torch.bincount(torch.tensor(out, device=x.device), minlength=vocab).to(x.dtype)
        x -= settings.frequency_penalty * counts + settings.presence_penalty * (counts > 0).to(
            x.dtype
        )
    for token, bias in settings.logit_bias.items():
        if not 0 <= token < vocab:
            raise ValueError(f"logit_bias names token {token}; the vocabulary has {vocab}")
        x[token] += bias
    if allowed is not None:
        x = _allow(x, allowed)
    if len(out) < settings.min_tokens and settings.stop_ids:
        stops = torch.tensor(settings.stop_ids, device=x.device)
        longer = x.index_fill(0, stops, -torch.inf)
        if allowed is None or bool((longer > -torch.inf).any()):
            x = longer
    return x if settings.temperature == 0 else _cut(x / settings.temperature, settings)


def _allow(x: Tensor, allowed: Tensor) -> Tensor:
    if allowed.shape != x.shape:
        raise ValueError(f"a mask of {len(allowed)} tokens for a vocabulary of {len(x)}")
    x = x.masked_fill(~allowed.to(x.device), -torch.inf)
    if not bool((x > -torch.inf).any()):
        raise ValueError("no token may come next; logit_bias and the grammar exclude each other")
    return x


def _cut(x: Tensor, settings: Sampling) -> Tensor:
    if not (0 < settings.top_k < len(x)) and settings.top_p >= 1 and settings.min_p <= 0:
        return x
    # a stable sort: among equals the lowest id is the likeliest
    order = x.sort(dim=-1, descending=True, stable=True)
    keep = torch.ones_like(x, dtype=torch.bool)
    if 0 < settings.top_k < len(x):
        keep[settings.top_k :] = False
    p = order.values.masked_fill(~keep, -torch.inf).softmax(-1)
    if settings.top_p < 1:
        keep &= p.cumsum(-1) - p < settings.top_p
    if settings.min_p > 0:
        # relative to the likeliest, so what top-p has left needs no second softmax
        keep &= p >= settings.min_p * p[0]
    out = torch.full_like(x, -torch.inf)
    out[order.indices[keep]] = order.values[keep]
    return out


@op()
def choose(
    logits: Tensor,
    settings: Sampling,
    prompt: Sequence[int],
    out: Sequence[int],
    sample: int = 0,
    allowed: Tensor | None = None,
) -> int:
    """The token drawn after `prompt` and `out` from logits [V]: Gumbel-max over the filtered
    logits with the noise of absolute position len(prompt) + len(out); ties go to the lowest id.

    `allowed` [V] bool: which tokens may come, all by default.
    """
    x = filtered(logits, settings, prompt, out, allowed)
    if settings.temperature > 0:
        ids = torch.arange(len(x), device=x.device)
        x = x.double() + gumbel(ids, settings.seed, sample, len(prompt) + len(out))
    # the framework promises the first among equals
    return int(x.argmax())


@op(cuda=".triton:pick")
def pick(
    logits: Tensor,
    temperature: Tensor,
    seed: Tensor,
    sample: Tensor,
    position: Tensor,
    cut: Cut | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Tokens [N] int64, each as `choose` draws it from its row of logits [N, V] where nothing but
    temperature, top-k, top-p and min-p is set; the model's log-probabilities of them [N]; whether
    the rows are finite [N] bool, without which the others mean nothing.

    temperature [N] float64; seed (the bits of a uint64), sample and position [N] int64, all on
    the device; cut: the filters, None if no row has one.
    """
    x = wide(logits)
    tokens, ids = x.argmax(-1), torch.arange(x.shape[-1], device=x.device)
    at_random = (temperature > 0).nonzero()[:, 0]
    for at in at_random.split(max(1, BLOCK // x.shape[-1])):
        some = x[at] / temperature[at, None].to(x.dtype)
        if cut is not None:
            top_k, top_p, min_p = (c[at] for c in cut)
            some = _cut_rows(some, top_k, top_p.to(x.dtype), min_p.to(x.dtype))
        noise = gumbel(ids, *(p[at, None] for p in (seed, sample, position)))
        tokens[at] = (some.double() + noise).argmax(-1)
    own = logprobs_of(x).gather(-1, tokens[:, None])[:, 0]
    return tokens, own, torch.isfinite(x).all(-1)


def _cut_rows(x: Tensor, top_k: Tensor, top_p: Tensor, min_p: Tensor) -> Tensor:
    """x [n, V] after top-k, top-p and min-p of each row, a copy or not."""
    vocab = x.shape[-1]
    most = torch.where((top_k > 0) & (top_k < vocab), top_k, vocab)
    at = ((most < vocab) | (top_p < 1) | (min_p > 0)).nonzero()[:, 0]
    # a stable sort: among equals the lowest id is the likeliest
    order = x[at].sort(dim=-1, descending=True, stable=True)
    keep = torch.arange(vocab, device=x.device) < most[at, None]
    p = order.values.masked_fill(~keep, -torch.inf).softmax(-1)
    # no sum reaches infinity: 1 keeps all
    part = top_p[at].masked_fill(top_p[at] >= 1, torch.inf)
    keep &= p.cumsum(-1) - p < part[:, None]
    keep &= p >= min_p[at, None] * p[:, :1]
    kept = order.values.masked_fill(~keep, -torch.inf)
    return x.index_copy(0, at, torch.empty_like(kept).scatter_(1, order.indices, kept))
