"""Recorded turns: the ids that the model produced stand in for those that its text would get."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Sequence
from hashlib import blake2b

from ..text.template import Rendered


class Turns:
    """What the assistant said, as it was drawn. A text has many spellings in tokens, and a reread
    one is another prefix than the drawn one, of which the past is kept. Known by all that stands
    before a turn and by its reread tokens; the longest unused go first.

    most: tokens that are kept.
    """

    def __init__(self, most: int = 1 << 20) -> None:
        self.most, self.tokens_kept = most, 0
        self._kept: OrderedDict[bytes, list[int]] = OrderedDict()
        self._lock = threading.Lock()

    def splice(self, rendered: Rendered) -> Rendered:
        """The conversation with its recorded turns as they were drawn; without its mask."""
        before, found, at = blake2b(digest_size=16), Rendered(), 0
        for end in rendered.borders:
            turn = self._find(_key(before, rendered.tokens[at:end]), rendered.tokens[at:end])
            before.update(_packed(turn))
            found.tokens += turn
            found.borders.append(len(found.tokens))
            at = end
        found.tokens += rendered.tokens[at:]
        return found

    def record(self, before: Sequence[int], reread: Sequence[int], drawn: Sequence[int]) -> None:
        """Keep a turn: the tokens before it, those that its text gets, those that were drawn; each
        of the two with the turn's opening.
        """
        if list(reread) == list(drawn) or len(drawn) > self.most:
            return
        key = _key(blake2b(_packed(before), digest_size=16), reread)
        with self._lock:
            self.tokens_kept += len(drawn) - len(self._kept.pop(key, ()))
            self._kept[key] = list(drawn)
            while self.tokens_kept > self.most:
                self.tokens_kept -= len(self._kept.popitem(last=False)[1])

    def _find(self, key: bytes, reread: list[int]) -> list[int]:
        with self._lock:
            if key not in self._kept:
                return reread
            self._kept.move_to_end(key)
            return self._kept[key]


def _key(before: blake2b, turn: Sequence[int]) -> bytes:
    whole = before.copy()
    # so that a border cannot move
    whole.update(b"turn" + _packed(turn))
    return whole.digest()


def _packed(tokens: Sequence[int]) -> bytes:
    return array("I", tokens).tobytes()
