"""Decode steps without a launch by the host: one row of each sequence, recorded by batch size."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from ..model.ling import Ling
from ..ops.fetch import join
from .cache import Cache
from .past import Stepping
from .request import Sequence

# steps of a size between two of these have rows of the spare slot at their end
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)


class Recorded:
    """A call on tensors as a CUDA graph, and the tensors: what it reads must live as long. The call
    runs twice before it is recorded, so that every kernel is compiled.
    """

    def __init__(self, call: Callable[[Tensor], Tensor | None], given: Tensor) -> None:
        self.given = given
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(2):
                call(given)
        torch.cuda.current_stream().wait_stream(side)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.found = call(given)
            join()

    def replay(self) -> None:
        """Run it once more."""
        self.graph.replay()


class Steps:
    """Steps of one row for each sequence over a cache. On CUDA a graph for each of `SIZES`,
    recorded when it is first needed; elsewhere the same step, run as it is.
    """

    def __init__(self, model: Ling, cache: Cache) -> None:
        self.model, self.cache = model, cache
        self.device = model.head.device
        self._recorded: dict[int, Recorded] = {}

    def run(self, sequences: Items[Sequence]) -> Tensor:
        """Final hidden rows [N, D] of the next token of each sequence."""
        count, is_cuda = len(sequences), self.device.type == "cuda"
        size = next((n for n in SIZES if n >= count), count) if is_cuda else count
        # token, slot, tokens held, those of the open chunk; an idle row is the first of its slot
        rows = [(s.tokens[s.done], s.slot, s.done, s.done - s.base) for s in sequences]
        idle = (0, self.cache.spare_slot, 0, 0)
        rows += [idle] * (size - count)
        given = torch.tensor(rows, dtype=torch.int64).T.contiguous()
        if not is_cuda:
            return self._step(given)
        if size not in self._recorded:
            # nobody's rows: what runs before the recording must change no sequence
            nobody = torch.tensor([[value] * size for value in idle]).to(self.device)
            self._recorded[size] = Recorded(self._step, nobody)
        step = self._recorded[size]
        step.given.copy_(given.pin_memory(), non_blocking=True)
        step.replay()
        assert step.found is not None
        # the next replay writes over its rows
        return step.found[:count].clone()

    def _step(self, given: Tensor) -> Tensor:
        tokens, slots, lengths, tails = given
        past = Stepping(self.cache, slots, lengths.int(), tails.int())
        return self.model(past.batch(tokens), past)
