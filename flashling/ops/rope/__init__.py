"""Rotary positions: the half-split form of Lightning layers and the paired form of MLA."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...config import Yarn
from ..norm import norm
from ..op import op, wide


def frequencies(dim: int, theta: float, yarn: Yarn | None = None) -> Tensor:
    """Angles per position of the dim / 2 rotated pairs, float32: theta^(-2k / dim), or their
    YaRN extension (arXiv 2309.00071: fast pairs kept, slow ones divided by the factor).
    """
    k = torch.arange(0, dim, 2, dtype=torch.float64)
    plain = theta ** (-k / dim)
    if yarn is None:
        return plain.float()

    def pair_of(turns: float) -> float:
        length = yarn.original_max_position_embeddings
        return dim * math.log(length / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low = max(math.floor(pair_of(yarn.beta_fast)), 0)
    high = min(math.ceil(pair_of(yarn.beta_slow)), dim - 1)
    ramp = ((torch.arange(dim // 2) - low) / max(high - low, 1e-3)).clamp(0, 1).double()
    return (plain * (1 - ramp) + plain / yarn.factor * ramp).float()


@op(cuda=".triton:rotary_table")
def rotary_table(
    positions: Tensor, freqs: Tensor, scale: float = 1.0, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor]:
    """cos and sin [T, dim / 2] of positions [T] times freqs [dim / 2], both times `scale`."""
    angle = positions.to(dtype)[:, None] * freqs.to(positions.device, dtype)
    return angle.cos() * scale, angle.sin() * scale


@op(cuda="compile")
def rotate_half(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [T, H, W]: pairs (d, d + n) of its first 2n dimensions rotated by cos, sin [T, n]; the
    dimensions after them pass through. Returned in x's dtype; computed in float32 or wider.
    """
    n = cos.shape[-1]
    a, b, rest = wide(x).split([n, n, x.shape[-1] - 2 * n], -1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.cat([a * cos - b * sin, b * cos + a * sin, rest], -1).to(x.dtype)


@op(cuda="compile")
def rotate_pairs(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x [T, H, 2n]: neighbouring pairs (2k, 2k + 1) rotated by cos, sin [T, n], order kept."""
    a, b = wide(x).unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2).to(x.dtype)


@op(cuda=".triton:queries_keys")
def queries_keys(
    x: Tensor, q_norm: Tensor, k_norm: Tensor, cos: Tensor, sin: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """Queries and keys [T, H, W] from the projected x [T, 2H, W], queries first: each head normed
    over W, times q_norm or k_norm [W], and its first 2n dimensions rotated by cos, sin [T, n] as in
    `rotate_half`. float32 (float64 stays) from x to the end, then one rounding to x's dtype.
    """
    q, k = wide(x).chunk(2, 1)
    q = rotate_half(norm(q, q_norm, eps), cos, sin)
    k = rotate_half(norm(k, k_norm, eps), cos, sin)
    return q.to(x.dtype), k.to(x.dtype)


@op(cuda=".triton:turned_queries")
def turned_queries(q: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """q [T, H, N + 2n]: the last 2n dimensions of each head rotated as by `rotate_pairs`."""
    n = cos.shape[-1]
    plain, turned = q.split([q.shape[-1] - 2 * n, 2 * n], -1)
    return torch.cat([plain, rotate_pairs(turned, cos, sin)], -1)


@op(cuda=".triton:latent_rows")
def latent_rows(
    x: Tensor, q_norm: Tensor | None, kv_norm: Tensor, cos: Tensor, sin: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """The fused projection of an MLA layer x [T, Q + R + 2n] as what its parts go on as: queries
    [T, Q], times q_norm [Q] normed where there is one; and the row that is kept [T, R + 2n], normed
    times kv_norm [R], its last 2n dimensions rotated by cos, sin [T, n] as by `rotate_pairs`.
    """
    rank, turned = kv_norm.shape[0], 2 * cos.shape[-1]
    q, latent, key = x.split([x.shape[-1] - rank - turned, rank, turned], -1)
    q = q if q_norm is None else norm(q, q_norm, eps)
    key = rotate_pairs(key[:, None], cos, sin)[:, 0]
    return q, torch.cat([norm(latent, kv_norm, eps), key], -1)
