"""Where the rows of a ragged step lie on the chunks of their sequences, and what these carry."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from ...batch import sent

CHUNK = 64


class Spans(NamedTuple):
    """Sequences in spans of chunks, the last one of each shorter, all spans numbered end to end.

    places [M, 2] int32: of each span its sequence and its number there.
    several [L, 2] int32: the sequences of several chunks, each with its first span's number.
    """

    places: Tensor
    several: Tensor


@dataclass
class Grid:
    """Where the rows of a ragged step lie on the chunk grid of their own sequences.

    Sequence n has `tails[n]` earlier rows in its open chunk (0 for a fresh one) before its new
    rows. Chunks of all sequences are numbered end to end, those of one sequence in order. What
    only the body or only the kernels read is made when it is asked for.
    """

    starts: tuple[int, ...]
    tails: tuple[int, ...]
    device: torch.device
    chunk: int = CHUNK
    num_chunks: int = 0
    # the last chunk of each sequence, and how many rows stand in it
    last: list[int] = field(default_factory=list)
    left: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        c = self.chunk
        lengths = [b - a for a, b in zip(self.starts, self.starts[1:], strict=False)]
        self._rows = [t + n for t, n in zip(self.tails, lengths, strict=True)]
        self._counts = [-(-r // c) for r in self._rows]
        self._first = [0, *accumulate(self._counts)]
        self.num_chunks = self._first[-1]
        self.last = [f - 1 for f in self._first[1:]]
        self.left = [r - (n - 1) * c for r, n in zip(self._rows, self._counts, strict=True)]
        self._spans: dict[int, Spans] = {}

    @property
    def longest(self) -> int:
        """Chunks of the sequence that has most."""
        return max(self._counts)

    @cached_property
    def device_starts(self) -> Tensor:
        """`starts` as [N + 1] int32 on the device."""
        return sent(self.starts, self.device).int()

    @cached_property
    def device_tails(self) -> Tensor:
        """`tails` as [N] int64 on the device, as the counts of a step are."""
        return sent(self.tails, self.device)

    def spans(self, chunks: int) -> Spans:
        """The sequences in spans of `chunks` chunks, made once."""
        if chunks not in self._spans:
            places, several = [], []
            for n, count in enumerate(self._counts):
                if count > 1:
                    several.append((n, len(places)))
                places += [(n, j) for j in range(-(-count // chunks))]
            at = (torch.tensor(x, dtype=torch.int32) for x in (places, several))
            self._spans[chunks] = Spans(*(sent(x, self.device) for x in at))
        return self._spans[chunks]

    @cached_property
    def new_at(self) -> Tensor:
        """Place of each new row in the [num_chunks * chunk] grid."""
        rows = zip(self._first, self.tails, self._rows, strict=False)
        at = [torch.arange(f * self.chunk + t, f * self.chunk + r) for f, t, r in rows]
        return torch.cat(at).to(self.device)

    @cached_property
    def tail_at(self) -> Tensor:
        """Place of each earlier row of an open chunk in the grid."""
        tails = zip(self._first, self.tails, strict=False)
        at = [torch.arange(f * self.chunk, f * self.chunk + t) for f, t in tails]
        return torch.cat(at).to(self.device)

    @property
    def steps(self) -> list[tuple[Tensor | None, Tensor]]:
        """Step j: which of step j - 1's sequences go on, and the chunks they have just closed."""
        return self._plan[0]

    @property
    def order(self) -> Tensor:
        """The order that turns the states of all steps, end to end, into chunk order."""
        return self._plan[1]

    @cached_property
    def _plan(self) -> tuple[list[tuple[Tensor | None, Tensor]], Tensor]:
        counts, first = self._counts, self._first
        going = list(range(len(counts)))
        order = [first[n] for n in going]
        steps: list[tuple[Tensor | None, Tensor]] = []
        for j in range(1, max(counts)):
            still = [i for i, n in enumerate(going) if counts[n] > j]
            keep = None if len(still) == len(going) else torch.tensor(still, device=self.device)
            going = [going[i] for i in still]
            closed = [first[n] + j - 1 for n in going]
            order += [f + 1 for f in closed]
            steps.append((keep, torch.tensor(closed, device=self.device)))
        inverse = torch.empty(len(order), dtype=torch.int64)
        inverse[torch.tensor(order)] = torch.arange(len(order))
        return steps, inverse.to(self.device)


@dataclass
class Carry:
    """What the sequences of a step remember in one layer; the op reads and writes it in place.

    state [S, H, K, V] float32 (float64 in float64): at each slot's last closed chunk.
    tail [S, 2, C, H, K]: keys (normed, rotated) and values of the open chunk.
    slots: the slot of each sequence of the step.
    """

    state: Tensor
    tail: Tensor
    slots: Tensor
