"""Shapes of the experts."""

from __future__ import annotations

import torch
from torch import Tensor

from ..cases import Case, Maker
from ..linear import BLOCK, FLOAT8, Fp8, Int4
from ..linear.cases import fp8, int4
from ..linear.int4 import EACH, UNIT
from . import experts, grouped_matmul, swiglu

# of the published model: experts, width, an expert's width, experts a token
NUM, WIDTH, HIDDEN, SLOTS = 256, 4096, 1024, 8


def _experts(
    m: Maker, tokens: int, k: int, num: int, width: int, hidden: int, *, shared: bool = False
):
    def plain(*shape: int) -> Tensor:
        return m(*shape, scale=shape[-1] ** -0.5)

    return *_routed(m, tokens, k, num, width), *_weights(plain, num, width, hidden, shared)


def _fp8(m: Maker, tokens: int, k: int, *, shared: bool = True, blocks: bool = False):
    """Eight e4m3 experts: toys, or of a few blocks."""
    width, hidden = (256, 128) if blocks else (64, 32)

    def packed(*shape: int) -> Fp8:
        return fp8(m, *shape, blocks=blocks)

    return *_routed(m, tokens, k, 8, width), *_weights(packed, 8, width, hidden, shared)


def _routed(m: Maker, tokens: int, k: int, num: int, width: int):
    weights = m(tokens, k, dtype=torch.float32).sigmoid()
    # each token's are different, as a router chooses them
    scores = torch.rand(tokens, num, generator=m.generator, device=m.source)
    chosen = scores.argsort(1)[:, :k].contiguous()
    return m(tokens, width), weights, chosen.to(m.device)


def _weights(make, num: int, width: int, hidden: int, shared: bool):
    both = make(num, 2 * hidden, width), make(num, width, hidden)
    own = (make(2 * hidden, width), make(width, hidden)) if shared else None
    return *both, own


# made once for each device: 3 GiB
_full_numbers: dict[torch.device, tuple[Tensor, Tensor]] = {}


def _full(m: Maker, tokens: int, *, blocks: bool = False):
    if m.device not in _full_numbers:
        both = _rolled(m.device, 2 * HIDDEN, WIDTH), _rolled(m.device, WIDTH, HIDDEN)
        _full_numbers[m.device] = both

    def packed(*shape: int) -> Fp8:
        if len(shape) == 2:
            return fp8(m, *shape, blocks=blocks)
        num, rows, columns = shape
        across = (rows // BLOCK, columns // BLOCK) if blocks else (rows,)
        scale = (m(num, *across, dtype=torch.float32).abs() + 0.5) / 64 / columns**0.5
        return Fp8(_full_numbers[m.device][rows == WIDTH], scale)

    return *_routed(m, tokens, SLOTS, NUM, WIDTH), *_weights(packed, NUM, WIDTH, HIDDEN, True)


def _rolled(device: torch.device, rows: int, columns: int) -> Tensor:
    """e4m3 numbers [NUM, rows, columns]: one expert's, each turned by another step. The same on
    every device, and no three billion normals need drawing on a CPU.
    """
    numbers = torch.empty(NUM, rows * columns, dtype=FLOAT8, device=device)
    if device.type == "meta":
        return numbers.unflatten(1, (rows, columns))
    own = fp8(Maker(torch.float32, device), rows, columns).numbers.flatten()
    for expert in range(NUM):
        step = expert * 7919
        numbers[expert] = torch.cat((own[step:], own[:step]))
    return numbers.unflatten(1, (rows, columns))


# made once for each device: 2 GiB
_full_words: dict[torch.device, tuple[Tensor, Tensor]] = {}


def _fours(m: Maker, tokens: int, group: int = UNIT):
    if m.device not in _full_words:
        shapes = (NUM, 2 * HIDDEN, WIDTH // EACH), (NUM, WIDTH, HIDDEN // EACH)
        # of a generator of their own: who comes first must draw the same inputs as who comes next
        own = Maker(torch.float32, m.device, source=m.source)
        a, b = (own.integers(1 << 32, *s).to(torch.int32) for s in shapes)
        _full_words[m.device] = a, b

    def packed(*shape: int) -> Int4:
        if len(shape) == 2:
            return int4(m, *shape, group=group)
        num, rows, columns = shape
        scale = m(num, rows, columns // group, dtype=torch.float32).abs() + 0.5
        words = _full_words[m.device][rows == WIDTH]
        return Int4(words, (scale / 6 / columns**0.5).bfloat16())

    return *_routed(m, tokens, SLOTS, NUM, WIDTH), *_weights(packed, NUM, WIDTH, HIDDEN, True)


def _grouped(m: Maker, counts: list[int], width: int, out: int):
    rows = m(sum(counts), width)
    weight = m(len(counts), out, width, scale=width**-0.5)
    return rows, weight, torch.tensor(counts, device=m.device)


# between the products the hidden row is rounded to e4m3 once more: a number that the dtype's own
# rounding pushed over a middle differs by a sixteenth
PACKED = (1e-3, 3e-2)

cases = [
    Case(swiglu, "toy", lambda m: (m(33, 64),), is_row_invariant=True),
    Case(swiglu, "dense", lambda m: (m(256, 18432),), "full"),
    Case(swiglu, "8192", lambda m: (m(8192, 2048),), "full"),
    Case(grouped_matmul, "toy", lambda m: _grouped(m, [3, 0, 17, 1], 64, 32)),
    Case(grouped_matmul, "none", lambda m: _grouped(m, [0, 0], 64, 32)),
    Case(experts, "toy", lambda m: _experts(m, 33, 2, 8, 64, 32)),
    Case(experts, "decode", lambda m: _experts(m, 1, 2, 8, 64, 32)),
    Case(experts, "shared", lambda m: _experts(m, 33, 2, 8, 64, 32, shared=True)),
    Case(experts, "fp8", lambda m: _fp8(m, 33, 2, shared=False), tol=PACKED),
    Case(experts, "fp8_shared", lambda m: _fp8(m, 33, 2), tol=PACKED),
    Case(experts, "fp8_decode", lambda m: _fp8(m, 2, 2), tol=PACKED),
    Case(experts, "blocks", lambda m: _fp8(m, 33, 2, blocks=True), tol=PACKED),
    Case(experts, "blocks_decode", lambda m: _fp8(m, 1, 2, blocks=True), tol=PACKED),
    Case(experts, "flash_512", lambda m: _experts(m, 512, 8, 256, 4096, 1024), "full"),
    *(
        Case(experts, f"{name}_{t}", lambda m, t=t, b=b: _full(m, t, blocks=b), "full", PACKED)
        for name, b in (("fp8", False), ("blocks", True))
        for t in (1, 4, 16, 64, 256, 2048, 8192, 32768)
    ),
    *(
        Case(experts, f"int4_{t}", lambda m, t=t: _fours(m, t), "full")
        for t in (1, 4, 16, 64, 256, 2048, 8192)
    ),
    *(
        Case(experts, f"int4_128_{t}", lambda m, t=t: _fours(m, t, 128), "full")
        for t in (1, 16, 64, 256)
    ),
]
