"""The engine: requests in, events out; continuous batching over a hybrid prefix cache."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence as Items

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .drafts import Guesser, propose, room_for_drafts
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
        vocab, most = self.model.config.vocab_size, len(request.prompt) + 1
        if not request.prompt:
            raise ValueError("a prompt is empty; give at least one token")
        if not 0 <= min(request.prompt) <= max(request.prompt) < vocab:
            raise ValueError(f"a prompt holds a token outside of the vocabulary of {vocab}")
        if most > self._limit():
            raise ValueError(
                f"{most - 1} tokens leave no room of {self._limit()}; shorten the prompt"
            )
        if len(self.waiting) >= self.queue:
            raise Overloaded(len(self.waiting), 1.0 + len(self.waiting) / 10)
        usage, number = Usage(len(request.prompt)), self._next
        s = Sequence(number, request, number, usage, list(request.prompt))
        s.guide = request.guide() if request.guide else None
        self.waiting.append(s)
        self._next += 1
        return number

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
        bases = past.bases()
        # the rows that are followed by a draw: the last known token of a sequence and its drafts
        wanted = [
            range(b - (n - s.left) - 1, b) if n >= s.left else range(0)
            for (s, n), b in zip(steps, batch.starts[1:], strict=True)
        ]
        at = torch.tensor([i for r in wanted for i in r], dtype=torch.int64, device=self.device)
        logits = iter(self.model.logits(hidden[at]) if len(at) else ())
        firsts = [s.done for s, _ in steps]
        ended: list[tuple[Sequence, Event]] = []
        for (s, n), base, places, a in zip(steps, bases, wanted, batch.starts, strict=False):
            s.base, known = base, min(n, s.left)
            s.done, s.last = s.done + known, hidden[a + known - 1]
            if s.done in s.stops:
                self.room.keep(s)
            last = self._draw(s, [next(logits) for _ in places], hidden[a + known - 1 :])
            if last is not None:
                ended.append((s, last))
        if self.guesser is not None:
            # those that end too, for what is kept of them; a failed one has no next token
            parts = zip(steps, batch.starts, firsts, strict=False)
            read = [(s, hidden[a : a + s.done - f]) for (s, _), a, f in parts if s.left]
            if read:
                self.guesser.read([s for s, _ in read], [rows for _, rows in read], self.drafts)
        for s, event in ended:
            self._finish(s, event)

    def _draw(self, s: Sequence, logits: Items[Tensor], hidden: Tensor) -> Event | None:
        """Draw after each row as long as the drafts are what is drawn; its last event if it ends.
        hidden [rows, D].
        """
        guesses, s.drafts = s.drafts[: max(0, len(logits) - 1)], []
        s.usage.drafted += len(guesses)
        for i, row in enumerate(logits):
            if not bool(torch.isfinite(row).all()):
                error = "the model's output is not finite"
                return Event(s.id, finish="error", usage=s.usage, error=error)
            try:
                event = self._token(s, row)
            except ValueError as error:
                # a grammar that cannot be followed, or that a bias excludes
                event = Event(s.id, finish="error", usage=s.usage, error=str(error))
            if event.finish:
                return event
            self._told.append(event)
            if i == len(guesses) or s.tokens[-1] != guesses[i]:
                return None
            # the draft's row has been read already
            s.done, s.last = s.done + 1, hidden[i + 1]
            s.usage.accepted += 1
        return None

    def _token(self, s: Sequence, row: Tensor) -> Event:
        settings = s.request.sampling
        allowed = None if s.guide is None else s.guide.mask()
        token = ops.choose(row, settings, s.prompt, s.out, s.request.sample, allowed)
        if s.guide is not None:
            s.guide.accept(token)
        logprobs = ops.logprobs_of(row)
        top: tuple[tuple[int, float], ...] = ()
        if settings.logprobs:
            best = logprobs.topk(min(settings.logprobs, len(logprobs)))
            top = tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True))
        s.tokens.append(token)
        is_stop = token in settings.stop_ids or token in self.model.config.eos_token_ids
        is_stop = is_stop or (s.guide is not None and s.guide.is_done)
        is_full = len(s.tokens) >= min(s.most, self._limit())
        finish = "stop" if is_stop else "length" if is_full else ""
        usage = s.usage if finish else None
        return Event(s.id, token, float(logprobs[token]), top, finish, usage)

    def _limit(self) -> int:
        return min(self.model.config.max_position_embeddings, self.room.tokens)

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
        """Let those in that wait, the most urgent first."""
        self.waiting.sort(key=lambda s: (-s.request.priority, s.order))
        while self.waiting:
            s = self.waiting[0]
            if not self.room.free_slots and not self._park_for(s):
                return
            if not self.room.enter(s, min(s.most, self._limit()), not self.running):
                return
            self.waiting.pop(0)
            self.running.append(s)

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
        nothing that was kept is valid any more. Requests that wait get the new ones. ValueError
        while others run, or wait to go on after a preemption: finish or abort them first.
        """
        begun = len(self.running) + sum(bool(s.out) for s in self.waiting)
        if begun:
            raise ValueError(f"{begun} requests have begun; finish or abort them first")
        self.room.keeper.clear()
        self.room.tiers.update(fingerprint)
        self.model = model
        if self.guesser is not None:
            self.guesser.model = model

    def close(self) -> None:
        """Write what waits for the disk."""
        self.room.tiers.close()
