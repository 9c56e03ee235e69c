"""The kernels of int8 weights beside the body in float64, in the interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling.ops import Int8, device, exactly
from flashling.ops import linear as linear_op
from flashling.ops.cases import Maker
from flashling.ops.linear.cases import fp8, int8
from flashling.ops.linear.triton import MANY, Few, Stream, choose, few, linear, stream
from flashling.quant import INT8

kernels = import_module("flashling.ops.linear.triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# the interpreter takes float32 rows, which show more
DTYPE = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
TOLERANCE = 3e-3 if DEVICE.type == "cuda" else 1e-6


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """Every tensor without contents is full of NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def draw(rows: int, inputs: int, outputs: int, dtype: torch.dtype = DTYPE) -> tuple[Tensor, Int8]:
    make = Maker(dtype, DEVICE, seed=rows + inputs)
    return make(rows, inputs), int8(make, outputs, inputs)


def error(got: Tensor, x: Tensor, weight: Int8) -> float:
    want = vars(linear_op)["body"](x.double(), weight)
    assert got.shape == want.shape
    return float((got.double() - want).norm() / want.norm())


def test_the_body_is_the_stored_weights_product() -> None:
    stored = INT8.pack(torch.randn(20, 48))
    weight = Int8(stored["weight"], stored["weight_scale"][:, 0].float())
    assert weight.shape == (20, 48)
    assert torch.equal(weight.unpack(), INT8.unpack(stored))
    stack = Int8(torch.stack([weight.numbers] * 2), torch.stack([weight.scale, 2 * weight.scale]))
    assert torch.equal(stack[1].unpack(), stack.unpack()[1])
    x = torch.randn(3, 48, dtype=torch.float64)
    want = x @ INT8.unpack(stored, torch.float64).T
    assert torch.allclose(linear_op(x, weight), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 96, 37), (2, 32, 5), (3, 256, 70)])
@pytest.mark.parametrize("tile", [Few(4, per_sm=1), Few(8, per_sm=None, stages=1)])
def test_few_rows(
    rows: int, inputs: int, outputs: int, tile: Few, monkeypatch: pytest.MonkeyPatch
) -> None:
    # so that programs have several tiles, and some none in the last turn
    two = device.Device("two", (9, 0), 2, 1 << 17, 1 << 17)
    monkeypatch.setattr(kernels, "current", lambda: two)
    x, weight = draw(rows, inputs, outputs)
    got = few(x, weight, tile)
    assert error(got, x, weight) < TOLERANCE
    for t in range(rows):
        assert torch.equal(few(x[t : t + 1], weight, tile)[0], got[t])


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "tile"),
    [
        (7, 96, 37, Stream(64, 16, 1)),
        (16, 1024, 100, Stream(64, 16, 2)),
        (33, 256, 144, Stream(128, 64, 1)),
        (20, 256, 70, Stream(64, 16, 1)),
    ],
)
def test_streaming(rows: int, inputs: int, outputs: int, tile: Stream) -> None:
    x, weight = draw(rows, inputs, outputs)
    got = stream(x, None, weight, tile, x.dtype)
    assert error(got, x, weight) < TOLERANCE
    assert torch.equal(stream(x[:3], None, weight, tile, x.dtype), got[:3])


@pytest.mark.parametrize("rows", [0, 1, 2, 5, 130])
def test_linear_is_the_body(rows: int) -> None:
    x, weight = draw(rows, 128, 144, torch.bfloat16)
    # rows of a wider tensor
    x = torch.cat([x, x], 1)[:, :128]
    got = linear(x, weight)
    assert got.dtype == torch.bfloat16
    assert not rows or error(got, x, weight) < 5e-3
    assert torch.equal(linear(x.float(), weight), vars(linear_op)["body"](x.float(), weight))


def test_a_row_has_the_same_bits_in_any_company() -> None:
    x, weight = draw(140, 256, 96, torch.bfloat16)
    with exactly():
        want = linear(x, weight)
        for n in (1, 2, 17, 129):
            assert torch.equal(linear(x[:n], weight), want[:n])


def test_the_choice_of_a_kernel() -> None:
    meta = Maker(torch.bfloat16, torch.device("meta"))
    head, eight = int8(meta, 157184, 4096), fp8(meta, 157184, 4096)
    assert choose(1, head) == choose(1, eight) == Few(4, per_sm=4, stages=1)
    assert choose(16, head) == Stream(64, 16, 1, warps=4, stages=6)
    # its rows have twice the bytes
    assert choose(64, head) == Stream(64, 64, 1, warps=4, stages=3)
    assert choose(64, eight) == Stream(64, 64, 1, warps=4, stages=4)
    many = choose(129, head)
    assert isinstance(many, Stream) and many.is_swapped and many.rows == MANY.rows
    for rows in (1, 2, 16, 17, 64, 128, 200):
        tile = choose(rows, head)
        if isinstance(tile, Stream):
            step = (tile.outputs + 2 * tile.rows) * 128
            assert tile.stages * step <= device.KINDS[90].program_bytes
