"""A model whose linear maps hold weights in few bits."""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
from torch import Tensor, nn

from .. import ops
from ..quant import FP8, FP8_BLOCK, Scheme
from .ling import Ling

# elements packed at once
SLAB = 1 << 28
# what the published fp8 files store in e4m3; kv_b is unpacked there for the absorbed form
LINEAR = frozenset(("qkvg", "o", "qkv_a", "q_b", "gate_up", "down"))


def replace(
    model: Ling,
    make: Callable[[str, Tensor], ops.Fp8 | ops.Int4],
    names: Container[str] | None = None,
) -> Ling:
    """Put make(name, weight) in the place of every linear weight [..., O, I], or of those that
    `names` has, in place.
    """
    for path, module in list(model.named_modules()):
        for name in LINEAR & {n for n, _ in module.named_parameters(recurse=False)}:
            if names is not None and f"{path}.{name}" not in names:
                continue
            weight = getattr(module, name)
            delattr(module, name)
            setattr(module, name, make(f"{path}.{name}", weight))
    return model


def to_fp8(model: Ling, blocks: bool = False) -> Ling:
    """Quantise a model's linear weights in place: per output channel, or in 128x128 blocks."""
    scheme = FP8_BLOCK if blocks else FP8
    return replace(model, lambda _, weight: pack(weight, scheme))


@torch.no_grad()
def pack(weight: Tensor, scheme: Scheme) -> ops.Fp8 | ops.Int4:
    """A weight [..., O, I] as kernels take it: in int4, or in e4m3 by channel or block."""
    rows, columns = weight.shape[-2:]
    # experts above each other, so many at a time that the numbers on the way stay few; blocks of
    # scales must not lie across two of them
    together = 1 if rows % (scheme.block[0] or rows) else max(1, SLAB // (rows * columns))
    flat = weight.reshape(-1, columns)
    parts = [scheme.pack(part) for part in flat.split(rows * together)]
    scale = torch.cat([part[scheme.scale_name] for part in parts])
    if scheme.kind == "int":
        fours = [ops.Int4.pack(part["weight_packed"], part[scheme.scale_name]) for part in parts]
        words, front = torch.cat([four.words for four in fours]), weight.shape[:-1]
        return ops.Int4(words.view(*front, -1), scale.view(*front, -1))
    numbers = torch.cat([part["weight"] for part in parts]).view(weight.shape)
    across = (-1, scale.shape[-1]) if scheme is FP8_BLOCK else (rows,)
    return ops.Fp8(numbers, scale.float().view(*weight.shape[:-2], *across))


def parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a weight that is never trained."""
    module.register_parameter(name, nn.Parameter(value, requires_grad=False))
