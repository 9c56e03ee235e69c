"""Shapes of the rotations."""

import torch

from ..cases import Case, Maker
from . import frequencies, rotary_table, rotate_half, rotate_pairs


def _inputs(m: Maker, tokens: int, heads: int, width: int, rotated: int):
    kind = torch.float64 if m.dtype == torch.float64 else torch.float32
    at = m.integers(1000, tokens)
    return m(tokens, heads, width), *rotary_table(at, frequencies(rotated, 6e6), 1.0, kind)


cases = [
    Case(rotate_half, "toy", lambda m: _inputs(m, 17, 4, 16, 8), is_row_invariant=True),
    Case(rotate_pairs, "toy", lambda m: _inputs(m, 17, 4, 8, 8), is_row_invariant=True),
    Case(rotate_half, "prefill", lambda m: _inputs(m, 8192, 32, 128, 64), "full"),
    Case(rotate_pairs, "prefill", lambda m: _inputs(m, 8192, 32, 64, 64), "full"),
]
