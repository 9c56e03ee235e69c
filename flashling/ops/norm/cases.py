"""Shapes of the norms."""

from ..cases import Case
from . import group_norm_gate, norm

cases = [
    Case(norm, "hidden", lambda m: (m(33, 64), m(64)), is_row_invariant=True),
    Case(norm, "heads", lambda m: (m(5, 4, 16), m(16)), is_row_invariant=True),
    Case(norm, "decode", lambda m: (m(1, 4096), m(4096)), "full", is_row_invariant=True),
    Case(norm, "prefill", lambda m: (m(8192, 4096), m(4096)), "full", is_row_invariant=True),
    Case(
        group_norm_gate,
        "toy",
        lambda m: (m(33, 64, scale=30), m(64), m(33, 64), 2),
        is_row_invariant=True,
    ),
    Case(
        group_norm_gate,
        "prefill",
        lambda m: (m(8192, 4096), m(4096), m(8192, 4096), 4),
        "full",
        is_row_invariant=True,
    ),
]
