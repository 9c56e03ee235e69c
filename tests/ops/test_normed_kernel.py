"""Norms that quantise their rows on the way: the bits of their parts."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from flashling.ops.cases import Maker
from flashling.ops.linear import triton as dense
from flashling.ops.linear.cases import fp8
from flashling.ops.norm import triton as norms
from flashling.ops.normed import triton as kernels

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = torch.bfloat16
# widths of a row and outputs; by channel and by block
SHAPES = [(64, 48, False), (256, 128, False), (256, 128, True)]


@pytest.mark.parametrize(("width", "outputs", "blocks"), SHAPES)
@pytest.mark.parametrize("rows", [2, 9])
def test_a_sum_is_normed_and_multiplied(rows: int, width: int, outputs: int, blocks: bool) -> None:
    m = Maker(BF16, DEVICE)
    x, delta, norm = m(rows, 2 * width)[:, width:], m(rows, width), m(width)
    weight = fp8(m, outputs, width, blocks=blocks)
    total, found = kernels.add_norm_linear(x, delta, norm, weight)
    kept, y = norms.add_norm(x, delta, norm)
    want = dense.product(*dense.quantise(y, weight.group), weight, BF16)
    assert torch.equal(total, kept) and torch.equal(found, want)


@pytest.mark.parametrize(("width", "outputs", "blocks"), SHAPES)
@pytest.mark.parametrize("groups", [1, 4])
def test_a_gated_row_is_multiplied(width: int, outputs: int, blocks: bool, groups: int) -> None:
    m = Maker(BF16, DEVICE)
    x, gate, norm = (
        m(5, width, dtype=torch.float32),
        m(5, 3 * width)[:, width : 2 * width],
        m(width),
    )
    weight = fp8(m, outputs, width, blocks=blocks)
    found = kernels.gated_linear(x, norm, gate, groups, weight)
    y = norms.group_norm_gate(x, norm, gate, groups)
    want = dense.product(*dense.quantise(y, weight.group), weight, BF16)
    error = (found.double() - want.double()).norm() / want.double().norm()
    # a sum over a group may be made in another order, and the interpreter cuts off in the parts
    assert found.shape == want.shape and error < 3e-2
    alone = kernels.gated_linear(x[2:4], norm, gate[2:4], groups, weight)
    assert torch.equal(alone, found[2:4])


def test_one_row_and_other_weights_go_part_by_part() -> None:
    m = Maker(BF16, DEVICE)
    for rows, weight in ((1, fp8(m, 48, 64)), (3, m(48, 64)), (0, fp8(m, 48, 64))):
        x, delta, norm = m(rows, 64), m(rows, 64), m(64)
        total, found = kernels.add_norm_linear(x, delta, norm, weight)
        assert total.shape == (rows, 64) and found.shape == (rows, 48)
        assert kernels.gated_linear(x, norm, delta, 4, weight).shape == (rows, 48)
