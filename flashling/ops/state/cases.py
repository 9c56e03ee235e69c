"""Shapes of states in 8 bits: a slot with any number of rows in its open chunk."""

import torch

from ..cases import Case, Maker
from ..lightning import slopes
from . import quantise_state, restore_state


def _decay(m: Maker, layers: int, heads: int):
    return torch.stack([slopes(heads, i, 32) for i in range(layers)]).to(m.device)


def _slot(m: Maker, layers: int, heads: int, width: int, rows: int):
    kind = torch.float64 if m.dtype == torch.float64 else torch.float32
    state = m(layers, heads, width, width, dtype=kind)
    tail = m(layers, 2, rows, heads, width, scale=0.5)
    return state, tail, _decay(m, layers, heads)


def _kept(m: Maker, layers: int, heads: int, width: int, rows: int):
    shape = layers, heads, width, width
    kind = torch.float64 if m.dtype == torch.float64 else torch.float32
    numbers = (m.integers(255, *shape) - 127).to(torch.int8)
    scale = m(*shape[:3], dtype=torch.bfloat16).abs()
    return numbers, scale, _decay(m, layers, heads), rows, m(*shape, dtype=kind)


SIZES = {"toy": (3, 4, 16, 5), "wide": (2, 2, 64, 33), "full_chunk": (2, 2, 64, 64)}
cases = [
    *(Case(quantise_state, name, lambda m, s=s: _slot(m, *s)) for name, s in SIZES.items()),
    Case(quantise_state, "no_tail", lambda m: _slot(m, 2, 2, 64, 0)),
    *(Case(restore_state, name, lambda m, s=s: _kept(m, *s)) for name, s in SIZES.items()),
    Case(quantise_state, "no_tail_28", lambda m: _slot(m, 28, 32, 128, 0), "full"),
    Case(quantise_state, "tail_28", lambda m: _slot(m, 28, 32, 128, 63), "full"),
    Case(restore_state, "28", lambda m: _kept(m, 28, 32, 128, 33), "full"),
]
