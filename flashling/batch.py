"""Batch: one ragged step, the only shape of work in training and in serving."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor


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
        return cls(torch.cat(rows).to(device), torch.cat(at).to(device), starts)

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
