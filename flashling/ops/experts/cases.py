"""Shapes of the experts."""

import torch

from ..cases import Case, Maker
from . import experts, grouped_matmul, swiglu


def _experts(m: Maker, tokens: int, k: int, num: int, width: int, hidden: int):
    chosen = torch.stack([m.integers(num, tokens) for _ in range(k)], 1)
    weights = m(tokens, k, dtype=torch.float32).sigmoid()
    gate_up = m(num, 2 * hidden, width, scale=width**-0.5)
    down = m(num, width, hidden, scale=hidden**-0.5)
    return m(tokens, width), weights, chosen, gate_up, down


def _grouped(m: Maker, counts: list[int], width: int, out: int):
    rows = m(sum(counts), width)
    weight = m(len(counts), out, width, scale=width**-0.5)
    return rows, weight, torch.tensor(counts, device=m.device)


cases = [
    Case(swiglu, "toy", lambda m: (m(33, 64),), is_row_invariant=True),
    Case(grouped_matmul, "toy", lambda m: _grouped(m, [3, 0, 17, 1], 64, 32)),
    Case(grouped_matmul, "none", lambda m: _grouped(m, [0, 0], 64, 32)),
    Case(experts, "toy", lambda m: _experts(m, 33, 2, 8, 64, 32)),
    Case(experts, "decode", lambda m: _experts(m, 1, 2, 8, 64, 32)),
    Case(experts, "flash_512", lambda m: _experts(m, 512, 8, 256, 4096, 1024), "full"),
]
