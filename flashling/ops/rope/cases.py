"""Shapes of the rotations."""

import torch

from ..cases import Case, Maker
from . import (
    frequencies,
    latent_rows,
    queries_keys,
    rotary_table,
    rotate_half,
    rotate_pairs,
    turned_queries,
)


def _inputs(m: Maker, tokens: int, heads: int, width: int, rotated: int):
    return m(tokens, heads, width), *_table(m, tokens, rotated)


def _table(m: Maker, tokens: int, rotated: int):
    kind = torch.float64 if m.dtype == torch.float64 else torch.float32
    return rotary_table(m.integers(1000, tokens), frequencies(rotated, 6e6), 1.0, kind)


def _fused(m: Maker, tokens: int, heads: int, width: int, rotated: int):
    # the first half of the rows of the fused projection, as a layer hands it over
    x = m(tokens, 4 * heads * width)[:, : 2 * heads * width].unflatten(-1, (-1, width))
    return x, m(width), m(width), *_table(m, tokens, rotated)


def _latents(m: Maker, tokens: int, wide: int, rank: int, turned: int, low: bool = True):
    x, norms = m(tokens, wide + rank + turned), (m(wide) if low else None, m(rank))
    return x, *norms, *_table(m, tokens, turned)


cases = [
    Case(rotate_half, "toy", lambda m: _inputs(m, 17, 4, 16, 8), is_row_invariant=True),
    Case(rotate_pairs, "toy", lambda m: _inputs(m, 17, 4, 8, 8), is_row_invariant=True),
    Case(queries_keys, "toy", lambda m: _fused(m, 17, 4, 16, 8)),
    Case(queries_keys, "six_heads", lambda m: _fused(m, 5, 6, 64, 64)),
    Case(turned_queries, "toy", lambda m: _inputs(m, 17, 4, 20, 8), is_row_invariant=True),
    Case(latent_rows, "toy", lambda m: _latents(m, 17, 24, 32, 8)),
    Case(latent_rows, "whole_queries", lambda m: _latents(m, 5, 64, 24, 8, low=False)),
    Case(rotate_half, "prefill", lambda m: _inputs(m, 8192, 32, 128, 64), "full"),
    Case(rotate_pairs, "prefill", lambda m: _inputs(m, 8192, 32, 64, 64), "full"),
    *(
        Case(queries_keys, f"rows_{t}", lambda m, t=t: _fused(m, t, 32, 128, 64), "full")
        for t in (1, 64, 256, 8192)
    ),
    *(
        case
        for t in (1, 64, 8192)
        for case in (
            Case(turned_queries, f"rows_{t}", lambda m, t=t: _inputs(m, t, 32, 192, 64), "full"),
            Case(latent_rows, f"rows_{t}", lambda m, t=t: _latents(m, t, 1536, 512, 64), "full"),
        )
    ),
]
