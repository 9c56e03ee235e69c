"""Shapes of norms with the linear map behind them."""

from ..cases import Case, Maker
from ..linear.cases import fp8
from . import add_norm_linear, gated_linear


def _added(m: Maker, rows: int, width: int, outputs: int, blocks: bool = False):
    return m(rows, width), m(rows, width), m(width), fp8(m, outputs, width, blocks=blocks)


def _gated(m: Maker, rows: int, width: int, outputs: int, groups: int, blocks: bool = False):
    weight = fp8(m, outputs, width, blocks=blocks)
    return m(rows, width, scale=30), m(width), m(rows, width), groups, weight


# a number that was rounded over the middle of two e4m3 numbers differs by a sixteenth
PACKED = (1e-3, 3e-2)

cases = [
    Case(add_norm_linear, "plain", lambda m: (m(5, 64), m(5, 64), m(64), m(32, 64)), tol=PACKED),
    Case(add_norm_linear, "fp8", lambda m: _added(m, 9, 64, 48), tol=PACKED),
    Case(add_norm_linear, "blocks", lambda m: _added(m, 9, 256, 128, True), tol=PACKED),
    Case(gated_linear, "fp8", lambda m: _gated(m, 9, 64, 48, 2), tol=PACKED),
    Case(gated_linear, "blocks", lambda m: _gated(m, 9, 256, 128, 4, True), tol=PACKED),
    *(
        case
        for rows in (1, 16, 8192)
        for case in (
            Case(add_norm_linear, f"{rows}", lambda m, n=rows: _added(m, n, 4096, 16384), "full"),
            Case(gated_linear, f"{rows}", lambda m, n=rows: _gated(m, n, 4096, 4096, 4), "full"),
        )
    ),
]
