"""The embedded model: where its folder is."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """The folder of the embedded model (config.json, tokenizer.json, safetensors parts).

    ValueError when this copy of the package came without it.
    """
    folder = Path(__file__).parent
    if not (folder / "config.json").is_file():
        raise ValueError(
            "this copy of flashling has no embedded model; install a released flashling, or name a "
            "model's folder"
        )
    return folder
