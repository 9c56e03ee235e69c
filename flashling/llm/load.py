"""A model's folder as parts of an LLM."""

from __future__ import annotations

from pathlib import Path

import torch

from ..model import compact, weights
from ..model.ling import Ling
from ..text.tokenizer import Tokenizer
from .folder import folder_of


def load(
    path: str | Path | None, dtype: torch.dtype | str | None, device: torch.device | str | None
) -> tuple[Ling, Tokenizer]:
    """What the folder `path` holds, or the embedded model; arguments as `LLM` takes them.
    ValueError names what is wrong with the folder and how to go on.
    """
    is_embedded, folder = path in (None, "embedded"), folder_of(path)
    tokenizer = Tokenizer.read(folder)
    has_gpu = torch.cuda.is_available() and not is_embedded
    place = torch.device(device or ("cuda" if has_gpu else "cpu"))
    usual = torch.float32 if place.type == "cpu" else torch.bfloat16
    kind = _dtype(dtype) or usual
    # kernels take quantised weights as they are; a CPU is quicker with plain ones
    is_plain = place.type == "cpu"
    model = weights.read(folder, kind) if is_plain else compact.read(folder, kind, place)
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, config.json "
            f"{model.config.vocab_size}; fetch both from the same release"
        )
    return model, tokenizer


def _dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    if given is None or isinstance(given, torch.dtype):
        return given
    known = {"float64", "float32", "bfloat16"}
    if given not in known:
        raise ValueError(f"dtype {given!r} is not one of {', '.join(sorted(known))}")
    return getattr(torch, given)
