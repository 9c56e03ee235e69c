"""Decode steps without the host in the way: one row of each sequence, from token to token."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..batch import sent
from ..model.ling import Ling
from .cache import Cache
from .past import Stepping
from .request import Sequence

# steps of a size between two of these have rows of the spare slot at their end
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)


class Recorded:
    """A call on tensors as a CUDA graph, and the tensors: what it reads must live as long. The call
    runs twice before it is recorded, so that every kernel is compiled. pool: the memory that it
    computes in, which graphs may share that never run at once.
    """

    def __init__(
        self,
        call: Callable[[Tensor], tuple[Tensor, ...] | None],
        given: Tensor,
        pool: Any = None,
    ) -> None:
        self.given = given
        side = torch.cuda.Stream()
        # what the call reads may still be on its way
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                call(given)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph, pool=pool):
            self.found = call(given)

    def replay(self) -> None:
        """Run it once more."""
        self.graph.replay()


class Flight:
    """A step that was launched: its sequences (None where one has left since), the final hidden
    rows [N, D], and what it draws [3, N] float64 once it has landed.
    """

    def __init__(self, sequences: Items[Sequence], hidden: Tensor, drawn: Tensor) -> None:
        self.rows: list[Sequence | None] = list(sequences)
        self.hidden, self._drawn, self._event = hidden, drawn, None
        if drawn.is_cuda:
            # the next step writes over both
            self.hidden = hidden[: len(self.rows)].clone()
            self._drawn = torch.empty(drawn.shape, dtype=drawn.dtype, pin_memory=True)
            self._drawn.copy_(drawn, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

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

    def land(self) -> list[ops.Drawn]:
        """What was drawn for each row, as soon as the device has done it."""
        if self._event is not None:
            self._event.synchronize()
        columns = self._drawn[:, : len(self.rows)].T.tolist()
        return [ops.Drawn(int(token), p, (), bool(ok)) for token, p, ok in columns]


class Steps:
    """Steps of one row for each sequence over a cache: the model, the draw as `ops.pick`, and what
    the step after it needs. On CUDA a graph for each of `SIZES`, recorded when it is first needed
    (and one more where a row filters); elsewhere the same step, run as it is.
    """

    def __init__(self, model: Ling, cache: Cache) -> None:
        self.model, self.cache = model, cache
        self.device = model.head.device
        self._recorded: dict[tuple[int, bool], Recorded] = {}
        is_cuda = self.device.type == "cuda"
        # logits of many rows are large
        self._pool = torch.cuda.graph_pool_handle() if is_cuda else None
        # runs the rows that were launched last, one token further each time
        self._run: Callable[[], tuple[Tensor, ...]]

    def launch(self, sequences: Items[Sequence]) -> Flight:
        """The step that reads the next token of each sequence. Its draws count where the sequence
        has no token after it, no guide, and settings that are plain.
        """
        count, is_cuda = len(sequences), self.device.type == "cuda"
        size = next((n for n in SIZES if n >= count), count) if is_cuda else count
        is_cut = any(s.request.sampling.is_cut for s in sequences)
        given = laid(sequences, size, self.cache.spare_slot)
        if is_cuda:
            self._run = self._record(size, is_cut, given)
        else:
            self._run = partial(self.step, given, is_cut)
        hidden, drawn = self._run()
        return Flight(sequences, hidden, drawn)

    def again(self, flight: Flight) -> Flight:
        """The step after the one launched last, of the same sequences: all it needs is on the
        device, so the other need not have landed.
        """
        hidden, drawn = self._run()
        return Flight([s for s in flight.rows if s is not None], hidden, drawn)

    def _record(self, size: int, is_cut: bool, given: Tensor) -> Callable[[], tuple[Tensor, ...]]:
        if (size, is_cut) not in self._recorded:
            # nobody's rows: what runs before the recording must change no sequence
            nobody = laid([], size, self.cache.spare_slot).to(self.device)
            call = partial(self.step, is_cut=is_cut)
            self._recorded[size, is_cut] = Recorded(call, nobody, self._pool)
        step = self._recorded[size, is_cut]
        step.given.copy_(sent(given, self.device))

        def run() -> tuple[Tensor, ...]:
            step.replay()
            assert step.found is not None
            return step.found

        return run

    def step(self, given: Tensor, is_cut: bool) -> tuple[Tensor, Tensor]:
        """Hidden rows, and tokens, log-probabilities and whether they are finite [3, N]; given
        (`laid`) becomes what the next step is given.
        """
        tokens, slots, lengths, tails, seed, sample, top_k = given[:7]
        temperature, top_p, min_p = given[7:].view(torch.float64)
        past = Stepping(self.cache, slots, lengths.int(), tails.int())
        hidden = self.model(past.batch(tokens), past)
        cut = (top_k, top_p, min_p) if is_cut else None
        places = temperature, seed, sample, lengths + 1
        drawn = ops.pick(self.model.logits(hidden), *places, cut)
        # an idle row stays the first of its slot
        is_live = slots != self.cache.spare_slot
        tokens.copy_(drawn[0])
        lengths += is_live
        tails.copy_((tails % ops.CHUNK + 1) * is_live)
        # float64 holds tokens and both float types exactly
        return hidden, torch.stack([x.double() for x in drawn])


def laid(sequences: Items[Sequence], size: int, spare: int) -> Tensor:
    """What a step is given [10, size] int64, idle rows at its end: of each row token, slot, tokens
    held, those of the open chunk, seed, sample, top_k; and the bits of temperature, top_p, min_p.
    """
    how = [s.request.sampling for s in sequences]
    whole = [
        (s.tokens[s.done], s.slot, s.done, s.done - s.base)
        + (ops.signed(h.seed), s.request.sample, h.top_k)
        for s, h in zip(sequences, how, strict=True)
    ]
    real = [(h.temperature, h.top_p, h.min_p) for h in how]
    idle = size - len(sequences)
    whole += [(0, spare, 0, 0, 0, 0, 0)] * idle
    real += [(0.0, 1.0, 0.0)] * idle
    bits = torch.tensor(real, dtype=torch.float64).view(torch.int64)
    return torch.cat([torch.tensor(whole), bits], 1).T.contiguous()
