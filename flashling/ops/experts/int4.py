"""Routed experts with weights of four bits on CUDA. Up to some tokens each pair of a token and a
slot streams its expert's weights; more of them share what the tensor cores are given of an expert,
and in exact mode so does any number: there a pair's bits depend neither on its company nor on the
tile.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from ..device import current
from ..exact import is_exact
from ..linear import Int4, Weight, linear
from ..linear import int4_triton as fours
from . import swiglu
from .int4_triton import Tile4, grouped
from .many_triton import SHARED_TOKENS
from .rows_triton import combine

# from 4 tokens on tiles are quicker, although tokens hardly share an expert then
FEW_TOKENS = 3
GATE_UP, DOWN = fours.Few4(32, warps=4), fours.Few4(64, warps=4)
# the most that an expert's mean number of tokens may be, and the tiles of the two products: one
# should hold all tokens of an expert, as each reads and unpacks the weights anew. Tiles of 8 tokens
# need the fewest instructions for a weight, and a step of 256 inputs reads whole lines of memory.
TILES = (
    (4, (Tile4(8, 128, 256, 4, 3), Tile4(8, 128, 256, 4, 3))),
    (14, (Tile4(16, 128, 256, 4, 3), Tile4(16, 128, 128, 4, 4))),
    (40, (Tile4(64, 64, 128, 4, 3), Tile4(64, 128, 128, 4, 3))),
)
# more: products are the limit, and unpacking is a fifth of their time
MOST = Tile4(128, 128, 128, 8, 3), Tile4(128, 256, 128, 8, 3)
# fewer tokens take another instruction of the tensor cores, which has other bits
EXACT_TOKENS = 16


def experts(
    x: Tensor,
    weights: Tensor,
    chosen: Tensor,
    gate_up: Int4,
    down: Int4,
    shared: tuple[Weight, Weight] | None,
) -> Tensor:
    """As the op, for bfloat16 rows and no gradient."""
    k, own = chosen.shape[1], _one_more(len(x), gate_up, down, shared)
    if len(x) <= FEW_TOKENS and not is_exact():
        found = streamed(x, chosen, gate_up, down, own)
    else:
        found = grouped(x, chosen, gate_up, down, choose(chosen.numel() / len(down.words)), own)
    if own or not shared:
        return combine(found[:, :k], weights, found[:, k] if own else None)
    return combine(found, weights, linear(swiglu(linear(x, shared[0])), shared[1]))


def _one_more(
    tokens: int, gate_up: Int4, down: Int4, shared: tuple[Weight, Weight] | None
) -> tuple[Int4, Int4] | None:
    """The shared expert, if it may go with the routed ones."""
    first, second = shared or (None, None)
    if not (isinstance(first, Int4) and isinstance(second, Int4)):
        return None
    if tokens > SHARED_TOKENS and not is_exact():
        return None
    pairs = (first, gate_up), (second, down)
    alike = all(own.shape == w.shape[1:] and own.group == w.group for own, w in pairs)
    return (first, second) if alike else None


def streamed(
    x: Tensor,
    chosen: Tensor,
    gate_up: Int4,
    down: Int4,
    shared: tuple[Int4, Int4] | None = None,
) -> Tensor:
    """As `grouped`, reading an expert for each pair that chose it."""
    first, second = shared or (None, None)
    both = fours.few(x, gate_up, GATE_UP, chosen, first).flatten(0, 1)
    return fours.few(both, down, DOWN, chosen, second, is_gated=True)


def choose(mean: float) -> tuple[Tile4, Tile4]:
    """The tiles for experts that so many tokens chose on the average."""
    gpu, least = current(), EXACT_TOKENS if is_exact() else 1
    fits = [pair for most, pair in TILES if mean <= most and pair[0].tokens >= least]
    # without the matrix instructions of Hopper 128 tokens leave too few registers
    up, back = fits[0] if fits else MOST if gpu.capability[0] in (9, 10) else TILES[-1][1]
    return (
        replace(up, stages=gpu.stages(up.step_bytes(2), up.stages)),
        replace(back, stages=gpu.stages(back.step_bytes(1), back.stages)),
    )
