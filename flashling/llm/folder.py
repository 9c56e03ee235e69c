"""Where a model's folder is."""

from __future__ import annotations

from pathlib import Path

from .. import nano


def folder_of(path: str | Path | None) -> Path:
    """The folder of a model, or the embedded one's. ValueError if there is none."""
    folder = nano.path() if path in (None, "embedded") else Path(str(path))
    if not folder.is_dir():
        raise ValueError(f"no folder {folder}: give a model's folder, or leave it out")
    return folder
