"""A model's folder as parts of an LLM."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch

from ..engine.request import check_drafts
from ..engine.warm import warm
from ..model import compact, weights
from ..model.ling import Ling
from ..model.stage import Spent
from ..text.tokenizer import Tokenizer
from .folder import folder_of


@dataclass
class Startup:
    """What a start on a GPU took: reading, and the seconds in which kernels were compiled while
    weights were read.
    """

    spent: Spent = field(default_factory=Spent)
    kernels: float = 0.0

    def __str__(self) -> str:
        return f"{self.spent}, kernels beside them {self.kernels:.1f} s"


def load(
    path: str | Path | None,
    dtype: torch.dtype | str | None,
    device: torch.device | str | None,
    exact: bool = False,
    drafts: int | None = None,
) -> tuple[Ling, Tokenizer, Startup | None]:
    """What the folder `path` holds, or the embedded model; arguments as `LLM` takes them. On a GPU
    the kernels are compiled while the weights are read, and what that took is told. ValueError
    names what is wrong with the folder and how to go on.
    """
    check_drafts(drafts)
    is_embedded, folder = path in (None, "embedded"), folder_of(path)
    tokenizer = Tokenizer.read(folder)
    has_gpu = torch.cuda.is_available() and not is_embedded
    place = torch.device(device or ("cuda" if has_gpu else "cpu"))
    usual = torch.float32 if place.type == "cpu" else torch.bfloat16
    kind = _dtype(dtype) or usual
    startup = None
    # kernels take quantised weights as they are; a CPU is quicker with plain ones
    if place.type == "cpu":
        model = weights.read(folder, kind)
    else:
        startup, compiling = Startup(), Compiling(exact, drafts)
        try:
            model = compact.read(folder, kind, place, begun=compiling.begin, spent=startup.spent)
        finally:
            # it sends every op of this process to kernels meanwhile
            startup.kernels = compiling.end()
    if tokenizer.vocab_size > model.config.vocab_size:
        raise ValueError(
            f"{folder}: tokenizer.json has {tokenizer.vocab_size} tokens, config.json "
            f"{model.config.vocab_size}; fetch both from the same release"
        )
    return model, tokenizer, startup


def drafts_of(model: Ling, wanted: int | None) -> int:
    """Drafts of a sequence in a step: so many as are wanted, or where nobody says, one on a GPU if
    the model has an MTP layer, else none.
    """
    if wanted is not None:
        return wanted
    return int(model.head.device.type == "cuda" and len(model.mtp) > 0)


class Compiling:
    """Kernels that are compiled in a thread of its own, for a model whose weights are not there."""

    def __init__(self, exact: bool = False, drafts: int | None = None) -> None:
        self._exact, self._drafts, self._seconds = exact, drafts, 0.0
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None

    def begin(self, model: Ling) -> None:
        """Start."""
        self._thread = threading.Thread(target=self._run, args=[model], daemon=True)
        self._thread.start()

    def end(self) -> float:
        """Wait; the seconds it took. RuntimeError names kernels that do not compile."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._seconds

    def _run(self, model: Ling) -> None:
        began = perf_counter()
        try:
            warm(model, exact=self._exact, drafts=drafts_of(model, self._drafts))
            self._seconds = perf_counter() - began
        except Exception as error:
            self._error = error


def _dtype(given: torch.dtype | str | None) -> torch.dtype | None:
    if given is None or isinstance(given, torch.dtype):
        return given
    known = {"float64", "float32", "bfloat16"}
    if given not in known:
        raise ValueError(f"dtype {given!r} is not one of {', '.join(sorted(known))}")
    return getattr(torch, given)
