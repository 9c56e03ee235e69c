"""`flashling shell`: the key that turns a typed line into a command."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Literal

SNIPPETS = Path(__file__).with_name("snippets")
FILES = {"bash": "key.bash", "zsh": "key.zsh", "fish": "key.fish"}


def shell(kind: Literal["bash", "zsh", "fish"], /, *, key: str = "j") -> None:
    """Print a snippet that binds a key. Use it with: eval "$(flashling shell bash)"

    Type what you want in your own words and press Alt-j (or Escape, then j): the line becomes a
    command, with what its flags do beside it. It is never run. Press again for another one.
    fish: flashling shell fish | source

    Parameters
    ----------
    kind
        Your shell. bash must be 4 or newer.
    key
        Another letter for Alt.
    """
    if len(key) != 1 or not key.isascii() or not key.isalnum():
        raise ValueError(f"key {key!r} must be one letter or digit, pressed together with Alt")
    text = (SNIPPETS / FILES[kind]).read_text("utf-8")
    # the very program that printed it: it need not be on the path
    program = f"{shlex.quote(sys.executable)} -m flashling"
    print(text.replace("@FLASHLING@", program).replace("@KEY@", key), end="")
