"""Losses: next-token cross entropy fused with the head, and the same one token further on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..model.ling import Ling
from ..ops import wide
from .data import Packed

# logits held at once: 64 Mi elements, 256 MiB in float32
LOGITS = 1 << 26


def _product(a: Tensor, b: Tensor) -> Tensor:
    """a [n, k] times b [k, m], summed and returned in float32 (float64 stays)."""
    if a.dtype in (torch.float32, torch.float64):
        return a @ b
    if a.is_cuda:
        return torch.mm(a, b, out_dtype=torch.float32)
    return a.float() @ b.float()


class _CrossEntropy(torch.autograd.Function):
    """The gradients are made beside the loss, a block of rows at a time: no [R, V] is kept."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        block = max(1, LOGITS // len(head))
        is_wanted = any(ctx.needs_input_grad[:2])
        to_hidden, to_head = torch.empty_like(hidden), torch.zeros_like(wide(head[:0]))
        if is_wanted:
            to_head = torch.zeros(head.shape, dtype=to_head.dtype, device=head.device)
        total = torch.zeros((), dtype=to_head.dtype, device=hidden.device)
        right = torch.zeros((), dtype=torch.int64, device=hidden.device)
        for at in range(0, len(hidden), block):
            rows, wanted = hidden[at : at + block], targets[at : at + block, None]
            logits = _product(rows, head.mT)
            right += (logits.argmax(-1, keepdim=True) == wanted).sum()
            logits = logits.log_softmax(-1)
            total -= logits.gather(-1, wanted).sum()
            if is_wanted:
                error = logits.exp_().scatter_add_(-1, wanted, -torch.ones_like(logits[:, :1]))
                error = error.to(rows.dtype)
                to_hidden[at : at + block] = error @ head
                to_head += _product(error.mT, rows)
        ctx.save_for_backward(to_hidden, to_head)
        ctx.head_dtype = head.dtype
        ctx.mark_non_differentiable(right)
        return total, right

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        to_hidden, to_head = ctx.saved_tensors
        return to_hidden * grads[0], (to_head * grads[0]).to(ctx.head_dtype), None


def cross_entropy(hidden: Tensor, head: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Sum over rows of -log softmax(head @ hidden[r])[targets[r]], and how many rows were right.

    hidden [R, D], head [V, D], targets [R] int64 -> scalar float32 (float64 stays), which carries
    gradients to hidden and head, and a scalar int64. Logits and softmax are float32 throughout.
    """
    found = _CrossEntropy.apply(hidden, head, targets)
    assert isinstance(found, tuple)
    return found


@dataclass
class Losses:
    """Sums over one batch. total carries the gradients; the rest is for the log, detached:
    following and second (MTP) in nats, right in tokens; num_* are host counts.
    """

    total: Tensor
    following: Tensor
    second: Tensor
    right: Tensor
    num_following: int
    num_second: int


def losses(model: Ling, packed: Packed, scale: Tensor, mtp_scale: Tensor | None = None) -> Losses:
    """Forward pass and losses of one packed batch.

    total = scale * (sum of next-token losses) + mtp_scale * (sum of MTP losses); scales are
    scalars, so that batches of one step can share one mean. Only rows with a target meet the head.
    """
    batch, past = packed.batch, packed.past
    assert past is not None
    hidden = model(batch, past)
    wanted = packed.following
    following, right = cross_entropy(hidden.index_select(0, wanted.rows), model.head, wanted.tokens)
    total = following * scale
    second = torch.zeros_like(following)
    if mtp_scale is not None:
        guess = model.mtp_hidden(hidden, batch, past)
        rows = guess.index_select(0, packed.second.rows)
        second, _ = cross_entropy(rows, model.head, packed.second.tokens)
        total = total + second * mtp_scale
    return Losses(
        total, following.detach(), second.detach(), right, len(wanted), len(packed.second)
    )
