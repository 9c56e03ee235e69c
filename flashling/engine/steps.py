"""Decode steps without the host in the way: from the tokens of a step to those of the next."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Items
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..batch import sent
from ..model.ling import Ling
from .cache import Cache
from .drafts import guess
from .flight import Flight
from .past import Stepping
from .request import Sequence

# steps of a size between two of these have rows of the spare slot at their end
SIZES = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 160, 192, 224, 256)
# tokens that end a sequence which a step with drafts can know
STOPS = 8


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
        # threads that read and write files take pinned memory meanwhile
        with torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.found = call(given)

    def replay(self) -> None:
        """Run it once more."""
        self.graph.replay()


class Steps:
    """Steps of a few rows for each sequence over a cache: the model, the draws as `ops.pick`, and
    what the step after it needs. Where a sequence has drafts, its rows are its last token and
    those; the first draft that was not drawn ends what is taken, and the MTP layer, which reads the
    rows, drafts anew. On CUDA a graph for each of `SIZES`, recorded when it is first needed (and
    one more where a row filters); elsewhere the same step, run as it is.

    drafts: the most of each sequence in steps that draw, 0 without an MTP layer. head: what they
    are guessed with, the model's own unless given.
    """

    def __init__(
        self, model: Ling, cache: Cache, drafts: int = 0, head: ops.Weight | None = None
    ) -> None:
        self.model, self.cache, self.drafts = model, cache, drafts
        self.head = model.head if head is None else head
        self.device = model.head.device
        self._recorded: dict[tuple[int, int, bool], Recorded] = {}
        is_cuda = self.device.type == "cuda"
        # logits of many rows are large
        self._pool = torch.cuda.graph_pool_handle() if is_cuda else None
        # runs the rows that were launched last, some tokens further each time
        self._run: Callable[[], tuple[Tensor, ...]]

    def can_draw(self, sequences: Items[Sequence], budget: int, drafts: int) -> bool:
        """Whether a step of at most so many rows, and so many drafts of each, can draw for all of
        them: each has no token after its next one, no guide, and settings that are plain; and where
        there are drafts, few tokens end it.
        """
        if not 0 < len(sequences) <= budget // (1 + drafts):
            return False
        is_short = all(len(self._stops(s)) <= STOPS for s in sequences)
        return all(s.is_plain for s in sequences) and (is_short or not drafts)

    def launch(self, sequences: Items[Sequence], drafts: int) -> Flight:
        """The step that reads the next token of each sequence, and so many drafts."""
        count, is_cuda = len(sequences), self.device.type == "cuda"
        size = next((n for n in SIZES if n >= count), count) if is_cuda else count
        is_cut = any(s.request.sampling.is_cut for s in sequences)
        stops = [self._stops(s)[:STOPS] for s in sequences]
        given = laid(sequences, size, self.cache.spare_slot, drafts, stops)
        if is_cuda:
            self._run = self._record(size, drafts, is_cut, given)
        else:
            self._run = partial(self.step, given, is_cut)
        hidden, found = self._run()
        return Flight(sequences, hidden, found)

    def again(self, flight: Flight) -> Flight:
        """The step after the one launched last, of the same sequences: all it needs is on the
        device, so the other need not have landed.
        """
        hidden, found = self._run()
        return Flight([s for s in flight.rows if s is not None], hidden, found)

    def record(self, slots: int, progress: Callable[[int, int], None] | None = None) -> None:
        """On CUDA record the steps that draw for up to so many sequences, so that none waits for
        that. progress(done, all) is called in steps.
        """
        if self.device.type != "cuda":
            return
        enough = next((i for i, n in enumerate(SIZES) if n >= slots), len(SIZES) - 1)
        # the largest first: the others find room in what it has left
        kinds = list(product(SIZES[enough::-1], sorted({self.drafts, 0})[::-1], (True, False)))
        for done, (size, drafts, is_cut) in enumerate(kinds):
            self._graph(size, drafts, is_cut)
            if progress:
                progress(done + 1, len(kinds))

    def _stops(self, s: Sequence) -> tuple[int, ...]:
        return (*self.model.config.eos_token_ids, *s.request.sampling.stop_ids)

    def _record(
        self, size: int, drafts: int, is_cut: bool, given: Tensor
    ) -> Callable[[], tuple[Tensor, ...]]:
        step = self._graph(size, drafts, is_cut)
        step.given.copy_(sent(given, self.device))

        def run() -> tuple[Tensor, ...]:
            step.replay()
            assert step.found is not None
            return step.found

        return run

    def _graph(self, size: int, drafts: int, is_cut: bool) -> Recorded:
        if (size, drafts, is_cut) not in self._recorded:
            # nobody's rows: what runs before the recording must change no sequence
            nobody = laid([], size, self.cache.spare_slot, drafts).to(self.device)
            call = partial(self.step, is_cut=is_cut)
            self._recorded[size, drafts, is_cut] = Recorded(call, nobody, self._pool)
        return self._recorded[size, drafts, is_cut]

    def step(self, given: Tensor, is_cut: bool) -> tuple[Tensor, Tensor]:
        """Hidden rows [N, R, D], and of each [5, N, R] float64: token, log-probability, whether
        that is finite, whether it is taken, and the token of the row in the next step; given
        (`laid`) becomes what the next step is given.
        """
        slots, lengths, tails, seed, sample, top_k = given[:6]
        temperature, top_p, min_p = given[6:9].view(torch.float64)
        stops, tokens = given[9 : 9 + STOPS].T, given[9 + STOPS :].T
        rows = tokens.shape[1]
        past = Stepping(self.cache, slots, lengths, tails, rows)
        hidden = self.model(past.batch(tokens.flatten()), past)

        def by_row(x: Tensor) -> Tensor:
            return x[:, None].expand(-1, rows).flatten()

        cut = (by_row(top_k), by_row(top_p), by_row(min_p)) if is_cut else None
        how = by_row(temperature), by_row(seed), by_row(sample), past.positions + 1
        # as the head leaves them: they are widened where they are read
        logits = ops.linear(hidden, self.model.head)
        found = ops.pick(logits, *how, cut)
        hidden = hidden.unflatten(0, (-1, rows))
        new, logprobs, is_finite = (x.unflatten(0, (-1, rows)) for x in found)
        drafted = None
        if rows > 1:
            last = self.accepted(tokens, new, stops, ops.CHUNK - tails % ops.CHUNK)
            drafted = last, self.guesses(slots, lengths, hidden, new, last)
        counts, drawn = (slots, lengths, tails), (new, logprobs, is_finite)
        spare = self.cache.spare_slot
        return hidden, ops.advance(tokens, counts, drawn, spare, ops.CHUNK, drafted)

    def accepted(self, tokens: Tensor, drawn: Tensor, stops: Tensor, room: Tensor) -> Tensor:
        """How many drafts of each sequence are taken [N] int64: tokens, drawn [N, R] are what its
        rows read and what was drawn after them; stops [N, S]: tokens that it ends with; room [N]:
        rows that fit into its chunk, since a fold cannot be undone.
        """
        before = drawn[:, :-1]
        is_end = (before[..., None] == stops[:, None]).any(-1)
        is_in = torch.arange(1, drawn.shape[1], device=room.device) < room[:, None]
        is_next = (tokens[:, 1:] == before) & ~is_end & is_in
        return is_next.long().cumprod(-1).sum(-1)

    def guesses(
        self, slots: Tensor, lengths: Tensor, hidden: Tensor, drawn: Tensor, last: Tensor
    ) -> Tensor:
        """Drafts [N, R - 1] of the MTP layer after row `last` [N] of each sequence: it reads all
        rows hidden [N, R, D] with the tokens drawn after them [N, R]. Its entries of rows that were
        not taken are overwritten by the next step.
        """
        count, rows = drawn.shape
        out = self._ahead(slots, lengths, hidden.flatten(0, 1), drawn.flatten())
        row = out.unflatten(0, (count, rows))[torch.arange(count, device=slots.device), last]
        found = [guess(row, self.head)]
        for i in range(1, rows - 1):
            # a draft's own draft: the layer reads its guess as if it had been drawn
            row = self._ahead(slots, lengths + last + i, row, found[-1])
            found.append(guess(row, self.head))
        return torch.stack(found, 1)

    def _ahead(self, slots: Tensor, lengths: Tensor, hidden: Tensor, after: Tensor) -> Tensor:
        """The MTP layer over pairs of rows and the tokens after them, [N * R] from lengths on."""
        rows = len(after) // len(slots)
        past = Stepping(self.cache, slots, lengths, lengths, rows, first=1)
        return self.model.mtp_hidden(hidden, past.batch(after), past, following=after)


def laid(
    sequences: Items[Sequence],
    size: int,
    spare: int,
    drafts: int = 0,
    stops: Items[tuple[int, ...]] = (),
) -> Tensor:
    """What a step is given [10 + STOPS + drafts, size] int64, idle rows at its end: of each
    sequence slot, tokens held, those of the open chunk, seed, sample, top_k; the bits of
    temperature, top_p, min_p; the tokens that end it; its next token and drafts.
    """
    how = [s.request.sampling for s in sequences]
    whole = [
        (s.slot, s.done, s.done - s.base, ops.signed(h.seed), s.request.sample, h.top_k)
        for s, h in zip(sequences, how, strict=True)
    ]
    real = [(h.temperature, h.top_p, h.min_p) for h in how]
    ends = [(*own, *[-1] * (STOPS - len(own))) for own in stops]
    # any token may stand where there is no draft: this one can be read
    read = [[s.tokens[s.done], *s.drafts[:drafts]] for s in sequences]
    read = [[*own, *[own[0]] * (drafts + 1 - len(own))] for own in read]
    idle = size - len(sequences)
    whole += [(spare, 0, 0, 0, 0, 0)] * idle
    real += [(0.0, 1.0, 0.0)] * idle
    ends += [(-1,) * STOPS] * (size - len(ends))
    read += [[0] * (1 + drafts)] * idle
    bits = torch.tensor(real, dtype=torch.float64).view(torch.int64)
    parts = [torch.tensor(whole), bits, torch.tensor(ends), torch.tensor(read)]
    return torch.cat(parts, 1).T.contiguous()
