"""Multi-head latent attention: expanded over packed documents, absorbed over kept latents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from ..exact import is_exact, matmul, product
from ..op import op, wide

BLOCK = 64


@dataclass
class Documents:
    """Documents of a packed batch, grouped by like length so that each group is one attention.

    groups: row indices [n, L] into the batch, short documents padded by repeating their last row
    (harmless: attention is causal), and which of them are real, flat [n * L], or None if all.
    """

    starts: tuple[int, ...]
    device: torch.device
    groups: list[tuple[Tensor, Tensor | None]] = field(default_factory=list)
    # the starts on the device, int32, and the longest document: what varlen kernels ask for
    ends: Tensor = field(init=False)
    longest: int = 0
    # what puts the groups' real rows, end to end, back into batch order
    order: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.ends = torch.tensor(self.starts, dtype=torch.int32).to(self.device)
        self.longest = max(b - a for a, b in zip(self.starts, self.starts[1:], strict=False))
        kinds: dict[int, list[tuple[int, int]]] = {}
        for a, b in zip(self.starts, self.starts[1:], strict=False):
            kinds.setdefault(_padded(b - a), []).append((a, b))
        if len(self.starts) == 2:
            kinds = {self.starts[-1]: [(0, self.starts[-1])]}
        laid = []
        for size, spans in sorted(kinds.items()):
            a, b = torch.tensor(spans).unbind(1)
            rows = a[:, None] + torch.arange(size)
            real = (rows < b[:, None]).flatten()
            rows = rows.minimum(b[:, None] - 1)
            laid.append(rows.flatten()[real])
            whole = bool(real.all())
            self.groups.append(
                (rows.to(self.device), None if whole else real.nonzero()[:, 0].to(self.device))
            )
        self.order = torch.cat(laid).argsort().to(self.device)


def _padded(length: int) -> int:
    """The length that documents of like length share: at most an eighth more, at least 16."""
    step = max(16, 1 << max(length.bit_length() - 4, 0))
    return -(-length // step) * step


@op(cuda=".flash_triton:mla_expanded")
def mla_expanded(
    q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int, docs: Documents
) -> Tensor:
    """Causal attention inside each document, keys and values expanded from their latents.

    q [T, H, N + P] (no-rope part, then rotated part), latent [T, R + P] (normed latent, then the
    rotated key that all heads share), kv_b [H * (N + V), R] -> [T, H, V]. Softmax in float32.
    """
    if is_exact():
        contexts = [latent[a:b] for a, b in zip(docs.starts, docs.starts[1:], strict=False)]
        return _in_blocks(q, contexts, kv_b, value_dim, docs.starts)
    k, v = expand(latent, kv_b, q.shape[1], value_dim)
    outs = []
    for rows, real in docs.groups:
        # index_select and not indexing: its gradient needs no sort
        flat = rows.flatten()
        a, b, c = (x.index_select(0, flat).unflatten(0, rows.shape) for x in (q, k, v))
        a, b, c = a.transpose(1, 2), b.transpose(1, 2), c.transpose(1, 2)  # [n, H, L, W]
        out = F.scaled_dot_product_attention(a, b, c, is_causal=True, scale=q.shape[-1] ** -0.5)
        out = out.transpose(1, 2).flatten(0, 1)
        outs.append(out if real is None else out.index_select(0, real))
    return torch.cat(outs).index_select(0, docs.order)


def expand(latent: Tensor, kv_b: Tensor, heads: int, value_dim: int) -> tuple[Tensor, Tensor]:
    """Keys [T, H, N + P] and values [T, H, V] of latents [T, R + P]."""
    rank = kv_b.shape[1]
    c, shared = latent.split([rank, latent.shape[-1] - rank], -1)
    kv = F.linear(c, kv_b).unflatten(-1, (heads, -1))
    k, v = kv.split([kv.shape[-1] - value_dim, value_dim], -1)
    return torch.cat([k, shared[:, None].expand(-1, heads, -1)], -1), v


@op()
def mla_absorbed(
    q: Tensor, contexts: Sequence[Tensor], kv_b: Tensor, value_dim: int, starts: Sequence[int]
) -> Tensor:
    """The same attention over latents themselves: kv_b is absorbed into q and into the output.

    q [T, H, N + P]; contexts[n] [L_n, R + P] holds every latent of sequence n, the step's own
    last, so query row i of its n rows sees the first L_n - n + i + 1. Returns [T, H, V].
    """
    if is_exact():
        return _in_blocks(q, contexts, kv_b, value_dim, starts)
    seen, wv = _absorb(q, kv_b, value_dim)
    rank = kv_b.shape[1]
    outs = []
    for n, context in enumerate(contexts):
        rows = seen[starts[n] : starts[n + 1]]
        scores = wide(torch.einsum("thr,lr->htl", rows, context)) * q.shape[-1] ** -0.5
        if len(rows) > 1:
            first = len(context) - len(rows)
            place = torch.arange(len(context), device=q.device)
            hidden = place > first + torch.arange(len(rows), device=q.device)[:, None]
            scores = scores.masked_fill(hidden, -torch.inf)
        weights = scores.softmax(-1).to(context.dtype)
        outs.append(torch.einsum("htl,lr->thr", weights, context[:, :rank]))
    return torch.einsum("thr,hvr->thv", torch.cat(outs), wv)


def _absorb(q: Tensor, kv_b: Tensor, value_dim: int) -> tuple[Tensor, Tensor]:
    """Queries of latents [T, H, R + P], and the half of kv_b that makes values [H, V, R]."""
    wk, wv = halves(kv_b, q.shape[1], value_dim)
    plain, turned = q.split([wk.shape[1], q.shape[-1] - wk.shape[1]], -1)
    return torch.cat([torch.einsum("thn,hnr->thr", plain, wk), turned], -1), wv


def halves(kv_b: Tensor, heads: int, value_dim: int) -> tuple[Tensor, Tensor]:
    """What makes keys [H, N, R] and values [H, V, R] of a latent."""
    by_head = kv_b.unflatten(0, (heads, -1))
    wk, wv = by_head.split([by_head.shape[1] - value_dim, value_dim], 1)
    return wk, wv


@op(cuda=".triton:mla_paged")
def mla_paged(
    q: Tensor,
    pages: Tensor,
    table: Tensor,
    lengths: Tensor,
    kv_b: Tensor,
    value_dim: int,
    slots: Tensor | None = None,
    first: int = 0,
) -> Tensor:
    """`mla_absorbed` of the same few rows per sequence, over latents that lie in pages.

    q [S * E, H, N + P], the E rows of a sequence end to end; pages [pages, 64, R + P], where a page
    begins is free; table [S, most] int32: each sequence's pages in order; lengths [S] int32: how
    many tokens the first row of a sequence sees, its own among them; each next row sees one more.
    Entries of the table beyond the last row's are not followed, what a page holds beyond it or
    before place `first` is not seen, and a row that sees nothing gives zeros. With slots [S] int64
    the table has a row for every slot, and sequence n has that of slots[n]. Returns [S * E, H, V].
    """
    if slots is not None:
        table = table[slots]
    each = len(q) // max(len(lengths), 1)
    ends = lengths + each - 1
    if is_exact():
        kept = [
            pages[row.long()].flatten(0, 1)[first : max(end, 0)]
            for row, end in zip(table, ends.tolist(), strict=True)
        ]
        return _in_blocks(q, kept, kv_b, value_dim, range(0, len(q) + 1, max(each, 1)))
    size, rank = pages.shape[1], kv_b.shape[1]
    seen, wv = _absorb(q, kv_b, value_dim)
    seen = seen.view(len(lengths), each, *seen.shape[1:])
    place = torch.arange(table.shape[1] * size, device=q.device)
    unused = (place >= ends[:, None]) | (place < first)  # [S, L]
    used = table.masked_fill((place >= ends[:, None])[:, ::size], 0).long()
    context = pages[used].flatten(1, 2).masked_fill(unused[..., None], 0)
    seen_by = lengths[:, None] + torch.arange(each, device=q.device)  # [S, E]
    hidden = ((place >= seen_by[..., None]) | (place < first))[:, :, None]  # [S, E, 1, L]
    scores = wide(torch.einsum("nehr,nlr->nehl", seen, context)) * q.shape[-1] ** -0.5
    weights = scores.masked_fill(hidden, -torch.inf).softmax(-1)
    weights = weights.masked_fill(hidden, 0).to(context.dtype)
    mixed = torch.einsum("nehl,nlr->nehr", weights, context[..., :rank])
    return torch.einsum("thr,hvr->thv", mixed.flatten(0, 1), wv)


@op(cuda=".flash_triton:mla_over")
def mla_over(q: Tensor, context: Tensor, kv_b: Tensor, value_dim: int) -> Tensor:
    """Expanded attention of the last rows of one sequence: q [n, H, N + P] over context
    [L, R + P] whose last n rows are the queries' own. Returns [n, H, V].
    """
    if is_exact():
        return _in_blocks(q, [context], kv_b, value_dim, (0, len(q)))
    k, v = expand(context, kv_b, q.shape[1], value_dim)
    place = torch.arange(len(context), device=q.device)
    seen = place <= len(context) - len(q) + torch.arange(len(q), device=q.device)[:, None]
    a, b, c = (x.transpose(0, 1)[None] for x in (q, k, v))
    out = F.scaled_dot_product_attention(a, b, c, attn_mask=seen, scale=q.shape[-1] ** -0.5)
    return out[0].transpose(0, 1)


def _in_blocks(
    q: Tensor, contexts: Sequence[Tensor], kv_b: Tensor, value_dim: int, starts: Sequence[int]
) -> Tensor:
    """All forms in exact mode, arguments as of `mla_absorbed`: absorbed, so that a row's sums do
    not depend on who else reads the latents.
    """
    wk, wv = halves(kv_b, q.shape[1], value_dim)
    plain, turned = q.split([wk.shape[1], q.shape[-1] - wk.shape[1]], -1)
    seen = torch.cat([matmul(plain.transpose(0, 1), wk).transpose(0, 1), turned], -1)
    spans = zip(starts, starts[1:], contexts, strict=False)
    mixed = [_block_by_block(seen[a:b], c, kv_b.shape[1], q.shape[-1]) for a, b, c in spans]
    return matmul(torch.cat(mixed).transpose(0, 1), wv.mT).transpose(0, 1)


def _block_by_block(rows: Tensor, context: Tensor, rank: int, width: int) -> Tensor:
    """The last rows [n, H, R + P] of a sequence over its latents [L, R + P] -> [n, H, R]: a running
    softmax over blocks of 64 keys. A block that a row does not see leaves its bits alone.
    """
    place = len(context) - len(rows) + torch.arange(len(rows), device=rows.device)
    # a number below every score, so that a row which has seen nothing yet keeps its zeros
    lowest = torch.finfo(wide(rows).dtype).min
    top = wide(rows).new_full((*rows.shape[:2], 1), lowest)
    total, mixed = torch.zeros_like(top), wide(rows).new_zeros(*rows.shape[:2], rank)
    for at in range(0, len(context), BLOCK):
        block = context.new_zeros(BLOCK, context.shape[1])
        block[: len(context) - at] = context[at : at + BLOCK]
        scores = wide(product(rows, block)) * width**-0.5
        hidden = at + torch.arange(BLOCK, device=rows.device) > place[:, None]
        scores = scores.masked_fill(hidden[:, None], -torch.inf)
        new = top.maximum(scores.amax(-1, keepdim=True))
        weights, fade = torch.exp(scores - new), torch.exp(top - new)
        total = total * fade + weights.sum(-1, keepdim=True)
        mixed = mixed * fade + wide(product(weights.to(block.dtype), block[:, :rank].T))
        top = new
    # a row that sees a key has a total of at least one; one that sees none gives zeros
    return (mixed / total.clamp(min=1)).to(context.dtype)
