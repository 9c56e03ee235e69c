"""The op decorator: a function's body is its meaning, kernels register on it by device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib import import_module
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

F = TypeVar("F", bound=Callable[..., Any])

# set only by `using`; a plain name, so that a tracer sees it
forced: str | None = None


def op(**kernels: str) -> Callable[[F], F]:
    """Make a function an op. `cuda=".triton:norm"` names the kernel for a device type as
    module:function relative to the op's module; it is imported at its first use, so that a CPU
    machine never loads Triton. `cuda="compile"` is the body itself, compiled: the gradient of a
    chain of small steps in one pass. The device is that of the first argument.
    """

    def define(body: F) -> F:
        ready: dict[str, Callable[..., Any]] = {}

        def load(kind: str) -> Callable[..., Any]:
            if kind not in kernels:
                return body
            if kernels[kind] == "compile":
                return torch.compile(body)
            module, name = kernels[kind].split(":")
            return getattr(import_module(module, body.__module__), name)

        @wraps(body)
        def call(x: Tensor, *args: Any, **options: Any) -> Any:
            kind = forced or x.device.type
            if kind not in ready:
                ready[kind] = load(kind)
            return ready[kind](x, *args, **options)

        # attributes that a function's type does not declare
        vars(call).update(body=body, kernels=kernels)
        return cast(F, call)

    return define


@contextmanager
def using(kind: str) -> Iterator[None]:
    """Force the kernels registered under `kind` everywhere; `using("body")` forces the bodies."""
    global forced
    before, forced = forced, kind
    try:
        yield
    finally:
        forced = before


def wide(x: Tensor) -> Tensor:
    """x in the type that sums are made in: float64 stays, everything narrower becomes float32."""
    return x if x.dtype == torch.float64 else x.float()
