"""The kernels of e4m3 weights beside the bodies in float64, in the interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling.ops import Fp8, device
from flashling.ops import linear as linear_op
from flashling.ops import quantise as quantise_op
from flashling.ops.cases import Maker
from flashling.ops.linear.cases import fp8
from flashling.ops.linear.triton import (
    MANY,
    Few,
    Stream,
    choose,
    few,
    library,
    linear,
    quantise,
    splits,
    stream,
)

kernels = import_module("flashling.ops.linear.triton")
quantising = import_module("flashling.ops.linear.quantise_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# tensor cores keep about 14 bits of a sum
TENSOR_CORE = 3e-4 if DEVICE.type == "cuda" else 1e-6
BODIES: Any = {f.__name__: vars(f)["body"] for f in (linear_op, quantise_op)}


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """Every tensor without contents is full of NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def draw(rows: int, inputs: int, outputs: int, blocks: bool = False) -> tuple[Tensor, Fp8]:
    make = Maker(torch.float32, DEVICE, seed=rows + inputs)
    return make(rows, inputs), fp8(make, outputs, inputs, blocks=blocks)


def error(got: Tensor, x: Tensor, weight: Fp8) -> float:
    want = BODIES["linear"](x.double(), weight)
    assert got.shape == want.shape
    return float((got.double() - want).norm() / want.norm())


def streamed(x: Tensor, weight: Fp8, tile: Stream) -> Tensor:
    return stream(*quantise(x, weight.group), weight, tile, x.dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(
    ("rows", "inputs", "group"),
    [(5, 96, None), (1, 1, None), (2, 1536, None), (3, 384, 128), (4, 100, 20), (0, 32, None)],
)
def test_quantising_is_the_body(
    rows: int, inputs: int, group: int | None, dtype: torch.dtype
) -> None:
    make = Maker(dtype, DEVICE)
    # rows of a wider tensor, of many sizes, one of them zero
    sizes = 10.0 ** torch.arange(-20, 40, 13, device=DEVICE)[:rows, None]
    x = make(rows, inputs + 32)[:, :inputs] * sizes.to(dtype)
    x[1:2] = 0
    numbers, scale = quantise(x, group)
    want, want_scale = BODIES["quantise"](x, group)
    assert torch.equal(numbers.float(), want.float())
    assert torch.equal(scale, want_scale)


@pytest.mark.parametrize(("inputs", "group"), [(96, None), (256, 128), (100, 20)])
def test_a_program_quantises_several_rows(
    inputs: int, group: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = Maker(torch.bfloat16, DEVICE)(7, inputs)
    want, want_scale = quantise(x, group)
    monkeypatch.setattr(quantising, "ROWS_ALONE", 1)
    monkeypatch.setattr(quantising, "QUANTISED", 1024)
    numbers, scale = quantise(x, group)
    assert torch.equal(numbers.float(), want.float()) and torch.equal(scale, want_scale)


def test_quantising_rounds_ties_to_even() -> None:
    # every e4m3 number and every middle of two, in a row whose scale is 1
    every = torch.arange(127, dtype=torch.uint8, device=DEVICE).view(torch.float8_e4m3fn).float()
    x = torch.cat([every, (every[1:] + every[:-1]) / 2])
    x = torch.cat([x, -x])[None]
    numbers, scale = quantise(x)
    assert scale.tolist() == [1.0]
    assert torch.equal(numbers.float(), x.to(torch.float8_e4m3fn).float())


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "blocks"),
    [(1, 96, 37, False), (2, 20, 5, False), (3, 384, 40, False), (1, 256, 200, True)]
    + [(4, 384, 136, True)],
)
@pytest.mark.parametrize(
    "tile", [Few(4, ahead=2), Few(8, stages=1, per_sm=None)], ids=["walk", "tiles"]
)
def test_few_rows(
    rows: int,
    inputs: int,
    outputs: int,
    blocks: bool,
    tile: Few,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # so that programs have several tiles, and some none in the last turn
    monkeypatch.setattr(device, "_pretended", replace(device.KINDS[90], multiprocessors=2))
    x, weight = draw(rows, inputs, outputs, blocks)
    got = few(x, weight, tile)
    assert error(got, x, weight) < 1e-6
    for t in range(rows):
        assert torch.equal(few(x[t : t + 1], weight, tile)[0], got[t])


def test_few_rows_have_the_same_bits_however_tiles_are_dealt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(device, "_pretended", replace(device.KINDS[90], multiprocessors=2))
    x, weight = draw(3, 256, 50)
    want = few(x, weight, Few(4))
    for tile in (Few(4, stages=1), Few(4, per_sm=None), Few(4, ahead=3, per_sm=1)):
        assert torch.equal(few(x, weight, tile), want)


def test_rows_of_a_wider_tensor() -> None:
    x, weight = draw(3, 160, 24)
    x, weight = x[:, 32:], Fp8(weight.numbers[:, :128].contiguous(), weight.scale)
    assert error(few(x, weight, Few(4)), x, weight) < 1e-6
    assert error(streamed(x, weight, Stream(64, 16, 1)), x, weight) < TENSOR_CORE


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "blocks", "tile"),
    [
        (7, 96, 37, False, Stream(64, 16, 1)),
        (33, 200, 144, False, Stream(64, 16, 1)),
        (1, 512, 200, False, Stream(64, 16, 4)),
        (20, 512, 130, False, Stream(128, 32, 2)),
        (33, 384, 200, True, Stream(64, 32, 3)),
        (5, 256, 256, True, Stream(128, 16, 1)),
        (70, 256, 200, True, Stream(128, 64, 2, is_swapped=False)),
        (130, 128, 130, False, MANY),
    ],
)
def test_streaming(rows: int, inputs: int, outputs: int, blocks: bool, tile: Stream) -> None:
    x, weight = draw(rows, inputs, outputs, blocks)
    assert error(streamed(x, weight, tile), x, weight) < TENSOR_CORE


