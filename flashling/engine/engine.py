"""The engine: requests in, events out; continuous batching over a hybrid prefix cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .drafts import Guesser, propose, room_for_drafts
from .draws import draws
from .past import Paged
from .request import Event, Request, Sequence, Usage
from .room import Room
from .scheduler import Plan, plan
from .tiers import Tiers


class Overloaded(RuntimeError):
    """The queue is full; `retry_after` seconds later there may be room."""

    def __init__(self, waiting: int, retry_after: float) -> None:
        super().__init__(f"{waiting} requests are waiting; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class Engine:
    """Runs requests together; what each gets does not depend on the others.

    slots: sequences that run at once. pages: of 64 tokens, for running sequences and checkpoints
    together. budget: rows of a step. checkpoint_bytes: for states that are kept. drafts: tokens
    guessed ahead, from the text itself and by the MTP layer if the model has one. queue: requests
    that may wait. tiers: where what the device gives up goes, and sessions are parked.
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
    ) -> None:
        self.model, self.device = model, model.head.device
        self.budget, self.drafts, self.queue = budget, drafts, queue
        self.room = Room(model, slots, pages, checkpoint_bytes, tiers)
        self.guesser = Guesser(model, self.room.cache) if drafts and len(model.mtp) else None
        self.waiting: list[Sequence] = []
        self.running: list[Sequence] = []
        self._told: list[Event] = []
        self._next = 0

    def add(self, request: Request) -> int:
        """Queue a request; its number. ValueError if it can never run, Overloaded if the queue is
        full.
        """
        return self.add_samples(request, 1)[0]

    def add_samples(self, request: Request, count: int) -> list[int]:
        """As `add`, so many samples of one request, numbered from its `sample` on. One of them
        reads the prompt, the others wait and go on from its end.
        """
        self._check(request, count)
        guides = [request.guide() if request.guide else None for _ in range(count)]
        numbers = range(self._next, self._next + count)
        for n, (number, guide) in enumerate(zip(numbers, guides, strict=True)):
            own = replace(request, sample=request.sample + n)
            usage, tokens = Usage(len(own.prompt)), list(own.prompt)
            s = Sequence(number, own, number, numbers[0], usage, tokens, guide=guide)
            self.waiting.append(s)
        self._next += count
        return list(numbers)

    def _check(self, request: Request, count: int) -> None:
        vocab, most = self.model.config.vocab_size, len(request.prompt) + 1
        if count < 1:
            raise ValueError(f"{count} samples are asked for; ask for 1 at least")
        if not request.prompt:
            raise ValueError("a prompt is empty; give at least one token")
        if not 0 <= min(request.prompt) <= max(request.prompt) < vocab:
            raise ValueError(f"a prompt holds a token outside of the vocabulary of {vocab}")
        for name in ("logit_bias", "stop_ids"):
            for token in getattr(request.sampling, name):
                if not 0 <= token < vocab:
                    raise ValueError(f"{name} has token {token}; the vocabulary has {vocab}")
        if most > self._limit():
            raise ValueError(
                f"{most - 1} tokens leave no room of {self._limit()}; shorten the prompt"
            )
        if count > self.queue:
            raise ValueError(f"{count} samples for a queue of {self.queue}; ask for fewer")
        if len(self.waiting) + count > self.queue:
            raise Overloaded(len(self.waiting), 1.0 + len(self.waiting) / 10)

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
        """One forward pass over what the plan says, and what became of each sequence."""
        self._admit()
        for s in self.running:
            if s.left == 1 and self.drafts:
                most = min(self.drafts, room_for_drafts(s))
                s.drafts = propose(s.tokens, most) or s.drafts[:most]
        steps = plan(self.running, self.budget)
        if steps:
            self._run(steps)
        told, self._told = self._told, []
        return told

    def run(self) -> Iterator[Event]:
        """Events until the engine is idle."""
        while not self.is_idle:
            yield from self.step()

    def _run(self, steps: Plan) -> None:
        rows = [(s.tokens + s.drafts)[s.done : s.done + n] for s, n in steps]
        batch = Batch.pack(rows, first=[s.done for s, _ in steps], device=self.device)
        past = Paged(self.room.cache, batch, [s for s, _ in steps])
        hidden = self.model(batch, past)
        firsts = [s.done for s, _ in steps]
        # the rows that are followed by a draw: the last known token of a sequence and its drafts
        wanted = [
            (s, range(b - (n - s.left) - 1, b))
            for (s, n), b in zip(steps, batch.starts[1:], strict=True)
            if n >= s.left
        ]
        for (s, n), base, a in zip(steps, past.bases(), batch.starts, strict=False):
            s.base, known = base, min(n, s.left)
            s.done, s.last = s.done + known, hidden[a + known - 1]
            if s.done in s.stops:
                self.room.keep(s)
        self._draw(wanted, hidden)
        if self.guesser is not None:
            parts = zip(steps, batch.starts, firsts, strict=False)
            read = [(s, hidden[a : a + s.done - f]) for (s, _), a, f in parts if s.slot is not None]
            if read:
                self.guesser.read([s for s, _ in read], [rows for _, rows in read], self.drafts)

    def _draw(self, wanted: list[tuple[Sequence, range]], hidden: Tensor) -> None:
        """Draw after all wanted rows of hidden [T, D] at once, as if the drafts before each had
        been drawn, and take those that are.
        """
        rows: list[ops.Draw] = []
        parts: list[tuple[Sequence, list[int], range]] = []
        for s, places in wanted:
            guesses, s.drafts = s.drafts[: len(places) - 1], []
            s.usage.drafted += len(guesses)
            try:
                own = draws(s, guesses, self.model.config.vocab_size)
            except ValueError as error:
                self._fail(s, str(error))
                continue
            rows += own
            parts.append((s, guesses, places[: len(own)]))
        if not rows:
            return
        at = torch.tensor([i for *_, places in parts for i in places], device=self.device)
        drawn = iter(ops.draw(self.model.logits(hidden[at]), rows))
        for s, guesses, places in parts:
            self._take(s, guesses, [next(drawn) for _ in places], hidden[places.start :])

    def _take(
        self, s: Sequence, guesses: list[int], drawn: list[ops.Drawn], hidden: Tensor
    ) -> None:
        """Take what was drawn as long as the drafts are just that; hidden [rows, D]."""
        for i, found in enumerate(drawn):
            try:
                event = self._token(s, found)
            except ValueError as error:
                # also a grammar that cannot be followed
                self._fail(s, str(error))
                return
            if event.finish:
                self._finish(s, event)
                return
            self._told.append(event)
            if i + 1 == len(drawn) or s.tokens[-1] != guesses[i]:
                return
            # the draft's row has been read already
            s.done, s.last = s.done + 1, hidden[i + 1]
            s.usage.accepted += 1

    def _token(self, s: Sequence, drawn: ops.Drawn) -> Event:
        settings, token = s.request.sampling, drawn.token
        if not drawn.is_finite:
            raise ValueError("the model's output is not finite")
        if token is None:
            raise ValueError(
                "no token may come next; logit_bias and the grammar exclude each other"
            )
        if s.guide is not None:
            s.guide.accept(token)
        s.tokens.append(token)
        is_stop = token in settings.stop_ids or token in self.model.config.eos_token_ids
        is_stop = is_stop or (s.guide is not None and s.guide.is_done)
        is_full = len(s.tokens) >= min(s.most, self._limit())
        finish = "stop" if is_stop else "length" if is_full else ""
        usage = s.usage if finish else None
        return Event(s.id, token, drawn.logprob, drawn.top, finish, usage)

    def _limit(self) -> int:
        return min(self.model.config.max_position_embeddings, self.room.tokens)

    def _fail(self, s: Sequence, error: str) -> None:
        self._finish(s, Event(s.id, finish="error", usage=s.usage, error=error))

    def _finish(self, s: Sequence, event: Event) -> None:
        """The last event of a sequence; what it has read is kept for those that go on from it."""
        self._told.append(event)
        if s.slot is None:
            self.waiting.remove(s)
            return
        if event.finish in ("stop", "length") and s.done > 0:
            self.room.keep(s, over=len(s.prompt) - 1, is_parked=bool(s.request.session))
        self._release(s)

    def _release(self, s: Sequence) -> None:
        self.running.remove(s)
        self.room.leave(s)

    def _admit(self) -> None:
        """Let those in that wait, the most urgent first; samples only when their prompt is not
        being read by another of them.
        """
        self.waiting.sort(key=lambda s: (-s.request.priority, s.order))
        reading = {r.group for r in self.running if r.done < len(r.prompt) - 1}
        for s in list(self.waiting):
            if s.group in reading:
                continue
            if not self.room.free_slots and not self._park_for(s):
                return
            if not self.room.enter(s, min(s.most, self._limit()), not self.running):
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
            self.room.keep(victim)
        self._release(victim)
        self.waiting.append(victim)
        return True

    def delete_session(self, namespace: str, session: str) -> bool:
        """Forget what was parked under a session's name; False if there was nothing."""
        return self.room.tiers.delete(namespace, session)

    def update_weights(self, model: Ling, fingerprint: bytes = b"") -> None:
        """Go on with other weights of the same shape, known to the lower tiers by `fingerprint`;
        nothing that was kept is valid any more. ValueError while requests run: finish or abort
        them first.
        """
        if self.running:
            raise ValueError(f"{len(self.running)} requests run; finish or abort them first")
        self.room.keeper.clear()
        self.room.tiers.update(fingerprint)
        self.model = model
        if self.guesser is not None:
            self.guesser.model = model

    def close(self) -> None:
        """Write what waits for the disk."""
        self.room.tiers.close()
