"""Shapes of linear maps."""

from __future__ import annotations

import torch

from ..cases import Case, Maker
from . import BLOCK, FLOAT8, Fp8, Int4, Int8, linear, quantise
from .int4 import EACH, UNIT


def fp8(m: Maker, *shape: int, blocks: bool = False) -> Fp8:
    """A normal e4m3 weight of rows of about unit length."""
    numbers = m(*shape, scale=64, dtype=torch.float32).to(FLOAT8).to(m.device)
    *front, rows, columns = shape
    across = [-(-rows // BLOCK), -(-columns // BLOCK)] if blocks else [rows]
    scale = m(*front, *across, dtype=torch.float32).abs() + 0.5
    return Fp8(numbers, scale / 64 / columns**0.5)


def int8(m: Maker, *shape: int) -> Int8:
    """A uniform weight of eight bits, of rows of about unit length."""
    numbers = (m.integers(256, *shape) - 128).to(torch.int8)
    scale = m(shape[0], dtype=torch.float32).abs() + 0.5
    return Int8(numbers, scale / 100 / shape[1] ** 0.5)


def int4(m: Maker, *shape: int, group: int = UNIT) -> Int4:
    """A uniform weight of four bits in groups of inputs, of rows of about unit length."""
    *front, columns = shape
    words = m.integers(1 << 32, *front, columns // EACH).to(torch.int32)
    scale = m(*front, columns // group, dtype=torch.float32).abs() + 0.5
    return Int4(words, (scale / 6 / columns**0.5).bfloat16())


FOURS = {"qkvg": (16384, 4096), "gate_up": (2048, 4096), "down": (4096, 1024)}
cases = [
    Case(linear, "plain", lambda m: (m(3, 64), m(32, 64))),
    Case(linear, "channel_1", lambda m: (m(1, 256), fp8(m, 96, 256)), is_row_invariant=True),
    Case(linear, "channel_7", lambda m: (m(7, 256), fp8(m, 96, 256))),
    Case(linear, "channel_33", lambda m: (m(33, 256), fp8(m, 144, 256))),
    Case(linear, "block_1", lambda m: (m(1, 256), fp8(m, 256, 256, blocks=True))),
    Case(linear, "block_33", lambda m: (m(33, 256), fp8(m, 256, 256, blocks=True))),
    Case(linear, "int4_1", lambda m: (m(1, 256), int4(m, 96, 256)), is_row_invariant=True),
    Case(linear, "int4_33", lambda m: (m(33, 512), int4(m, 144, 512))),
    Case(linear, "int4_128_1", lambda m: (m(1, 256), int4(m, 96, 256, group=128))),
    Case(linear, "int4_128_33", lambda m: (m(33, 512), int4(m, 144, 512, group=128))),
    Case(linear, "int8_1", lambda m: (m(1, 256), int8(m, 96, 256)), is_row_invariant=True),
    Case(linear, "int8_33", lambda m: (m(33, 512), int8(m, 144, 512))),
    *(
        Case(linear, f"int8_head_{r}", lambda m, r=r: (m(r, 4096), int8(m, 157184, 4096)), "full")
        for r in (1, 16)
    ),
    *(
        Case(linear, f"int4_{name}_{r}", lambda m, r=r, s=s: (m(r, s[1]), int4(m, *s)), "full")
        for name, s in FOURS.items()
        for r in (1, 4, 16, 64, 256)
    ),
    *(
        Case(
            linear,
            f"{name}_blocks_{r}",
            lambda m, r=r, s=s: (m(r, s[1]), fp8(m, *s, blocks=True)),
            "full",
        )
        for name, s in {"qkvg": (16384, 4096), "o": (4096, 4096)}.items()
        for r in (1, 4, 16, 64, 8192)
    ),
    Case(quantise, "toy", lambda m: (m(7, 64),), is_row_invariant=True),
    Case(quantise, "toy_groups", lambda m: (m(7, 256), BLOCK), is_row_invariant=True),
    Case(quantise, "8192", lambda m: (m(8192, 4096),), "full", is_row_invariant=True),
    Case(quantise, "8192_groups", lambda m: (m(8192, 4096), BLOCK), "full", is_row_invariant=True),
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
        for rows in (1, 4, 16, 64, 256, 8192)
    ),
]
__all__ = ["cases", "fp8", "int4", "int8", "quantise"]
