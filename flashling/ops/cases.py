"""Cases: the shapes that matter for an op, written once for tests, benchmarks and tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

OPS = (
    "norm",
    "rope",
    "linear",
    "normed",
    "lightning",
    "mla",
    "route",
    "experts",
    "sample",
    "state",
    "step",
)


@dataclass(frozen=True)
class Case:
    """One use of an op.

    inputs(make) gives the op's arguments; make(*shape) draws a normal tensor of the dtype under
    test and make.device is where it lives. `size` is "small" (a laptop) or "full" (one GPU).
    `tol` bounds the relative error (2-norm) against the body in float64: for float32, bfloat16.
    """

    op: Callable[..., Any]
    name: str
    inputs: Callable[[Maker], tuple[Any, ...]]
    size: str = "small"
    tol: tuple[float, float] = (1e-5, 2e-2)
    # whether each row's bits do not depend on the other rows
    is_row_invariant: bool = False

    def __str__(self) -> str:
        return f"{self.op.__name__}-{self.name}"


@dataclass
class Maker:
    """Draws the inputs of a case: the same values for a seed in every dtype. `source` is where
    they are drawn: a GPU draws other ones than a CPU, sooner. On the meta device there are none.
    """

    dtype: torch.dtype
    device: torch.device
    seed: int = 0
    source: torch.device = torch.device("cpu")

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.source).manual_seed(self.seed)

    def __call__(self, *shape: int, scale: float = 1.0, dtype: torch.dtype | None = None) -> Tensor:
        """A normal tensor times `scale`, rounded to bfloat16 so that every dtype holds it."""
        if self.device.type == "meta":
            return torch.empty(shape, dtype=dtype or self.dtype, device=self.device)
        x = torch.randn(shape, generator=self.generator, device=self.source).mul_(scale)
        return x.bfloat16().to(self.device, dtype or self.dtype)

    def integers(self, high: int, *shape: int) -> Tensor:
        """Uniform integers below `high`, int64."""
        if self.device.type == "meta":
            return torch.empty(shape, dtype=torch.int64, device=self.device)
        x = torch.randint(0, high, shape, generator=self.generator, device=self.source)
        return x.to(self.device)


def all_cases(size: str = "small") -> list[Case]:
    """Every case of every op of that size."""
    found = []
    for name in OPS:
        module = import_module(f".{name}.cases", __package__)
        found += [c for c in module.cases if c.size == size]
    return found
