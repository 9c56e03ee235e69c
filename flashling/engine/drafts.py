"""Tokens guessed ahead: from the text itself, or by the MTP layer."""

from __future__ import annotations

from collections.abc import Sequence as Items

import torch
from torch import Tensor

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from ..ops import CHUNK
from ..ops.device import current
from .cache import Cache
from .past import Paged
from .request import Sequence


def room_for_drafts(s: Sequence) -> int:
    """How many drafts may follow the sequence's last token: all in its chunk (a fold cannot be
    undone), none that could not be drawn, and no more than its last ones make promising.
    """
    in_chunk = CHUNK - 1 - (len(s.tokens) - 1) % CHUNK
    return max(0, min(in_chunk, s.most - len(s.tokens) - 1, int(s.reach)))


def heed(s: Sequence, drafted: int, accepted: int) -> None:
    """Adapt how far a sequence's drafts reach: one further after all were taken, else half the way
    back to one more than were. A single draft is always tried.
    """
    if accepted == drafted:
        s.reach = min(s.reach + 1, CHUNK)
    else:
        s.reach = (s.reach + accepted + 1) / 2


class Pace:
    """How many drafts a sequence has in recorded steps: `most`, while the tokens that it gets in
    one, in the mean of the last ones, pay for them; else none, and after a pause they are tried
    again.
    """

    # what a draft costs, as a part of a plain step (docs/full-size.md: 0.55 and 0.58 for one of a
    # lone sequence and of 16); steps in the mean; plain steps of a pause, whose rows are held
    COST, WINDOW, PAUSE = 0.55, 32, 256

    def __init__(self, most: int) -> None:
        self.most, self._left = most, 0
        self._begin()

    def _begin(self) -> None:
        # half way to all taken: where none is it takes some ten steps to tell
        self._mean = (self._worth + 1 + self.most) / 2

    @property
    def _worth(self) -> float:
        return 1 + self.COST * self.most

    @property
    def drafts(self) -> int:
        """Drafts of a sequence in the next step."""
        return 0 if self._left else self.most

    def heed(self, drafts: int, tokens: float) -> None:
        """A step of so many drafts has given a sequence so many tokens, in the mean."""
        if not drafts:
            self._left = max(0, self._left - 1)
            return
        self._mean += (tokens - self._mean) / self.WINDOW
        if self._mean < self._worth:
            self._left = self.PAUSE
            self._begin()


def propose(tokens: Items[int], most: int, longest: int = 3) -> list[int]:
    """Prompt lookup: what followed the latest earlier place that ends like `tokens`, at most so
    many tokens; the longest ending of up to `longest` tokens counts (github.com/apoorvumang/
    prompt-lookup-decoding).
    """
    if most <= 0:
        return []
    text = list(tokens)
    for size in range(min(longest, len(text) - 1), 0, -1):
        end = text[-size:]
        for at in range(len(text) - size - 1, -1, -1):
            if text[at : at + size] == end:
                return text[at + size : at + size + most]
    return []


def guess_head(model: Ling) -> ops.Weight:
    """What guesses are made with: where a GPU computes with e4m3 and the head is plain, a copy in
    that by output channel. It has half the bytes, and a worse guess is only taken more seldom.
    """
    head = model.head
    return ops.Fp8(*ops.quantise(head)) if _is_copied(head) else head


def guess_bytes(model: Ling) -> int:
    """Bytes that `guess_head` takes beside the model."""
    head = model.head
    return head.numel() + 4 * len(head) if _is_copied(head) else 0


def _is_copied(head: ops.Weight) -> bool:
    is_plain = isinstance(head, Tensor) and head.dtype == torch.bfloat16
    return is_plain and head.device.type != "cpu" and current().has_e4m3


def guess(hidden: Tensor, head: ops.Weight) -> Tensor:
    """The likeliest tokens [N] int64 after rows hidden [N, D] of the MTP layer."""
    return ops.linear(hidden, head).argmax(-1)


class Guesser:
    """Drafts of the MTP layer, which reads every row that the model has read; those of recorded
    steps without drafts later, before anything else asks for them.
    """

    def __init__(self, model: Ling, cache: Cache) -> None:
        self.cache = cache
        self.take(model)

    def take(self, model: Ling) -> None:
        """Guess with these weights from now on."""
        self.model, self.head = model, guess_head(model)

    def read(self, sequences: Items[Sequence], rows: Items[Tensor], most: int) -> None:
        """Take in the newest rows of each sequence: rows[n] [r, D] are the final hidden rows of its
        last r read tokens. Those that await a draw get up to `most` drafts.
        """
        rows = [torch.cat([*s.owed, r]) for s, r in zip(sequences, rows, strict=True)]
        firsts = [s.done - len(r) for s, r in zip(sequences, rows, strict=True)]
        after = [s.tokens[f + 1 : s.done + 1] for s, f in zip(sequences, firsts, strict=True)]
        hidden = self._run(sequences, torch.cat(rows), firsts, after)
        for s in sequences:
            s.owed = []
        asking = [
            (s, h) for s, h in zip(sequences, hidden, strict=True) if s.left == 1 and not s.drafts
        ]
        wanted = [min(most, room_for_drafts(s)) for s, _ in asking]
        going = [(s, h, w) for (s, h), w in zip(asking, wanted, strict=True) if w > 0]
        while going:
            live = [s for s, _, _ in going]
            last = torch.stack([h for _, h, _ in going])
            for s, token in zip(live, guess(last, self.head).tolist(), strict=True):
                s.drafts.append(token)
            left = [i for i, (s, _, w) in enumerate(going) if len(s.drafts) < w]
            live = [live[i] for i in left]
            if not live:
                return
            # a draft's own draft: the layer reads its guess as if it had been drawn
            firsts = [len(s.tokens) + len(s.drafts) - 2 for s in live]
            ends = [[s.drafts[-1]] for s in live]
            hidden = self._run(live, last[left], firsts, ends)
            going = [(s, h, going[i][2]) for s, h, i in zip(live, hidden, left, strict=True)]

    def settle(self, sequences: Items[Sequence], most: int = 0) -> None:
        """As `read`, of those of whom it has not read all, what it has not."""
        behind = [s for s in sequences if s.owed]
        if behind:
            self.read(behind, [s.owed[0][:0] for s in behind], most)

    def follow(self, places: Items[tuple[Sequence, int, int]], hidden: Tensor, most: int) -> None:
        """As `read`, after a step that gave hidden [T, D]: for each sequence its first row of
        those, and what it had read before.
        """
        # those that end too, for what is kept of them; a failed one has no next token
        read = [(s, hidden[a : a + s.done - first]) for s, a, first in places if s.left]
        if read:
            self.read([s for s, _ in read], [rows for _, rows in read], most)

    def _run(
        self, sequences: Items[Sequence], hidden: Tensor, firsts: list[int], after: list[list[int]]
    ) -> list[Tensor]:
        """The layer over pairs of rows and the tokens after them; its last row of each sequence."""
        batch = Batch.pack(after, first=firsts, device=hidden.device)
        past = Paged(self.cache, batch, sequences, firsts, first=1)
        out = self.model.mtp_hidden(hidden, batch, past, following=batch.tokens)
        return [out[i] for i in batch.last_rows]
