"""Shapes of latent attention."""

from itertools import accumulate

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
    m: Maker, lengths: list[int], heads: int, dims: tuple[int, int, int, int], size: int = 64
):
    nope, turned, value, rank = dims
    each = -(-max(lengths) // size)
    # pages in any order, one of two layers, and one page that no sequence has
    pages = m(len(lengths) * each + 1, 2, size, rank + turned)[:, 1]
    order = torch.randperm(len(pages) - 1, generator=torch.Generator().manual_seed(m.seed)) + 1
    table = order.to(m.device, torch.int32).view(len(lengths), each)
    seen = torch.tensor(lengths, dtype=torch.int32).to(m.device)
    kv_b = m(heads * (nope + value), rank, scale=rank**-0.5)
    return m(len(lengths), heads, nope + turned), pages, table, seen, kv_b, value


TOY, FULL = (16, 8, 16, 24), (128, 64, 128, 512)
cases = [
    Case(mla_expanded, "packed", lambda m: _expanded(m, [1, 16, 17, 130, 5], 4, TOY)),
    Case(mla_absorbed, "decode", lambda m: _absorbed(m, [1, 1], [1, 90], 4, TOY)),
    Case(mla_absorbed, "drafts", lambda m: _absorbed(m, [3, 1, 7], [3, 90, 20], 4, TOY)),
    Case(mla_over, "chunk", lambda m: _over(m, 20, 90, 4, TOY)),
    Case(mla_paged, "decode", lambda m: _paged(m, [1, 16, 17, 50, 48, 3], 4, TOY, 16)),
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
]
