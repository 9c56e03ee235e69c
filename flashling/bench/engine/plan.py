"""What is measured, as flags and words say it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...config import PRESETS, ModelConfig
from .decode import SPARE
from .recipes import recipe_of


@dataclass(frozen=True)
class Plan:
    """Parts (none: all of them) and cells; of all lists the first are measured first. layers: of
    the model, None for all; seconds: after so many no cell begins, None for no end.
    """

    parts: tuple[str, ...] = ()
    model: str = "ling-2.6-flash"
    recipe: str = "fp8-channel"
    batches: tuple[int, ...] = (1, 64, 256, 16, 4, 128, 32, 8, 2)
    contexts: tuple[int, ...] = (4096, 131072, 32768, 262144)
    prompts: tuple[int, ...] = (8192, 32768, 2048, 131072, 262144)
    layers: int | None = None
    seconds: float | None = None
    commit: str = ""
    out: Path = Path()

    def __post_init__(self) -> None:
        recipe_of(self.recipe)
        if self.model not in PRESETS:
            raise ValueError(f"no model {self.model!r}; there are: {', '.join(PRESETS)}")
        for name in ("batches", "contexts", "prompts"):
            found = getattr(self, name)
            if not found or min(found) < 1:
                raise ValueError(f"{name} {list(found)}: give numbers of 1 at least")
        if not self.out.is_dir():
            raise ValueError(f"no folder {self.out}; make it, or give another as out")

    @property
    def config(self) -> ModelConfig:
        """The model's shape, with positions for the longest context; they cost nothing."""
        c = PRESETS[self.model].with_(num_nextn_predict_layers=0)
        longest = max(*self.contexts, *self.prompts) + SPARE
        positions = max(longest, c.max_position_embeddings)
        layers = self.layers or c.num_hidden_layers
        return c.with_(num_hidden_layers=layers, max_position_embeddings=positions)


def numbers(text: str) -> tuple[int, ...]:
    """Whole numbers between commas. ValueError if one is none."""
    return tuple(int(n) for n in text.split(","))


READ: dict[str, Callable[[str], Any]] = {
    "model": str,
    "recipe": str,
    "batches": numbers,
    "contexts": numbers,
    "prompts": numbers,
    "layers": int,
    "seconds": float,
    "commit": str,
    "out": Path,
}


def words(arguments: Sequence[str], known: dict[str, Callable[[str], Any]]) -> dict[str, Any]:
    """The fields of a plan: `parts`, the words without a value, and what the others, as
    `recipe=int4`, say of a `known` name. ValueError naming the word that cannot be read.
    """
    found: dict[str, Any] = {"parts": tuple(a for a in arguments if "=" not in a)}
    for word in (a for a in arguments if "=" in a):
        name, _, text = word.partition("=")
        if name not in known:
            raise ValueError(f"there is no {name!r} to change; there are: {', '.join(known)}")
        try:
            found[name] = known[name](text)
        except ValueError:
            raise ValueError(f"{word}: give numbers, with commas between several") from None
    return found


def read(arguments: Sequence[str]) -> Plan:
    """The plan of words as `decode prefill recipe=int4 batches=1,4`; as `words` refuses."""
    return Plan(**words(arguments, READ))
