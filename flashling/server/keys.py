"""Who may ask: keys from a file or the environment, compared in constant time."""

from __future__ import annotations

import hmac
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from . import limits

VARIABLE = "FLASHLING_KEYS"


@dataclass(frozen=True)
class Client:
    """Whose request it is: the name in the ledger, and the space whose cached prefixes it sees."""

    name: str
    namespace: str


ANYONE = Client("local", "")


class Keys:
    """Names and the hashes of their keys; none at all lets everyone in."""

    def __init__(self, given: Iterable[tuple[str, str]] = ()) -> None:
        """given: names and keys. ValueError if a key is too short or a name comes twice."""
        self._known: list[tuple[bytes, Client]] = []
        names: set[str] = set()
        for name, key in given:
            low, high = limits.KEY_LENGTH
            if not (low <= len(key) <= high and key.isascii() and key.isprintable()):
                raise ValueError(f"the key of {name!r} needs {low} to {high} ASCII characters")
            if name in names:
                raise ValueError(f"two keys are called {name!r}; give each a name of its own")
            names.add(name)
            hashed = _hashed(key)
            self._known.append((hashed, Client(name, hashed.hex()[:32])))
        if len(self._known) > limits.KEYS:
            raise ValueError(f"{len(self._known)} keys are given; at most {limits.KEYS} are read")

    def __bool__(self) -> bool:
        return bool(self._known)

    def find(self, key: str) -> Client | None:
        """Whose key it is. It takes as long for every key: all are compared."""
        given, found = _hashed(key), None
        for hashed, client in self._known:
            if hmac.compare_digest(hashed, given):
                found = client
        return found

    @classmethod
    def read(cls, file: Path | None, environ: Mapping[str, str] = os.environ) -> Keys:
        """Keys from the lines of a file, "KEY" or "NAME KEY" (# begins a comment line), and from
        the variable FLASHLING_KEYS, separated by commas.
        """
        lines = environ.get(VARIABLE, "").split(",")
        if file is not None:
            if not file.is_file():
                raise ValueError(f"no file of keys at {file}: one key a line, or NAME KEY")
            lines += file.read_text("utf-8").splitlines()
        found: list[tuple[str, str]] = []
        for line in filter(None, (line.strip() for line in lines)):
            if line.startswith("#"):
                continue
            name, _, key = line.rpartition(" ")
            found.append((name.strip() or f"key-{len(found) + 1}", key))
        if file is not None and not found:
            raise ValueError(f"{file} holds no key: one key a line, or NAME KEY")
        return cls(found)


def _hashed(key: str) -> bytes:
    return sha256(key.encode("utf-8", "surrogatepass")).digest()
