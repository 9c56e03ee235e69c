"""Exact mode: a row's bits depend on that row and on what it has read, never on its company.

A BLAS gives a row other bits among other numbers of rows, and a vectorised sigmoid other bits at
the end of a tensor than inside. Bodies make their products and sigmoids here; in exact mode these
always meet the library in the same shape, or in a form that has no ends. Kernels ask `is_exact`
where they choose a form by the number of rows. See docs/numerics.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor

# rows of a product in exact mode: of the bodies, and of the library on CUDA
ROWS, CUDA_ROWS = 16, 64

# set only by `exactly`; a plain name, so that a tracer sees it
on = False


@contextmanager
def exactly() -> Iterator[None]:
    """Exact mode for all ops inside; what each promises stands in docs/numerics.md."""
    global on
    before, on = on, True
    try:
        yield
    finally:
        on = before


def is_exact() -> bool:
    """Whether exact mode is on."""
    return on


def product(x: Tensor, weight: Tensor, size: int = ROWS) -> Tensor:
    """x [..., I] times weight [O, I]^T -> [..., O]; in exact mode in blocks of `size` rows, the
    last one filled up with zeros.
    """
    if not on:
        return F.linear(x, weight)
    rows = x.reshape(-1, x.shape[-1])
    # a copy even if nothing is missing: a view could have strides of its own
    full = rows.new_zeros(-(-len(rows) // size) * size, rows.shape[1])
    full[: len(rows)] = rows
    outs = [F.linear(block, weight) for block in full.split(size)]
    return torch.cat(outs)[: len(rows)].reshape(*x.shape[:-1], len(weight))


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """a [..., n, k] times b [..., k, m] with the same axes before -> [..., n, m]; in exact mode
    one `product` after the other.
    """
    if not on:
        return a @ b
    # contiguous: a layout of its own gives bits of its own
    pairs = zip(a.flatten(0, -3), b.mT.contiguous().flatten(0, -3), strict=True)
    return torch.stack([product(x, y) for x, y in pairs]).unflatten(0, a.shape[:-2])


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), in exact mode from its parts."""
    return 1 / (1 + torch.exp(-x)) if on else torch.sigmoid(x)


def silu(x: Tensor) -> Tensor:
    """x * sigmoid(x), in exact mode from its parts."""
    return x / (1 + torch.exp(-x)) if on else F.silu(x)
