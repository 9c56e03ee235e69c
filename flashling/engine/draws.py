"""What is drawn after the rows of a step, and what becomes of the sequences."""

from __future__ import annotations

from collections.abc import Sequence as Items

from torch import Tensor

from .. import ops
from ..batch import sent
from ..model.ling import Ling
from .drafts import heed
from .flight import Flight
from .request import Event, Sequence
from .scheduler import Plan


class Draws:
    """The draws of one step: `told`, the events of sequences that go on, and `ended`, the last ones
    of those that do not, by their own settings or at `limit` tokens.
    """

    def __init__(self, model: Ling, limit: int) -> None:
        self.model, self.limit = model, limit
        self.told: list[Event] = []
        self.ended: list[tuple[Sequence, Event]] = []

    def draw(self, wanted: Items[tuple[Sequence, range]], hidden: Tensor) -> None:
        """Draw after all wanted rows of hidden [T, D] at once, as if the drafts before each had
        been drawn, and take those that are.
        """
        rows: list[ops.Draw] = []
        parts: list[tuple[Sequence, list[int], range]] = []
        for s, places in wanted:
            guesses, s.drafts = s.drafts[: len(places) - 1], []
            s.usage.drafted += len(guesses)
            try:
                own = _rows(s, guesses, self.model.config.vocab_size)
            except ValueError as error:
                self._fail(s, error)
                continue
            rows += own
            parts.append((s, guesses, places[: len(own)]))
        if not rows:
            return
        at = sent([i for *_, places in parts for i in places], hidden.device)
        drawn = iter(ops.draw(self.model.logits(hidden[at]), rows))
        for s, guesses, places in parts:
            before = s.usage.accepted
            self.take(s, guesses, [next(drawn) for _ in places], hidden[places.start :])
            if guesses:
                heed(s, len(guesses), s.usage.accepted - before)

    def land(self, flight: Flight, is_owed: bool = False) -> float:
        """Take what a step of `Steps` has drawn, for those that are still here; the tokens that one
        of them was given, in the mean. is_owed: an MTP layer is to read the rows of a step without
        drafts later.
        """
        found = list(zip(flight.rows, flight.hidden.unbind(), flight.land(), strict=True))
        given = [len(drawn) for s, _, (drawn, _) in found if s is not None]
        for s, hidden, (drawn, drafts) in found:
            if s is None:
                continue
            if is_owed and flight.width == 1:
                s.owed.append(hidden)
            s.usage.drafted += min(len(drafts), ops.CHUNK - 1 - s.done % ops.CHUNK)
            s.base, s.last, s.drafts = s.done // ops.CHUNK * ops.CHUNK, hidden[0], drafts
            s.done += 1
            self.take(s, [d.token for d in drawn[:-1]], drawn, hidden)
        return sum(given) / len(given)

    def take(
        self, s: Sequence, guesses: Items[int | None], drawn: list[ops.Drawn], hidden: Tensor
    ) -> None:
        """Take what was drawn as long as the drafts are just that; hidden [rows, D]."""
        for i, found in enumerate(drawn):
            try:
                event = self._token(s, found)
            except ValueError as error:
                # also a grammar that cannot be followed
                self._fail(s, error)
                return
            if event.finish:
                self.ended.append((s, event))
                return
            self.told.append(event)
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
        is_full = len(s.tokens) >= min(s.most, self.limit)
        finish = "stop" if is_stop else "length" if is_full else ""
        usage = s.usage if finish else None
        return Event(s.id, token, drawn.logprob, drawn.top, finish, usage)

    def _fail(self, s: Sequence, error: ValueError) -> None:
        event = Event(s.id, finish="error", usage=s.usage, error=str(error))
        self.ended.append((s, event))


def rows_before_draws(steps: Plan, starts: Items[int]) -> list[tuple[Sequence, range]]:
    """The rows of a step that are followed by a draw: the last known token of a sequence and its
    drafts; its rows begin at its place in `starts`.
    """
    return [
        (s, range(b - (n - s.left) - 1, b))
        for (s, n), b in zip(steps, starts[1:], strict=True)
        if n >= s.left
    ]


def _rows(s: Sequence, drafts: Items[int], vocab: int) -> list[ops.Draw]:
    """How to draw after the sequence's last token and after each draft, as if those before it had
    been drawn; as far as its grammar lets the drafts come. ValueError where that cannot be followed
    or is of another vocabulary.
    """
    masks = [None] * (1 + len(drafts)) if s.guide is None else _masks(s, drafts, vocab)
    settings, out, sample = s.request.sampling, s.out, s.request.sample
    return [
        ops.Draw(settings, s.prompt, [*out, *drafts[:i]] if i else out, sample, mask)
        for i, mask in enumerate(masks)
    ]


def _masks(s: Sequence, drafts: Items[int], vocab: int) -> Items[Tensor]:
    assert s.guide is not None
    masks = s.guide.draft_masks(drafts) if drafts else [s.guide.mask()]
    for mask in masks:
        if mask.shape != (vocab,):
            raise ValueError(f"a mask of {len(mask)} tokens for a vocabulary of {vocab}")
    return masks
