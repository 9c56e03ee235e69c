"""The tokenizer: a byte-level BPE file and the special tokens, looked up by text."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, trainers
from tokenizers import Tokenizer as Bpe

SPECIALS = (
    "<|endoftext|>",
    "<|role_end|>",
    "<|startoftext|>",
    "<role>",
    "</role>",
    "<tool_call>",
    "</tool_call>",
    "<think>",
    "</think>",
)
# a run of letters; one digit; one Han character; runs of the marks that build JSON; any other mark;
# white space. Nothing is glued to a space or to a quote, so a value has the same tokens wherever it
# stands, and copying it is copying tokens.
PATTERN = r"(?:(?!\p{Han})\p{L})+|\p{N}|\p{Han}|(?:[{}\[\]\":,]| (?=[{\[\"]))+|[^\s\p{L}\p{N}]|\s+"


def _byte_symbols() -> dict[str, int]:
    """The printable character that stands for each byte in a byte-level vocabulary."""
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [b for b in range(256) if b not in shown]
    return {chr(b): b for b in shown} | {chr(256 + i): b for i, b in enumerate(hidden)}


BYTES = _byte_symbols()


class Tokenizer:
    """Text to ids and back. Text from users never becomes a special token."""

    def __init__(self, source: str) -> None:
        """source: the contents of a `tokenizer.json`."""
        self.source = source
        self._all = Bpe.from_str(source)
        plain = json.loads(source)
        if "ByteLevel" not in json.dumps(plain.get("decoder")):
            raise ValueError("its decoder is not ByteLevel; only byte-level vocabularies are read")
        # a second one without the added tokens: their text is then ordinary text
        plain["added_tokens"] = []
        plain["post_processor"] = None
        self._plain = Bpe.from_str(json.dumps(plain))
        added = self._all.get_added_tokens_decoder()
        self._special = {token.content: i for i, token in added.items()}
        self._special_ids = frozenset(added)

    @classmethod
    def read(cls, path: str | Path) -> Tokenizer:
        """The tokenizer of a model's folder, or of a tokenizer.json."""
        file = Path(path)
        file = file / "tokenizer.json" if file.is_dir() else file
        if not file.is_file():
            raise ValueError(f"no tokenizer.json at {file}: give a model's folder or the file")
        try:
            return cls(file.read_text("utf-8"))
        except Exception as error:
            raise ValueError(f"{file} is not a tokenizer: {error}") from None

    def write(self, folder: str | Path) -> None:
        """Write `tokenizer.json` into `folder`."""
        (Path(folder) / "tokenizer.json").write_text(self.source, "utf-8")

    @property
    def vocab_size(self) -> int:
        """Number of ids, special ones included."""
        return self._all.get_vocab_size()

    @property
    def eos_ids(self) -> tuple[int, ...]:
        """The ids that end an answer."""
        return tuple(self.id(t) for t in ("<|role_end|>", "<|endoftext|>") if self.has(t))

    @property
    def specials(self) -> tuple[str, ...]:
        """The texts of the special tokens."""
        return tuple(self._special)

    def has(self, special: str) -> bool:
        """Whether `special` is one token of its own."""
        return special in self._special

    def id(self, special: str) -> int:
        """The id of a special token, by its text."""
        if special not in self._special:
            raise ValueError(f"the tokenizer has no special token {special!r}")
        return self._special[special]

    def encode(self, text: str) -> list[int]:
        """Ids of a user's text; what looks like a special token stays text."""
        return self._plain.encode(text, add_special_tokens=False).ids

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of ids; bytes that are no whole character become replacement characters."""
        kept = [i for i in ids if not (skip_special and i in self._special_ids)]
        return self._all.decode(kept, skip_special_tokens=False)

    def bytes_of(self, token: int) -> bytes:
        """The bytes that `token` stands for, perhaps not whole characters; none where it is only
        padding.
        """
        text = self._all.id_to_token(token)
        if text is None:
            return b""
        # every symbol of the vocabulary stands for a byte; other text stands for itself
        if any(c not in BYTES for c in text):
            return text.encode()
        return bytes(BYTES[c] for c in text)

    def is_special(self, token: int) -> bool:
        """Whether `token` is a special token's id."""
        return token in self._special_ids


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> Tokenizer:
    """A byte-level BPE of `vocab_size` ids learnt from `texts`, the special tokens first."""
    bpe = Bpe(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=[AddedToken(t, special=True, normalized=False) for t in SPECIALS],
    )
    bpe.train_from_iterator(texts, trainer)
    return Tokenizer(bpe.to_str())
