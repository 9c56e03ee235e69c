"""Stop strings: where a text ends before the model ends it."""

from __future__ import annotations

from collections.abc import Sequence


class Stops:
    """Text in, text out up to the first stop string, which is cut off. What may still become one
    is held back. How the text is split makes no difference.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        self.strings = tuple(strings)
        self.is_hit = False
        self._held = ""

    def push(self, text: str) -> str:
        """The text that is safe to show; after a hit nothing."""
        if self.is_hit:
            return ""
        text, self._held = self._held + text, ""
        # the one that is whole first, so that it does not depend on how the text is split
        found = [(text.find(s) + len(s), text.find(s)) for s in self.strings if s in text]
        if found:
            self.is_hit = True
            return text[: min(found)[1]]
        keep = max((_begun(text, s) for s in self.strings), default=0)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def close(self) -> str:
        """What is still held, when no more text follows it; the next text begins anew."""
        text, self._held = self._held, ""
        return text


def _begun(text: str, stop: str) -> int:
    """How many characters at the end of `text` begin `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
