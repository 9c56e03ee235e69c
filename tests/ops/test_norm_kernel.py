"""The norms in Triton beside their bodies in float64."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.norm.triton import add_norm, group_norm_gate, norm

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16, FP32 = torch.bfloat16, torch.float32
# the interpreter cuts off where a GPU rounds to bfloat16
BF16_ERROR = 4e-3 if DEVICE.type == "cuda" else 1e-2
kinds = pytest.mark.parametrize("dtype", [FP32, BF16], ids=["fp32", "bf16"])


@pytest.fixture(autouse=True)
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a launcher allocates holds NaN until a kernel writes it."""
    real = torch.Tensor.new_empty
    monkeypatch.setattr(
        torch.Tensor, "new_empty", lambda *a, **options: real(*a, **options).fill_(torch.nan)
    )


def close(got: Tensor, want: Tensor) -> None:
    error = (got.double() - want).norm() / want.norm()
    assert error < (1e-6 if got.dtype == FP32 else BF16_ERROR)


def body(op, *arguments):
    """The op's meaning in float64."""
    return vars(op)["body"](*(a.double() if isinstance(a, Tensor) else a for a in arguments))


@kinds
@pytest.mark.parametrize("shape", [(1, 4096), (3, 1536), (5, 100), (2, 3, 16), (4, 1)])
def test_norm(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    make = Maker(dtype, DEVICE)
    x, weight = make(*shape), make(shape[-1])
    got = norm(x, weight)
    assert got.shape == shape and got.dtype == dtype
    close(got, body(ops.norm, x, weight))


def test_norm_of_a_slice_of_columns() -> None:
    make = Maker(BF16, DEVICE)
    fused = make(3, 211)
    x, weight = fused[:, 64:160], make(96)
    assert torch.equal(norm(x, weight), norm(x.contiguous(), weight))
    # numbers that do not lie end to end
    assert torch.equal(norm(fused[:, :192:2], weight), norm(fused[:, :192:2].contiguous(), weight))


def test_norm_of_float32_rows_with_a_bfloat16_weight() -> None:
    x, weight = Maker(FP32, DEVICE)(3, 64), Maker(BF16, DEVICE)(64)
    got = norm(x, weight)
    assert got.dtype == FP32
    close(got, body(ops.norm, x, weight))


@kinds
@pytest.mark.parametrize("shape", [(1, 4096), (3, 100)])
def test_add_norm(shape: tuple[int, int], dtype: torch.dtype) -> None:
    make = Maker(dtype, DEVICE)
    x, wide, weight = make(*shape), make(shape[0], shape[1] + 3), make(shape[1])
    if DEVICE.type == "cpu":
        # sums that need no rounding
        x, wide = (8 * x).round() / 8, (8 * wide).round() / 8
    delta = wide[:, 3:]
    total, got = add_norm(x, delta, weight)
    assert torch.equal(total, x + delta)
    assert torch.equal(got, norm(total, weight))
    close(got, body(ops.norm, x + delta, weight))


@kinds
@pytest.mark.parametrize(("rows", "width", "groups"), [(1, 4096, 4), (3, 96, 4), (2, 50, 1)])
def test_group_norm_gate(rows: int, width: int, groups: int, dtype: torch.dtype) -> None:
    make = Maker(dtype, DEVICE)
    x, weight = make(rows, width, scale=30, dtype=FP32), make(width)
    gate = make(rows, 4 * width)[:, 3 * width :]
    got = group_norm_gate(x, weight, gate, groups)
    assert got.dtype == dtype and got.is_contiguous()
    close(got, body(ops.group_norm_gate, x, weight, gate, groups))


def test_rows_do_not_see_their_company() -> None:
    make = Maker(BF16, DEVICE)
    x, delta, weight = make(4, 100), make(4, 100), make(100)
    whole = (*add_norm(x, delta, weight), group_norm_gate(x, weight, delta, 5))
    for t in range(4):
        a, b = x[t : t + 1], delta[t : t + 1]
        alone = (*add_norm(a, b, weight), group_norm_gate(a, weight, b, 5))
        for one, all_rows in zip(alone, whole, strict=True):
            assert torch.equal(one, all_rows[t : t + 1])


def test_no_rows() -> None:
    make = Maker(BF16, DEVICE)
    x, weight = make(0, 64), make(64)
    assert norm(x, weight).shape == (0, 64)
    assert [y.shape for y in add_norm(x, x, weight)] == [(0, 64)] * 2
    assert group_norm_gate(x, weight, x, 2).shape == (0, 64)


def test_gradients_and_float64_take_the_body(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("norm", "add_norm", "group_norm_gate"):
        chain = vars(getattr(ops, name))["body"]
        monkeypatch.setitem(norm.__globals__, f"{name}_chain", chain)
    x = torch.randn(2, 16, device=DEVICE)
    weight = torch.ones(16, device=DEVICE, requires_grad=True)
    for learnt in (
        norm(x, weight),
        add_norm(x, x, weight)[1],
        group_norm_gate(x, weight, x, 2),
    ):
        learnt.sum().backward()
        assert weight.grad is not None
        weight.grad = None
    assert norm(x.double(), weight.double().detach()).dtype == torch.float64
    with torch.no_grad():
        assert not norm(x, weight).requires_grad


def test_shapes_are_checked() -> None:
    x, weight = torch.ones(2, 16, device=DEVICE), torch.ones(16, device=DEVICE)
    with pytest.raises(ValueError, match=r"add_norm of \(2, 16\) and \(1, 16\)"):
        add_norm(x, x[:1], weight)
    with pytest.raises(ValueError, match="3 groups"):
        group_norm_gate(x, weight, x, 3)
