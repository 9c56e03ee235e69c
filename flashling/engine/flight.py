"""A step on its way: launched, and not yet read."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from .. import ops
from .request import Sequence


class Flight:
    """A step that was launched: its sequences (None where one has left since), the final hidden
    rows [N, R, D], and what it finds (`Steps.step`).
    """

    def __init__(self, sequences: Items[Sequence], hidden: Tensor, found: Tensor) -> None:
        self.rows: list[Sequence | None] = list(sequences)
        self.hidden, self._found, self._event = hidden, found, None
        if found.is_cuda:
            # the next step writes over both
            self.hidden = hidden[: len(self.rows)].clone()
            self._found = torch.empty(found.shape, dtype=found.dtype, pin_memory=True)
            self._found.copy_(found, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    @property
    def width(self) -> int:
        """Rows of each sequence: the most tokens that it gets."""
        return self.hidden.shape[1]

    @property
    def is_empty(self) -> bool:
        """Whether all its sequences have left."""
        return all(s is None for s in self.rows)

    def drop(self, s: Sequence) -> bool:
        """Forget one that leaves; whether it has a row here, which is one too many. That lies
        behind what is kept, but if it began a chunk it has folded the one before: the same past,
        with no open rows.
        """
        at = next((i for i, row in enumerate(self.rows) if row is s), None)
        if at is None:
            return False
        self.rows[at] = None
        if s.done - s.base == ops.CHUNK:
            s.base = s.done
        return True

    def land(self) -> list[tuple[list[ops.Drawn], list[int]]]:
        """For each sequence what was drawn, one token after another, and the drafts of those that
        follow; as soon as the device has done it.
        """
        if self._event is not None:
            self._event.synchronize()
        found = self._found[:, : len(self.rows)].permute(1, 2, 0).tolist()
        return [
            (
                [ops.Drawn(int(t), p, (), bool(ok)) for t, p, ok, is_taken, _ in rows if is_taken],
                [int(read) for *_, read in rows[1:]],
            )
            for rows in found
        ]
