"""The stored forms: layouts bit by bit, errors, and packing twice."""

from __future__ import annotations

import pytest
import torch

from flashling.quant import FP8, FP8_BLOCK, INT4, INT4_128, INT8, Scheme

from . import by_hand

INT8_PACKED = Scheme("int", 8, (1, None), packed=True)
TENSOR = Scheme("float", 8, (None, None))
SCHEMES = [FP8, FP8_BLOCK, INT4, INT4_128, INT8, INT8_PACKED, TENSOR]
SHAPES = [(64, 96), (3, 32), (130, 260), (1, 5), (257, 128)]


def some(shape: tuple[int, int], seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    # rows of very different sizes, a row of zeros and an outlier
    w = torch.randn(shape, generator=g) * 10 ** torch.randn(shape[0], 1, generator=g)
    w[-1] = 0
    w[0, 0] = 40
    return w


def test_the_words_of_four_bits() -> None:
    row = torch.tensor([*range(-8, 8)] * 2) * 0.5
    found = INT4.pack(row[None])
    words = [0x76543210, 0xFEDCBA98 - 2**32] * 2
    assert found["weight_packed"].tolist() == [words]
    assert found["weight_packed"].dtype == torch.int32
    assert found["weight_scale"].tolist() == [[0.5]]
    assert found["weight_scale"].dtype == torch.bfloat16
    assert found["weight_shape"].tolist() == [1, 32]
    assert found["weight_shape"].dtype == torch.int64


def test_a_short_word_is_filled_with_zeros() -> None:
    found = Scheme("int", 4, (1, None), packed=True).pack(torch.tensor([[7.0, -8.0, 1.0]]))
    assert found["weight_packed"].tolist() == [[0x90F]]


def test_the_bytes_of_fp8() -> None:
    found = FP8.pack(torch.tensor([[448.0, -1.0, 0.0, 2.0**-9], [0.875, 0.0, 0.0, 0.0]]))
    assert found["weight"].dtype == torch.float8_e4m3fn
    assert found["weight"].view(torch.uint8).tolist() == [[0x7E, 0xB8, 0, 1], [0x7E, 0, 0, 0]]
    assert found["weight_scale"].tolist() == [[1.0], [2.0**-9]]


def test_blocks_have_their_own_scales() -> None:
    w = torch.zeros(130, 200)
    w[0, 0], w[0, 199], w[129, 0], w[129, 128] = 448.0, 896.0, 1792.0, 3584.0
    found = FP8_BLOCK.pack(w)
    assert found["weight_scale_inv"].tolist() == [[1.0, 2.0], [4.0, 8.0]]
    assert found["weight_scale_inv"].dtype == torch.float32
    assert torch.equal(FP8_BLOCK.unpack(found), w)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_sizes_and_a_second_decoder(scheme: Scheme, shape: tuple[int, int]) -> None:
    found = scheme.pack(some(shape))
    assert sum(t.nbytes for t in found.values()) == scheme.nbytes(shape)
    name = "weight_packed" if scheme.packed else "weight"
    if scheme in (FP8, FP8_BLOCK, INT4, INT8) and not shape[1] % 32:
        tensors = {f"x.{part}": t for part, t in found.items()}
        assert torch.equal(scheme.unpack(found), by_hand.weight(tensors, "x", shape))
    assert found[name].shape == (shape[0], scheme.width(shape))
    assert found[scheme.scale_name].shape == scheme.scale_shape(shape)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_packing_again_changes_nothing(scheme: Scheme, shape: tuple[int, int]) -> None:
    for size in (1.0, 1e-30, 1e30, 2.0**-140):
        once = scheme.unpack(scheme.pack(some(shape) * size))
        again = scheme.unpack(scheme.pack(once))
        assert torch.isfinite(once).all() and torch.equal(once, again)


@pytest.mark.parametrize("scheme", SCHEMES, ids=str)
def test_every_type_sees_the_same_values(scheme: Scheme) -> None:
    found = scheme.pack(some((130, 260)))
    wide = scheme.unpack(found, torch.float64)
    assert wide.dtype == torch.float64
    assert torch.equal(wide, scheme.unpack(found).double())
    # the products are exact: the same in float64 from the start
    whole = {n: t.double() if t.is_floating_point() else t for n, t in found.items()}
    if scheme is INT8:
        assert torch.equal(wide, whole["weight"].double() * whole["weight_scale"])
    assert torch.equal(scheme.unpack(found, torch.bfloat16), wide.bfloat16())


@pytest.mark.parametrize("scheme", [FP8, FP8_BLOCK, TENSOR], ids=str)
def test_the_error_of_fp8(scheme: Scheme) -> None:
    w = torch.randn(256, 256)
    error = (scheme.unpack(scheme.pack(w)) - w).abs()
    smallest = w.abs().max() / 448 * 2.0**-10
    assert (error <= w.abs() * 2.0**-4 + smallest * 1.01).all()
    assert error.norm() / w.norm() < 0.03


@pytest.mark.parametrize("scheme", [INT4, INT4_128, INT8, INT8_PACKED], ids=str)
def test_the_search_beats_plain_rounding(scheme: Scheme) -> None:
    w = some((64, 256))
    blocks = w.view(64, -1, scheme.block[1] or 256)
    step = blocks.abs().amax(-1, keepdim=True).clamp_min(1e-30) / (2 ** (scheme.bits - 1) - 1)
    plain = (((blocks / step).round() * step - blocks) ** 2).sum(-1)
    ours = ((scheme.unpack(scheme.pack(w)).view_as(blocks) - blocks) ** 2).sum(-1)
    # plain rounding keeps its scale in float32, ours is rounded to bfloat16 and wins over many
    assert ours.sum() <= plain.sum()
    assert (ours <= plain.clamp_min(1e-30) * 1.15).all()
    bound = blocks.shape[-1] * (step[..., 0] / 2) ** 2
    assert (ours <= bound * 1.02).all()


def test_four_bits_gain_a_tenth() -> None:
    w = torch.randn(512, 256, generator=torch.Generator().manual_seed(0))
    assert (INT4.unpack(INT4.pack(w)) - w).norm() / w.norm() < 0.088
    assert (INT8.unpack(INT8.pack(w)) - w).norm() / w.norm() < 0.008


def test_what_cannot_be_packed() -> None:
    with pytest.raises(ValueError, match="finite matrix"):
        INT4.pack(torch.tensor([[1.0, float("nan")]]))
    with pytest.raises(ValueError, match=r"shape \[3\]"):
        FP8.pack(torch.ones(3))
