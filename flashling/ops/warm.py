"""Kernels compiled before they are needed: those that calls on tensors without numbers launch."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from triton import AsyncCompileMode, JITFunction

from .op import using

Progress = Callable[[int, int], None]
PACKAGE = "flashling.ops."


@dataclass
class Kernel:
    """A kernel as one set of shapes wants it: what Triton made of it, or why it could not."""

    name: str
    compiled: Any = None
    error: Exception | None = None


def compile_kernels(
    calls: Iterable[Callable[[], Any]], progress: Progress | None = None
) -> list[Kernel]:
    """Compile the kernels that `calls` on meta tensors launch, each once, and run none: as many at
    a time as there are cores, since most of a compilation runs outside of Python's lock. What was
    compiled before comes from Triton's cache. progress(done, all) is called from any thread.
    """
    found: dict[int, Any] = {}
    done = 0

    def tell(_: Any = None) -> None:
        nonlocal done
        done += 1
        if progress:
            progress(done, len(found))

    def see(name: str, kernel: Any) -> None:
        if id(kernel) in found:
            return
        found[id(kernel)] = name, kernel
        if hasattr(kernel, "future"):
            kernel.future.add_done_callback(tell)
        else:
            tell()

    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        AsyncCompileMode(pool, ignore_errors=True),
        _launching_nothing(see),
        using("cuda"),
        torch.no_grad(),
        # what the framework compiles by itself has no use for tensors without numbers
        torch.compiler.set_stance("force_eager"),
    ):
        for call in calls:
            call()
    return [_kernel(name, kernel) for name, kernel in found.values()]


def _kernel(name: str, kernel: Any) -> Kernel:
    if not hasattr(kernel, "future"):
        return Kernel(name, kernel)
    error = kernel.future.exception()
    return Kernel(name, None if error else kernel.result(), error)


@contextmanager
def _launching_nothing(see: Callable[[str, Any], None]) -> Iterator[None]:
    """Launches of this thread compile their kernel and tell `see`."""
    run, own = JITFunction.run, threading.get_ident()

    def compile_only(self: Any, *args: Any, grid: Any, warmup: bool, **options: Any) -> Any:
        if threading.get_ident() != own:
            return run(self, *args, grid=grid, warmup=warmup, **options)
        kernel = run(self, *args, grid=grid, warmup=True, **options)
        see(f"{self.module.removeprefix(PACKAGE)}.{self.fn.__name__.lstrip('_')}", kernel)
        return kernel

    JITFunction.run = compile_only
    try:
        yield
    finally:
        JITFunction.run = run
