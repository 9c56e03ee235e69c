"""Recorded turns: the ids that the model produced stand in for those that its text would get."""

from __future__ import annotations

import threading
from array import array
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from ..text.template import Rendered

KEY_BYTES = 16


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

    def splice(self, rendered: Rendered) -> tuple[Rendered, dict[bytes, list[int]]]:
        """The conversation with its recorded turns as they were drawn, without its mask; and those
        turns by their keys.
        """
        before, found, at = blake2b(digest_size=KEY_BYTES), Rendered(), 0
        turns: dict[bytes, list[int]] = {}
        for end in rendered.borders:
            turn = rendered.tokens[at:end]
            key = _key(before, turn)
            if (drawn := self._find(key)) is not None:
                turn = turns[key] = drawn
            before.update(_packed(turn))
            found.tokens += turn
            found.borders.append(len(found.tokens))
            at = end
        found.tokens += rendered.tokens[at:]
        return found, turns

    def record(
        self, before: Sequence[int], reread: Sequence[int], drawn: Sequence[int]
    ) -> dict[bytes, list[int]]:
        """Keep a turn: the tokens before it, those that its text gets, those that were drawn; each
        of the two with the turn's opening. What was kept, by its key: nothing if they are equal.
        """
        if list(reread) == list(drawn):
            return {}
        turn = {_key(blake2b(_packed(before), digest_size=KEY_BYTES), reread): list(drawn)}
        self.add(turn)
        return turn

    def add(self, turns: Mapping[bytes, list[int]]) -> None:
        """Keep turns by their keys, as `splice` and `record` told them."""
        with self._lock:
            for key, drawn in turns.items():
                if len(drawn) > self.most:
                    continue
                self.tokens_kept += len(drawn) - len(self._kept.pop(key, ()))
                self._kept[key] = drawn
                while self.tokens_kept > self.most:
                    self.tokens_kept -= len(self._kept.popitem(last=False)[1])

    def _find(self, key: bytes) -> list[int] | None:
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)


def _key(before: blake2b, turn: Sequence[int]) -> bytes:
    whole = before.copy()
    # so that a border cannot move
    whole.update(b"turn" + _packed(turn))
    return whole.digest()


def _packed(tokens: Sequence[int]) -> bytes:
    return array("I", tokens).tobytes()
