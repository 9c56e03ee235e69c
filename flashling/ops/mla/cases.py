"""Shapes of latent attention."""

from itertools import accumulate
from typing import Any

import torch

from ..cases import Case, Maker
from . import Documents, mla_absorbed, mla_expanded, mla_over, mla_paged


def _expanded(m: Maker, lengths: list[int], heads: int, dims: tuple[int, int, int, int]):
    nope, turned, value, rank = dims
    starts = (0, *accumulate(lengths))
    q, latent = m(starts[-1], heads, nope + turned), m(starts[-1], rank + turned)
    kv_b = m(heads * (nope + value), rank, scale=rank**-0.5)
    return q, latent, kv_b, value, Documents(starts, m.device)


def _absorbed(m: Maker, rows: list[int], seen: list[int], heads: int, dims):
    nope, turned, value, rank = dims
    starts = (0, *accumulate(rows))
    contexts = [m(n, rank + turned) for n in seen]
    kv_b = m(heads * (nope + value), rank, scale=rank**-0.5)
    return m(starts[-1], heads, nope + turned), contexts, kv_b, value, starts


def _over(m: Maker, rows: int, seen: int, heads: int, dims: tuple[int, int, int, int]):
    q, [context], kv_b, value, _ = _absorbed(m, [rows], [seen], heads, dims)
    return q, context, kv_b, value


def _paged(
    m: Maker,
    lengths: list[int],
    heads: int,
    dims: tuple[int, int, int, int],
    size: int = 64,
    each: int = 1,
    first: int = 0,
) -> tuple[Any, ...]:
    """Arguments of sequences whose first of `each` rows see so many tokens."""
    nope, turned, value, rank = dims
    most = -(-(max(lengths) + each - 1) // size)
    # pages in any order, one of two layers, and one page that no sequence has
    pages = m(len(lengths) * most + 1, 2, size, rank + turned)[:, 1]
    order = torch.randperm(len(pages) - 1, generator=torch.Generator().manual_seed(m.seed)) + 1
    table = order.to(m.device, torch.int32).view(len(lengths), most)
    seen = torch.tensor(lengths, dtype=torch.int32).to(m.device)
    kv_b = m(heads * (nope + value), rank, scale=rank**-0.5)
    q = m(len(lengths) * each, heads, nope + turned)
    plain = q, pages, table, seen, kv_b, value
    return (*plain, None, first) if first else plain


TOY, FULL = (16, 8, 16, 24), (128, 64, 128, 512)
cases = [
    Case(mla_expanded, "packed", lambda m: _expanded(m, [1, 16, 17, 130, 5], 4, TOY)),
    Case(mla_absorbed, "decode", lambda m: _absorbed(m, [1, 1], [1, 90], 4, TOY)),
    Case(mla_absorbed, "drafts", lambda m: _absorbed(m, [3, 1, 7], [3, 90, 20], 4, TOY)),
    Case(mla_over, "chunk", lambda m: _over(m, 20, 90, 4, TOY)),
    Case(mla_paged, "decode", lambda m: _paged(m, [1, 16, 17, 50, 48, 3], 4, TOY, 16)),
    Case(mla_paged, "drafts_2", lambda m: _paged(m, [1, 16, 31, 50], 4, TOY, 16, 2)),
    Case(mla_paged, "drafts_4", lambda m: _paged(m, [1, 14, 32, 3], 4, TOY, 16, 4)),
    Case(mla_paged, "ahead_2", lambda m: _paged(m, [1, 16, 33, 2], 4, TOY, 16, 2, 1)),
    Case(mla_expanded, "prefill_8k", lambda m: _expanded(m, [8192], 32, FULL), "full"),
    Case(mla_expanded, "prefill_32k", lambda m: _expanded(m, [32768], 32, FULL), "full"),
    Case(
        mla_absorbed, "decode_64", lambda m: _absorbed(m, [1] * 64, [4096] * 64, 32, FULL), "full"
    ),
    Case(mla_paged, "decode_1", lambda m: _paged(m, [4096], 32, FULL), "full"),
    Case(mla_paged, "decode_4", lambda m: _paged(m, [4096, 100, 4000, 2048], 32, FULL), "full"),
    Case(mla_paged, "decode_64", lambda m: _paged(m, [4096] * 64, 32, FULL), "full"),
    *(
        Case(
            mla_paged, f"decode_128k_{n}", lambda m, n=n: _paged(m, [131072] * n, 32, FULL), "full"
        )
        for n in (1, 16)
    ),
    Case(mla_paged, "drafts_2_64", lambda m: _paged(m, [4096] * 64, 32, FULL, each=2), "full"),
    Case(mla_paged, "drafts_4_16", lambda m: _paged(m, [4096] * 16, 32, FULL, each=4), "full"),
]
