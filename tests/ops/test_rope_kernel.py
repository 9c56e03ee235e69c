"""The norm and rotation of queries and keys: the kernel beside the body in float64."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.rope.cases import _fused, _inputs, _latents
from flashling.ops.rope.triton import latent_rows, queries_keys, turned_queries

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


@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize(("heads", "width", "turned"), [(4, 20, 8), (17, 24, 8), (32, 192, 64)])
def test_queries_turn_at_their_end(heads: int, width: int, turned: int, dtype: torch.dtype) -> None:
    shape = 3, heads, width, turned
    q, *table = _inputs(Maker(dtype, DEVICE), *shape)
    want = vars(ops.turned_queries)["body"](*_inputs(Maker(torch.float64, DEVICE), *shape))
    # heads of a wider row, as a projection without low rank hands them over
    wider = torch.cat([q.flatten(1), q.flatten(1)], 1)[:, : heads * width].unflatten(1, (heads, -1))
    got = turned_queries(wider, *table)
    error = (got.double() - want).norm() / want.norm()
    assert got.dtype == dtype and error < (1e-5 if dtype == torch.float32 else 5e-3)
    plain = width - turned
    assert torch.equal(got[..., :plain], q[..., :plain])
    assert torch.equal(turned_queries(q[1:2], *(c[1:2] for c in table)), got[1:2])


@pytest.mark.parametrize("dtype", [torch.float32, BF16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("low", [True, False])
@pytest.mark.parametrize(("wide", "rank", "turned"), [(24, 32, 8), (80, 24, 8), (1536, 512, 64)])
def test_latent_rows_are_the_body(
    wide: int, rank: int, turned: int, low: bool, dtype: torch.dtype
) -> None:
    shape = 3, wide, rank, turned, low
    wants = vars(ops.latent_rows)["body"](*_latents(Maker(torch.float64, DEVICE), *shape))
    arguments = _latents(Maker(dtype, DEVICE), *shape)
    x, *norms, cos, sin = arguments
    found = latent_rows(*arguments)
    alone = latent_rows(x[2:], *norms, cos[2:], sin[2:])
    for got, want, one in zip(found, wants, alone, strict=True):
        error = (got.double() - want).norm() / want.norm()
        # the interpreter cuts off where a GPU rounds to bfloat16
        assert got.dtype == dtype and error < (1e-5 if dtype == torch.float32 else 1e-2)
        assert torch.equal(got[2:], one)
