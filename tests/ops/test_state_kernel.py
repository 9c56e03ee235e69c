"""States in 8 bits: the kernels beside the bodies, and what both promise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.state import triton as kernels
from flashling.ops.state.triton import Tile

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LAYERS, HEADS, W, C = 2, 3, 64, ops.CHUNK
DECAY = torch.stack([ops.slopes(HEADS, i, 32) for i in range(LAYERS)]).to(DEVICE)


def slot(rows: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A state and the open chunk of a slot of a cache, which has NaN in the rows it has not."""
    m = Maker(torch.bfloat16, DEVICE, seed)
    state = m(LAYERS, HEADS, W, W, dtype=torch.float32) * m(LAYERS, HEADS, W, 1).float().exp()
    tail = torch.full((LAYERS, 2, C, HEADS, W), torch.nan, dtype=torch.bfloat16, device=DEVICE)
    tail[:, :, :rows] = m(LAYERS, 2, rows, HEADS, W, scale=0.5)
    return state, tail[:, :, :rows]


def error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def body(op: Any, *args: Any) -> Any:
    return vars(op)["body"](*args)


def widened(numbers: Tensor, scale: Tensor) -> Tensor:
    return numbers.double() * scale.double()[..., None]


@pytest.mark.parametrize("rows", [0, 1, 33, 64])
@pytest.mark.parametrize("size", [32, 64])
def test_quantise(rows: int, size: int) -> None:
    if DEVICE.type == "cuda" and size < 64:
        pytest.skip("a product of few rows was once miscompiled")
    state, tail = slot(rows)
    before = state.clone()
    want = body(ops.quantise_state, state.double(), tail.double(), DECAY)
    numbers, scale = kernels.quantise_state(state, tail, DECAY, tile=Tile(size, 4))
    assert torch.equal(state, before) and numbers.dtype == torch.int8
    assert scale.dtype == torch.bfloat16 and int(numbers.abs().max()) == 127
    # a scale may round to its neighbour, an entry to the next integer
    assert error(scale, want[1]) < 1e-3 and error(widened(numbers, scale), widened(*want)) < 2e-3
    folded = state.double() * torch.exp(-DECAY.double() * rows)[..., None, None]
    k, v = tail.double().transpose(2, 3).unbind(1)
    for i in range(rows):
        fade = torch.exp(-DECAY.double() * (rows - 1 - i))[..., None, None]
        folded += fade * k[:, :, i, :, None] * v[:, :, i, None, :]
    assert error(widened(numbers, scale), folded) < 1e-2
    wrong = (widened(numbers, scale) - folded).abs()
    # half a unit, and a quarter more where the scale was rounded down
    assert bool((wrong <= 0.76 * scale.double()[..., None]).all())


@pytest.mark.parametrize("rows", [0, 1, 63])
def test_restore(rows: int) -> None:
    state, tail = slot(7)
    numbers, scale = body(ops.quantise_state, state, tail, DECAY)
    want = body(ops.restore_state, numbers, scale, DECAY, rows, state.double())
    got = kernels.restore_state(numbers, scale, DECAY, rows, torch.full_like(state, torch.nan))
    assert error(got, want) < 1e-6
    # faded again by the empty rows it is what was stored, and stored again it keeps its bytes
    faded = want * torch.exp(-DECAY.double() * rows)[..., None, None]
    torch.testing.assert_close(faded, widened(numbers, scale), rtol=1e-6, atol=0)
    nothing = tail.new_zeros(LAYERS, 2, rows, HEADS, W)
    again = kernels.quantise_state(got, nothing, DECAY)
    assert torch.equal(again[0], numbers) and torch.equal(again[1], scale)


# the interpreter's numpy warns of them
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf, 0.0, 1e-38])
def test_odd_rows(value: float) -> None:
    state, tail = slot(5)
    is_sound = abs(value) < 1
    # an entry that is not finite, or a row that is zero or next to it
    state[1, 2, 7, : None if is_sound else 1] = value
    tail[1, 0, :, 2, 7] = 0
    for call in (kernels.quantise_state, vars(ops.quantise_state)["body"]):
        numbers, scale = call(state, tail, DECAY)
        assert bool(scale[1, 2, 7].isfinite()) == is_sound
        assert int(scale.isfinite().logical_not().sum()) == (not is_sound)
        if is_sound:
            assert not scale[1, 2, 7] and not numbers[1, 2, 7].any()


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_what_the_kernels_do_not_take_goes_to_the_body(kind: torch.dtype) -> None:
    state, tail = (x.to(kind) for x in slot(5))
    want = body(ops.quantise_state, state, tail, DECAY)
    got = kernels.quantise_state(state, tail, DECAY)
    assert all(torch.equal(a, b) for a, b in zip(got, want, strict=True))
    with pytest.raises(ValueError, match="contiguous"):
        kernels.restore_state(want[0].mT, want[1], DECAY, 0, torch.empty(0))
