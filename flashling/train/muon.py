"""Muon: momentum, made orthogonal per matrix (arXiv 2502.16982 for the scale)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..config import ModelConfig


def parts(name: str, rows: int, config: ModelConfig) -> list[int]:
    """How many rows each matrix has that the parameter `name`, of `rows` rows, was fused from."""
    last = name.rsplit(".", 1)[-1]
    if last == "qkvg":
        return [rows // 4] * 4
    if last == "gate_up":
        return [rows // 2] * 2
    if last == "qkv_a":
        latent = [config.kv_lora_rank, config.qk_rope_head_dim]
        return [rows - sum(latent), *latent]
    return [rows]


def orthogonal(x: Tensor, steps: int = 5) -> Tensor:
    """x [B, m, n] -> about U V^T of each x = U S V^T, by Newton-Schulz iterations.

    In bfloat16 on CUDA, else in x's own dtype. A zero matrix stays zero.
    """
    y = x.bfloat16() if x.is_cuda else x
    is_tall = y.shape[-2] > y.shape[-1]
    y = y.mT if is_tall else y
    y = y / (y.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = y @ y.mT
        y = 3.4445 * y + (-4.7750 * gram + 2.0315 * gram @ gram) @ y
    return (y.mT if is_tall else y).to(x.dtype)


def updates(names: Sequence[str], moments: Sequence[Tensor], config: ModelConfig) -> list[Tensor]:
    """Each moment [m, n] or [E, m, n], orthogonal per fused part and per expert, times
    0.2 sqrt(max(m, n)) of its part: the mean square of an AdamW update, so one rate serves both.
    """
    found = [torch.empty_like(m) for m in moments]
    alike: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
    for name, moment, out in zip(names, moments, found, strict=True):
        sizes = parts(name, moment.shape[-2], config)
        for one, to in zip(moment.split(sizes, -2), out.split(sizes, -2), strict=True):
            shape = (one.shape[-2], one.shape[-1])
            alike.setdefault(shape, []).append((one, to))
    for (m, n), pairs in alike.items():
        # all matrices of one shape in the model go through the iterations together
        stacked = torch.cat([one.reshape(-1, m, n) for one, _ in pairs])
        done = orthogonal(stacked).mul_(0.2 * max(m, n) ** 0.5)
        sizes = [one.numel() // (m * n) for one, _ in pairs]
        for (_, to), piece in zip(pairs, done.split(sizes), strict=True):
            to.copy_(piece.view(to.shape))
    return found
