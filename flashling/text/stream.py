"""Text as it streams: only whole characters leave."""

from __future__ import annotations

import codecs

from .tokenizer import Tokenizer


class Stream:
    """Token ids in, text out. A character split over tokens waits for its last byte, so that the
    texts of every `push` and of `close`, joined, are `tokenizer.decode` of all the ids.
    """

    def __init__(self, tokenizer: Tokenizer, skip_special: bool = False) -> None:
        """skip_special: leave special tokens out instead of showing their text."""
        self.tokenizer = tokenizer
        self.skip_special = skip_special
        self._utf8 = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token: int) -> str:
        """The characters that `token` completes; often one, sometimes none."""
        if self.skip_special and self.tokenizer.is_special(token):
            return ""
        return self._utf8.decode(self.tokenizer.bytes_of(token))

    def close(self) -> str:
        """What still waits, as replacement characters; the stream may then be used anew."""
        text = self._utf8.decode(b"", final=True)
        self._utf8.reset()
        return text
