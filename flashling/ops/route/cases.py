"""Shapes of the router."""

import torch

from ..cases import Case, Maker
from . import Choice, route


def _inputs(m: Maker, tokens: int, width: int, num: int, choice: Choice):
    # logits of unit deviation: where they are large, sigmoids are one in float32 and tie
    router = m(num, width, scale=width**-0.5, dtype=torch.float32)
    return m(tokens, width), router, m(num, scale=0.1, dtype=torch.float32), choice


FLASH = Choice(8, 8, 4, True, 2.5)
cases = [
    Case(route, "toy", lambda m: _inputs(m, 33, 64, 8, Choice(2, 4, 2, True, 2.5))),
    Case(route, "one_group", lambda m: _inputs(m, 9, 64, 4, Choice(2, 1, 1, False, 1.0))),
    *(
        Case(route, f"flash_{rows}", lambda m, n=rows: _inputs(m, n, 4096, 256, FLASH), "full")
        for rows in (1, 4, 64, 256, 8192)
    ),
]
