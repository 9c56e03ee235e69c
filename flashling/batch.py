"""Batch: one ragged step, the only shape of work in training and in serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor


def sent(values: Sequence[Any] | Tensor, device: torch.device | str | None = None) -> Tensor:
    """Numbers (a CPU tensor, or int64) on a device, without waiting for it: on CUDA a copy from
    ordinary memory would wait until all that was launched before has ended.
    """
    x = values if isinstance(values, Tensor) else torch.tensor(values, dtype=torch.int64)
    if device is None or torch.device(device).type != "cuda":
        return x.to(device)
    return x.pin_memory().to(device, non_blocking=True)


@dataclass
class Batch:
    """Tokens of N sequences end to end.

    tokens [T] int64; positions [T] int64, each counted from the start of its own sequence;
    starts: N + 1 host integers, sequence n is the rows starts[n] to starts[n + 1].
    """

    tokens: Tensor
    positions: Tensor
    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.starts[0] != 0 or self.starts[-1] != len(self.tokens):
            raise ValueError(f"starts {self.starts} do not span {len(self.tokens)} tokens")

    @classmethod
    def pack(
        cls,
        sequences: Iterable[Sequence[int] | Tensor],
        *,
        first: Sequence[int] | None = None,
        device: torch.device | str | None = None,
    ) -> Batch:
        """The sequences end to end; sequence n begins at position `first[n]` (0 when absent)."""
        rows = [torch.as_tensor(s, dtype=torch.int64) for s in sequences]
        if any(len(r) == 0 for r in rows):
            raise ValueError("a sequence of a batch is empty; leave it out")
        begins = first or [0] * len(rows)
        starts = (0, *accumulate(len(r) for r in rows))
        at = [torch.arange(b, b + len(r)) for b, r in zip(begins, rows, strict=True)]
        tokens = torch.cat(rows)
        # on a device already, or on their way to one
        tokens = tokens.to(device) if tokens.is_cuda else sent(tokens, device)
        return cls(tokens, sent(torch.cat(at), device), starts)

    @property
    def lengths(self) -> list[int]:
        """Number of rows of each sequence."""
        return [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]

    @property
    def last_rows(self) -> list[int]:
        """The last row of each sequence: where the next token is sampled."""
        return [b - 1 for b in self.starts[1:]]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(
            self.tokens.to(device, non_blocking=True),
            self.positions.to(device, non_blocking=True),
            self.starts,
        )
