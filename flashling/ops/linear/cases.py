"""Shapes of linear maps."""

from __future__ import annotations

import torch

from ..cases import Case, Maker
from . import BLOCK, FLOAT8, Fp8, linear, quantise


def fp8(m: Maker, *shape: int, blocks: bool = False) -> Fp8:
    """A normal e4m3 weight of rows of about unit length."""
    numbers = m(*shape, scale=64, dtype=torch.float32).to(FLOAT8).to(m.device)
    *front, rows, columns = shape
    across = [-(-rows // BLOCK), -(-columns // BLOCK)] if blocks else [rows]
    scale = m(*front, *across, dtype=torch.float32).abs() + 0.5
    return Fp8(numbers, scale / 64 / columns**0.5)


cases = [
    Case(linear, "plain", lambda m: (m(3, 64), m(32, 64))),
    Case(linear, "channel_1", lambda m: (m(1, 256), fp8(m, 96, 256)), is_row_invariant=True),
    Case(linear, "channel_7", lambda m: (m(7, 256), fp8(m, 96, 256))),
    Case(linear, "channel_33", lambda m: (m(33, 256), fp8(m, 144, 256))),
    Case(linear, "block_1", lambda m: (m(1, 256), fp8(m, 256, 256, blocks=True))),
    Case(linear, "block_33", lambda m: (m(33, 256), fp8(m, 256, 256, blocks=True))),
    *(
        Case(linear, f"{name}_{rows}", lambda m, r=rows, s=shape: (m(r, s[1]), fp8(m, *s)), "full")
        for name, shape in {
            "qkvg": (16384, 4096),
            "o": (4096, 4096),
            "q_b": (6144, 1536),
            "qkv_a": (2112, 4096),
            "dense": (18432, 4096),
            "shared_down": (4096, 1024),
        }.items()
        for rows in (1, 4, 64, 256, 8192)
    ),
]
__all__ = ["cases", "fp8", "quantise"]
