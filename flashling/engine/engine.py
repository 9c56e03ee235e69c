"""The engine: requests in, events out; continuous batching over a hybrid prefix cache."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import torch

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .bits import check_exact
from .drafts import Guesser, Pace, propose, room_for_drafts
from .draws import Draws, rows_before_draws
from .flight import Flight
from .past import Paged
from .request import Event, Request, Sequence, Usage, check_queue
from .room import Room
from .scheduler import Plan, plan, reach
from .steps import Steps
from .tiers import Tiers


class Engine:
    """Runs requests together; what each gets does not depend on the others.

    slots: sequences that run at once. pages: of 64 tokens, for running sequences and checkpoints
    together. budget: rows of a step. checkpoint_bytes: for states that are kept. drafts: tokens
    guessed ahead, from the text itself and by the MTP layer if the model has one. queue: requests
    that may wait. tiers: where what the device gives up goes, and sessions are parked. exact:
    the same bits whatever the company, the chunks, the cache and the drafts; slower.
    """

    def __init__(
        self,
        model: Ling,
        slots: int = 16,
        pages: int = 1024,
        budget: int = 512,
        checkpoint_bytes: int = 1 << 30,
        drafts: int = 0,
        queue: int = 1024,
        tiers: Tiers | None = None,
        exact: bool = False,
    ) -> None:
        self.model, self.device = model, model.head.device
        if exact:
            check_exact(model)
        self.budget, self.drafts, self.queue, self.exact = budget, drafts, queue, exact
        self.room = Room(model, slots, pages, checkpoint_bytes, tiers, exact)
        self.guesser = Guesser(model, self.room.cache) if drafts and len(model.mtp) else None
        self.pace = Pace(drafts if self.guesser else 0)
        self.steps = self._steps() if self.device.type == "cuda" else None
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._told: list[Event] = []
        self._coming: tuple[Ling, bytes] | None = None
        # the step in the air; whether all that wait would wait on, were they asked again
        self._flight: Flight | None = None
        self._is_settled = False
        self.number, self._reach = 0, reach(model.config)

    def add(self, request: Request) -> int:
        """Queue a request; its number. ValueError if it can never run, Overloaded if the queue is
        full.
        """
        return self.add_samples(request, 1)[0]

    def add_samples(self, request: Request, count: int) -> list[int]:
        """As `add`, so many samples of one request, numbered from its `sample` on. One of them
        reads the prompt, the others wait and go on from its end.
        """
        request.check(self.model.config.vocab_size, self._limit())
        check_queue(count, len(self.waiting), self.queue)
        guides = [request.guide() if request.guide else None for _ in range(count)]
        numbers = range(self.number, self.number + count)
        for n, (number, guide) in enumerate(zip(numbers, guides, strict=True)):
            own = replace(request, sample=request.sample + n)
            usage, tokens = Usage(len(own.prompt)), list(own.prompt)
            s = Sequence(number, own, number, numbers[0], usage, tokens, guide=guide)
            self.waiting.append(s)
        self.number += count
        self._is_settled = False
        return list(numbers)

    def abort(self, number: int) -> bool:
        """End a request; False if there is none of that number. Its last event comes with the
        next step.
        """
        for s in [*self.waiting, *self.running]:
            if s.id == number:
                self._finish(s, Event(number, finish="abort", usage=s.usage))
                return True
        return False

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs, waits or is still to be told."""
        return not (self.waiting or self.running or self._told)

    @torch.no_grad()
    def step(self) -> list[Event]:
        """One forward pass over what the plan says, and what became of each sequence; of a step of
        `Steps` the next call tells, once it has launched the one after it where that is known.
        """
        with ops.exactly() if self.exact else nullcontext():
            if self.room.tiers.arrive():
                self._is_settled = False
            flight, self._flight = self._flight, self._ahead()
            if flight is not None and not flight.is_empty:
                draws = Draws(self.model, self._limit())
                tokens = draws.land(flight, is_owed=self.guesser is not None)
                self.pace.heed(flight.width - 1, tokens)
                self._conclude(draws)
            if self._flight is None or self._flight.is_empty:
                self._flight = None
                self._begin()
        told, self._told = self._told, []
        return told

    def _begin(self) -> None:
        """Start what can run; nothing is in the air."""
        self._update()
        self._admit()
        # while nothing runs there is nothing to do but wait for a past that is read
        while self.waiting and not self.running and self.room.tiers.wait():
            self._admit()
        self._is_settled = True
        # drafts found in the text itself are the host's
        steps = None if self.drafts and self.guesser is None else self.steps
        drafts = self.pace.drafts
        if steps is not None and steps.can_draw(self.running, self.budget, drafts):
            if self.guesser is not None and drafts:
                self.guesser.settle(self.running, drafts)
            self._flight = steps.launch(self.running, drafts)
            return
        for s in self.running:
            if s.left == 1 and self.drafts:
                most = min(self.drafts, room_for_drafts(s))
                s.drafts = propose(s.tokens, most) or s.drafts[:most]
        if found := plan(self.running, self.budget, self._reach):
            self._run(found)

    def _ahead(self) -> Flight | None:
        """Launch the step after the one in the air, if it is sure to be of the same sequences; one
        that draws its end meanwhile has a row too many.
        """
        if self.steps is None or self._flight is None or (self.waiting and not self._is_settled):
            return None
        rows, width = self._flight.rows, self._flight.width
        if width != 1 + self.pace.drafts:
            return None
        sure = [s for s in rows if s is not None and len(s.tokens) + width < self._end(s)]
        if not len(rows) == len(sure) == len(self.running) <= self.budget // width:
            return None
        return self.steps.again(self._flight)

    def _steps(self) -> Steps:
        drafts, head = (self.drafts, self.guesser.head) if self.guesser else (0, None)
        return Steps(self.model, self.room.cache, drafts, head)

    def run(self) -> Iterator[Event]:
        """Events until the engine is idle."""
        while not self.is_idle:
            yield from self.step()

    def _run(self, steps: Plan) -> None:
        sequences, firsts = [s for s, _ in steps], [s.done for s, _ in steps]
        if self.steps is not None and all(n == 1 for _, n in steps):
            hidden = self.steps.launch(sequences, 0).hidden.flatten(0, 1)
            starts = range(len(steps) + 1)
        else:
            rows = [(s.tokens + s.drafts)[s.done : s.done + n] for s, n in steps]
            batch = Batch.pack(rows, first=firsts, device=self.device)
            hidden = self.model(batch, Paged(self.room.cache, batch, sequences, firsts))
            starts = batch.starts
        wanted = rows_before_draws(steps, starts)
        for (s, n), a in zip(steps, starts, strict=False):
            # a full chunk stays open until its next row
            s.base, known = (s.done + n - 1) // ops.CHUNK * ops.CHUNK, min(n, s.left)
            s.done, s.last = s.done + known, hidden[a + known - 1]
            if s.done in s.stops:
                self.room.keep(s)
        draws = Draws(self.model, self._limit())
        draws.draw(wanted, hidden)
        if self.guesser is not None:
            places = list(zip(sequences, starts, firsts, strict=False))
            self.guesser.follow(places, hidden, self.drafts)
        self._conclude(draws)

    def _conclude(self, draws: Draws) -> None:
        self._told += draws.told
        for s, event in draws.ended:
            self._finish(s, event)

    def _end(self, s: Sequence) -> int:
        return min(s.most, self._limit())

    def _limit(self) -> int:
        return min(self.model.config.max_position_embeddings, self.room.tokens)

    def _finish(self, s: Sequence, event: Event) -> None:
        """The last event of a sequence; what it has read is kept for those that go on from it."""
        self._told.append(event)
        self._is_settled = False
        if s.slot is None:
            self.waiting.remove(s)
            return
        if self._flight is not None:
            self._flight.drop(s)
        if event.finish in ("stop", "length") and s.done > 0:
            if self.guesser is not None:
                self.guesser.settle([s])
            self.room.keep(s, over=len(s.prompt) - 1, is_parked=bool(s.request.session))
        self._release(s)

    def _release(self, s: Sequence) -> None:
        self._is_settled = False
        if self._flight is not None:
            self._flight.drop(s)
        self.running.remove(s)
        self.room.leave(s)

    def _admit(self) -> None:
        """Let those in that wait, the most urgent first; samples only when their prompt is not
        being read by another of them.
        """
        self.waiting.sort(key=lambda s: (-s.request.priority, s.order))
        reading = {r.group for r in self.running if r.done < len(r.prompt) - 1}
        for s in list(self.waiting):
            if s.group in reading or (self._coming and not s.is_begun):
                continue
            if self.room.is_coming(s):
                continue
            if not self.room.free_slots and not self._park_for(s):
                return
            if not self.room.enter(s, self._end(s), not self.running):
                return
            self.waiting.remove(s)
            self.running.append(s)
            if s.done < len(s.prompt) - 1:
                reading.add(s.group)

    def _park_for(self, s: Sequence) -> bool:
        """Take the slot of the least urgent sequence if it is less urgent than `s`; it goes on
        later from where it stands.
        """
        victim = min(self.running, key=lambda r: (r.request.priority, -r.order), default=None)
        if victim is None or victim.request.priority >= s.request.priority:
            return False
        if victim.done > 0:
            if self.guesser is not None:
                self.guesser.settle([victim])
            self.room.keep(victim)
        self._release(victim)
        self.waiting.append(victim)
        return True

    def update_weights(
        self, model: Ling, fingerprint: bytes = b"", begun: Literal["finish", "restart"] = "finish"
    ) -> None:
        """Go on with other weights of the same shape, known to the lower tiers by `fingerprint`;
        nothing that was kept is valid any more, and requests that wait get the new ones.

        begun: requests that have drawn a token, or run, either finish under the old weights while
        all others wait, or forget what they drew and start again, told by an event of their own.
        """
        if begun not in ("finish", "restart"):
            raise ValueError(f"begun {begun!r} must be 'finish' or 'restart'")
        self._coming = model, fingerprint
        if begun == "restart":
            for s in [r for r in [*self.running, *self.waiting] if r.is_begun]:
                if s.slot is not None:
                    self._release(s)
                    self.waiting.append(s)
                s.restart()
                self._told.append(Event(s.id, is_restart=True))
        self._update()

    def _update(self) -> None:
        """Take the weights that are coming, once nobody needs the old ones."""
        if self._coming is None or any(s.is_begun for s in [*self.running, *self.waiting]):
            return
        (self.model, fingerprint), self._coming = self._coming, None
        self.room.keeper.clear()
        self.room.tiers.update(fingerprint)
        if self.guesser is not None:
            self.guesser.take(self.model)
        if self.steps is not None:
            self.steps = self._steps()

    def close(self) -> None:
        """Write what waits for the disk."""
        self.room.tiers.close()
