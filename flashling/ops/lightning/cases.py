"""Shapes of Lightning attention: packed documents, and steps that go on from a carried state."""

from itertools import accumulate

import torch

from ..cases import Case, Maker
from . import CHUNK, Carry, Grid, lightning, lightning_decode, slopes


def _fresh(m: Maker, lengths: list[int], heads: int, width: int):
    starts = (0, *accumulate(lengths))
    grid = Grid(starts, (0,) * len(lengths), m.device)
    q, k, v = (m(starts[-1], heads, width, scale=0.5) for _ in range(3))
    return q, k, v, slopes(heads, 3, 32).to(m.device), grid


def _carried(m: Maker, lengths: list[int], tails: list[int], heads: int, width: int):
    starts, slots = (0, *accumulate(lengths)), len(lengths) + 1
    grid = Grid(starts, tuple(tails), m.device)
    kind = torch.float64 if m.dtype == torch.float64 else torch.float32
    carry = Carry(
        m(slots, heads, width, width, dtype=kind),
        m(slots, 2, CHUNK, heads, width, scale=0.5),
        torch.arange(1, slots, device=m.device),
    )
    q, k, v = (m(starts[-1], heads, width, scale=0.5) for _ in range(3))
    return q, k, v, slopes(heads, 3, 32).to(m.device), grid, carry


def _rows(m: Maker, sequences: int, heads: int, width: int, rows: int = 1):
    # open chunks of every length that leaves room, full ones among them, as in a batch that runs
    # for a while
    tails = [n * 37 % (CHUNK + 1) for n in range(sequences)]
    tails = [CHUNK if t + rows > CHUNK else t for t in tails]
    q, k, v, decay, _, carry = _carried(m, [rows] * sequences, tails, heads, width)
    return q, k, v, decay, carry, torch.tensor(tails, device=m.device)


cases = [
    Case(lightning, "one", lambda m: _fresh(m, [1], 4, 16)),
    Case(lightning, "packed", lambda m: _fresh(m, [1, 63, 64, 65, 200], 4, 16)),
    Case(lightning, "six_heads", lambda m: _fresh(m, [130], 6, 64)),
    Case(lightning, "decode", lambda m: _carried(m, [1, 1, 1], [0, 17, 64], 4, 16)),
    Case(lightning, "mixed", lambda m: _carried(m, [1, 3, 70], [63, 62, 5], 4, 16)),
    Case(lightning, "mixed_wide", lambda m: _carried(m, [1, 3, 200], [64, 62, 5], 2, 64)),
    Case(lightning, "long", lambda m: _carried(m, [600, 3], [64, 5], 2, 64)),
    Case(lightning_decode, "toy", lambda m: _rows(m, 5, 4, 16)),
    Case(lightning_decode, "wide", lambda m: _rows(m, 5, 2, 64)),
    Case(lightning_decode, "drafts", lambda m: _rows(m, 5, 2, 64, 3)),
    Case(lightning, "prefill_8k", lambda m: _fresh(m, [8192], 32, 128), "full"),
    Case(lightning, "go_on_8k", lambda m: _carried(m, [2048] * 4, [0, 64, 1, 30], 32, 128), "full"),
    *(
        Case(lightning_decode, f"rows_{n}", lambda m, n=n: _rows(m, n, 32, 128), "full")
        for n in (1, 4, 16, 64, 256)
    ),
    *(
        Case(lightning_decode, f"drafts_{n}", lambda m, n=n: _rows(m, n, 32, 128, 4), "full")
        for n in (1, 16, 64)
    ),
]
