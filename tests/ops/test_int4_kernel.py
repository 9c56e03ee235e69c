"""The kernels of weights of four bits beside the body in float64, in the interpreter."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling.ops import Int4
from flashling.ops import linear as linear_op
from flashling.ops.cases import Maker
from flashling.ops.experts.swiglu_triton import swiglu
from flashling.ops.linear.cases import int4
from flashling.ops.linear.int4_triton import Few4, Stream4, choose, few, splits, stream
from flashling.ops.linear.triton import linear
from flashling.quant import INT4, INT4_128

kernels = import_module("flashling.ops.linear.int4_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
# on a GPU the scaled weight is rounded to bfloat16 before the tensor cores
STREAMED = 3e-3 if DEVICE.type == "cuda" else 1e-6


@pytest.fixture(autouse=True)
def poison() -> Iterator[None]:
    """Every tensor without contents is full of NaN."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def draw(rows: int, inputs: int, outputs: int, group: int = 32) -> tuple[Tensor, Int4]:
    dtype = torch.bfloat16 if DEVICE.type == "cuda" else torch.float32
    make = Maker(dtype, DEVICE, seed=rows + inputs)
    return make(rows, inputs), int4(make, outputs, inputs, group=group)


def error(got: Tensor, x: Tensor, weight: Int4) -> float:
    want = vars(linear_op)["body"](x.double(), weight)
    assert got.shape == want.shape
    return float((got.double() - want).norm() / want.norm())


def test_packing_is_exact_both_ways() -> None:
    for shape, scheme in (((6, 96), INT4), ((3, 32), INT4), ((5, 384), INT4_128)):
        stored = scheme.pack(torch.randn(shape))
        weight = Int4.pack(stored["weight_packed"], stored["weight_scale"])
        assert weight.shape == torch.Size(shape)
        assert torch.equal(weight.published(), stored["weight_packed"])
        assert weight.group == scheme.block[1]
        assert torch.equal(weight.unpack(), scheme.unpack(stored))
    words = torch.randint(-(2**31), 2**31 - 1, (3, 5, 8), dtype=torch.int32)
    stack = Int4.pack(words, torch.ones(3, 5, 2, dtype=torch.bfloat16))
    assert torch.equal(stack.published(), words)
    assert torch.equal(stack[1].unpack(), stack.unpack()[1])


def test_groups_of_another_size_are_refused() -> None:
    words = torch.zeros(3, 32, dtype=torch.int32)
    with pytest.raises(ValueError, match=r"256 inputs with 4 scales are not in groups .* int4-128"):
        Int4(words, torch.ones(3, 4, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "group"),
    [(1, 96, 37, 32), (2, 32, 5, 32), (3, 384, 40, 128), (3, 384, 40, 32), (4, 256, 70, 32)],
)
@pytest.mark.parametrize("tile", [Few4(4, per_sm=1, stages=3), Few4(8)], ids=["walk", "tiles"])
def test_few_rows(
    rows: int,
    inputs: int,
    outputs: int,
    group: int,
    tile: Few4,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # so that programs have several tiles, and some none in the last turn
    monkeypatch.setattr(kernels, "MULTIPROCESSORS", 2)
    x, weight = draw(rows, inputs, outputs, group)
    got = few(x, weight, tile)
    assert error(got, x, weight) < (1e-6 if x.dtype == torch.float32 else 5e-3)
    for t in range(rows):
        assert torch.equal(few(x[t : t + 1], weight, tile)[0], got[t])


def test_few_rows_of_every_size() -> None:
    x, weight = draw(3, 128, 16)
    for size in (1e-15, 1e6):
        got = few(x * size, weight, Few4(8))
        assert error(got, x * size, weight) < (1e-6 if x.dtype == torch.float32 else 5e-3)


def test_few_rows_meet_the_experts_they_chose() -> None:
    make = Maker(torch.float32, DEVICE)
    x, stack = make(3, 96)[:, :64], int4(make, 5, 20, 64)
    chosen = torch.tensor([[4, 0], [1, 1], [2, 3]], device=DEVICE)
    for shared in (None, int4(make, 20, 64)):
        got = few(x, stack, Few4(8), chosen, shared)
        for t, experts in enumerate(chosen.tolist()):
            weights = [stack[e] for e in experts] + ([shared] if shared else [])
            assert got.shape[1] == len(weights)
            for slot, weight in enumerate(weights):
                assert torch.equal(got[t, slot], few(x[t : t + 1], weight, Few4(8))[0])


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "group", "tile"),
    [
        (7, 256, 37, 32, Stream4(64, 16, 1)),
        (16, 1024, 100, 32, Stream4(64, 16, 2)),
        (33, 512, 144, 32, Stream4(128, 64, 1)),
        (5, 512, 37, 128, Stream4(64, 16, 1, inputs=256)),
        (16, 1024, 100, 128, Stream4(64, 16, 2)),
    ],
)
def test_streaming(rows: int, inputs: int, outputs: int, group: int, tile: Stream4) -> None:
    x, weight = draw(rows, inputs, outputs, group)
    got = stream(x, weight, tile)
    assert error(got, x, weight) < STREAMED
    assert torch.equal(stream(x[:3], weight, tile), got[:3])


def test_the_choice_of_a_kernel() -> None:
    assert choose(1, 16384, 4096) == Few4(16)
    assert choose(1, 4096, 1024) == Few4(64)
    assert choose(2, 4096, 4096) == Stream4(64, 16, 4, warps=4, stages=4)
    assert choose(8, 4096, 4096) == Stream4(64, 16, 4, warps=4, stages=4)
    assert choose(64, 16384, 4096) == Stream4(128, 64, 1, warps=8, stages=4)
    assert choose(129, 16384, 4096) is None
    assert choose(8, 4096, 4096, 128) == Stream4(64, 16, 4, warps=4, stages=4, inputs=256)
    assert choose(9, 64, 96) is choose(9, 64, 128, 128) is None
    assert splits(4096, 1024) == 1


@pytest.mark.parametrize("rows", [0, 1, 4, 5, 130])
@pytest.mark.parametrize("group", [32, 128])
def test_linear_is_the_body(rows: int, group: int) -> None:
    x, weight = draw(rows, 256, 144, group)
    x = x.bfloat16()
    got = linear(x, weight)
    assert got.dtype == torch.bfloat16
    assert not rows or error(got, x, weight) < 5e-3


def test_unpacking_is_the_body() -> None:
    for inputs, group in ((96, 32), (384, 128)):
        weight = int4(Maker(torch.float32, DEVICE), 3, 5, inputs, group=group)
        assert torch.equal(kernels.unpacked(weight, torch.bfloat16), weight.unpack(torch.bfloat16))


def test_gated_rows_are_multiplied_after_their_swiglu() -> None:
    stack = [draw(1, 96, 7)[1] for _ in range(3)]
    weight = Int4(torch.stack([w.words for w in stack]), torch.stack([w.scale for w in stack]))
    x = Maker(torch.bfloat16, weight.words.device)(5, 192)
    chosen = torch.tensor([[2], [0], [1], [2], [2]], device=x.device)
    got = few(x, weight, Few4(4), chosen, is_gated=True)
    want = few(swiglu(x), weight, Few4(4), chosen)
    assert torch.equal(got, want)
