"""Shapes of the norms."""

from ..cases import Case, Maker
from ..op import wide
from . import add_norm, group_norm_gate, norm


def _added(m: Maker, rows: int):
    return m(rows, 4096), m(rows, 4096), m(4096)


def _gated(m: Maker, rows: int):
    # the gate is the last quarter of the fused projection
    x = m(rows, 4096, scale=30, dtype=wide(m(0)).dtype)
    return x, m(4096), m(rows, 16384)[:, 12288:], 4


cases = [
    Case(norm, "hidden", lambda m: (m(33, 64), m(64)), is_row_invariant=True),
    Case(norm, "heads", lambda m: (m(5, 4, 16), m(16)), is_row_invariant=True),
    # a slice of columns of a wider row, as the latents of a fused projection are
    Case(norm, "slice", lambda m: (m(7, 80)[:, 48:72], m(24)), is_row_invariant=True),
    Case(add_norm, "hidden", lambda m: (m(33, 64), m(33, 64), m(64))),
    Case(norm, "decode", lambda m: (m(1, 4096), m(4096)), "full", is_row_invariant=True),
    Case(norm, "prefill", lambda m: (m(8192, 4096), m(4096)), "full", is_row_invariant=True),
    Case(
        group_norm_gate,
        "toy",
        lambda m: (m(33, 64, scale=30), m(64), m(33, 64), 2),
        is_row_invariant=True,
    ),
    *(
        case
        for rows in (1, 64, 8192)
        for case in (
            Case(add_norm, f"{rows}", lambda m, n=rows: _added(m, n), "full"),
            Case(group_norm_gate, f"{rows}", lambda m, n=rows: _gated(m, n), "full"),
        )
    ),
]
