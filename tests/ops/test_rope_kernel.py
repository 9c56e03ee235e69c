"""The norm and rotation of queries and keys: the kernel beside the body in float64."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.rope.cases import _fused
from flashling.ops.rope.triton import queries_keys

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = torch.bfloat16


@pytest.mark.parametrize(
    ("tokens", "heads", "width", "rotated"),
    [(1, 4, 16, 8), (3, 17, 32, 32), (2, 32, 128, 64), (5, 3, 24, 8)],
)
@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=["fp32", "bf16"])
def test_it_is_the_body(
    tokens: int, heads: int, width: int, rotated: int, dtype: torch.dtype
) -> None:
    shape = tokens, heads, width, rotated
    wants = vars(ops.queries_keys)["body"](*_fused(Maker(torch.float64, DEVICE), *shape))
    arguments = _fused(Maker(dtype, DEVICE), *shape)
    assert tokens == 1 or arguments[0].stride(0) == 4 * heads * width
    for got, want in zip(queries_keys(*arguments), wants, strict=True):
        assert got.shape == (tokens, heads, width) and got.dtype == dtype and got.is_contiguous()
        error = (got.double() - want).norm() / want.norm()
        assert error < (1e-5 if dtype == torch.float32 else 5e-3)


def test_rows_do_not_see_their_company() -> None:
    x, wq, wk, cos, sin = _fused(Maker(BF16, DEVICE), 6, 5, 32, 16)
    whole = queries_keys(x, wq, wk, cos, sin)
    for t in range(6):
        one = queries_keys(x[t : t + 1], wq, wk, cos[t : t + 1], sin[t : t + 1])
        for a, b in zip(one, whole, strict=True):
            assert torch.equal(a, b[t : t + 1])


def test_no_rows() -> None:
    q, k = queries_keys(*_fused(Maker(BF16, DEVICE), 0, 4, 16, 8))
    assert q.shape == k.shape == (0, 4, 16)


def test_heads_that_do_not_lie_end_to_end_are_refused() -> None:
    x, *rest = _fused(Maker(BF16, DEVICE), 2, 4, 16, 8)
    with pytest.raises(ValueError, match="end to end"):
        queries_keys(x[:, ::2], *rest)