def test_streaming_many_tiles_in_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "TOGETHER", 2)
    x, weight = draw(80, 128, 200)
    assert error(streamed(x, weight, Stream(64, 16, 1)), x, weight) < TENSOR_CORE


def test_a_streamed_row_does_not_see_its_company() -> None:
    x, weight = draw(40, 512, 100)
    tile = Stream(64, 16, 2)
    whole = streamed(x, weight, tile)
    for rows in (1, 7, 16):
        assert torch.equal(streamed(x[:rows], weight, tile), whole[:rows])


@pytest.mark.parametrize("blocks", [False, True])
def test_the_library_agrees(blocks: bool) -> None:
    x, weight = draw(33, 512, 256, blocks)
    try:
        got = library(*quantise(x, weight.group), weight)
    except (RuntimeError, NotImplementedError, ValueError) as missing:
        if DEVICE.type == "cuda":
            raise
        pytest.skip(f"no such product here: {missing}")
    assert got.dtype == torch.bfloat16
    assert error(got, x, weight) < 5e-3


def shape(outputs: int, inputs: int, blocks: bool = False) -> Fp8:
    """A weight of that shape that weighs nothing."""
    across = [-(-outputs // 128), -(-inputs // 128)] if blocks else [outputs]
    numbers = torch.empty(outputs, inputs, dtype=torch.float8_e4m3fn, device="meta")
    return Fp8(numbers, torch.empty(across, device="meta"))


def test_the_choice_of_a_kernel() -> None:
    qkvg, o, down = shape(16384, 4096), shape(4096, 4096), shape(4096, 1024)
    assert choose(1, qkvg) == Few(4, per_sm=4, stages=1)
    assert choose(1, down) == Few(16, per_sm=None, stages=1)
    # two rows already are quicker on the tensor cores
    assert choose(2, qkvg) == Stream(64, 16, 1, warps=4, stages=6)
    assert choose(16, qkvg) == Stream(64, 16, 1, warps=4, stages=6)
    assert choose(64, qkvg) == Stream(128, 64, 1, warps=8, stages=6)
    assert choose(64, o) == Stream(128, 64, 4, warps=8, stages=6)
    # twice as wide tiles would leave half of the multiprocessors without one
    assert choose(64, down) == Stream(64, 64, 1, warps=4, stages=6)
    # too many inputs to keep rows in registers
    assert choose(1, shape(4096, 9216)) == Stream(64, 16, 4, warps=4, stages=6)
    assert choose(129, o) is None and choose(129, shape(4096, 4096, blocks=True)) is None
    # not in whole sixteens, or in whole blocks
    assert choose(129, shape(40, 4096)) == choose(129, shape(2112, 4096, blocks=True)) == MANY
    assert choose(129, shape(4096, 384, blocks=True)) == MANY


@pytest.mark.parametrize("blocks", [False, True])
def test_every_choice_fits_the_device(blocks: bool) -> None:
    shapes = [(16384, 4096), (4096, 4096), (6144, 1536), (2112, 4096), (18432, 4096)]
    shapes += [(4096, 1024), (4096, 9216), (157184, 4096), (64, 128)]
    for outputs, inputs in shapes:
        found = set()
        for rows in (1, 4, 5, 16, 17, 32, 33, 64, 128):
            tile = choose(rows, shape(outputs, inputs, blocks))
            if isinstance(tile, Stream):
                assert tile.rows >= max(rows, 16) and tile.stages >= 3
                assert (
                    tile.stages * (tile.outputs + tile.rows) * 128 <= device.KINDS[90].program_bytes
                )
                assert inputs % (tile.splits * 128) == 0 or tile.splits == 1
                found.add(tile.splits)
        # the order of a sum asks nothing of the rows
        assert found == {splits(outputs, inputs)}


@pytest.mark.parametrize("blocks", [False, True], ids=["channel", "block"])
@pytest.mark.parametrize("rows", [0, 1, 4, 5, 20])
def test_linear_is_the_body(rows: int, blocks: bool) -> None:
    x, weight = draw(rows, 128, 144, blocks)
    x = x.bfloat16()
    got = linear(x, weight)
    assert got.dtype == torch.bfloat16
    assert not rows or error(got, x, weight) < 5e-3


def test_linear_takes_a_tile() -> None:
    x, weight = draw(1, 256, 70)
    x = x.bfloat16()
    for tile in (Few(2), Stream(64, 16, 2)):
        assert error(linear(x, weight, tile=tile), x, weight) < 5e-3


def test_what_kernels_do_not_serve_is_the_bodys() -> None:
    x, weight = draw(2, 64, 48)
    assert torch.equal(linear(x, weight), BODIES["linear"](x, weight))
    plain = weight.unpack()
    assert torch.equal(linear(x, plain), torch.nn.functional.linear(x, plain))
    x = x.bfloat16().requires_grad_()
    assert torch.equal(linear(x, weight), BODIES["linear"](x, weight))
    with torch.no_grad():
        assert not linear(x, weight).requires_grad
