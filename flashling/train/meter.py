"""Figures of a run between two reports, summed on the device so that no step waits for them."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from .. import parallel
from ..config import ModelConfig
from .cost import peak_flops, train_flops
from .data import Packed
from .loss import Losses
from .optim import Optimizer


class Meter:
    """Sums since the last `take`. loss: the mean next-token loss last taken, in nats."""

    def __init__(self, config: ModelConfig, device: torch.device, has_mtp: bool) -> None:
        self.config, self.device, self.has_mtp = config, device, has_mtp
        self.peak = peak_flops(device)
        self.loss, self.total_tokens = float("nan"), 0
        self._clear()

    def _clear(self) -> None:
        self.began, self.steps = time.monotonic(), 0
        self.tokens = self.documents = self.num_following = self.num_second = 0
        self.sums = torch.zeros(3, dtype=torch.float64).to(self.device)
        self.rate, self.norm, self.uneven = 0.0, self.sums[0], self.sums[:1]

    def add(self, packed: Packed, found: Losses) -> None:
        """Count one batch."""
        self.sums += torch.stack([found.following, found.second, found.right]).double()
        self.tokens += len(packed.batch.tokens)
        self.documents += len(packed.batch.starts) - 1
        self.num_following += found.num_following
        self.num_second += found.num_second

    def close_step(self, rate: float, norm: Tensor, uneven: Tensor) -> None:
        """Count one step: learning rate, gradient norm, and load imbalance per layer."""
        self.steps += 1
        self.rate, self.norm, self.uneven = rate, norm, uneven

    def take(self, world: parallel.World, optimizer: Optimizer) -> dict[str, Any]:
        """The figures, over all processes, and start anew; waits for the device."""
        counts = [self.tokens, self.documents, self.num_following, self.num_second]
        mine = torch.tensor(counts, dtype=torch.float64).to(self.device)
        sums = world.total(torch.cat([self.sums, mine])).tolist()
        following, second, right, tokens, documents, num_following, num_second = sums
        seconds = max(time.monotonic() - self.began, 1e-9)
        self.loss = following / max(num_following, 1)
        self.total_tokens += int(tokens)
        facts: dict[str, Any] = {
            "loss": self.loss,
            "accuracy": right / max(num_following, 1),
            "lr": self.rate,
            "grad_norm": float(self.norm),
            "tokens": self.total_tokens,
            "tokens_per_second": tokens / seconds,
            "targets": num_following / max(tokens, 1),
            "load_max": float(self.uneven.max()),
            "load_mean": float(self.uneven.mean()),
            "skipped": int(optimizer.skipped),
        }
        if self.has_mtp:
            facts["mtp_loss"] = second / max(num_second, 1)
        if self.peak is not None:
            share, length = num_following / max(tokens, 1), tokens / max(documents, 1)
            flops = train_flops(self.config, length, share, self.has_mtp) * tokens
            facts["mfu"] = flops / seconds / (self.peak * world.size)
            facts["memory_gb"] = torch.cuda.max_memory_allocated(self.device) / 1e9
        self._clear()
        return facts
