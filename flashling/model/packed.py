"""A model whose linear maps hold weights in few bits."""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
from torch import Tensor, nn

from .. import ops
from ..quant import FP8, FP8_BLOCK, INT8, Scheme
from .ling import Ling

# elements packed at once
SLAB = 1 << 28
# what the published fp8 files store in e4m3; kv_b is unpacked there for the absorbed form
LINEAR = frozenset(("qkvg", "o", "qkv_a", "q_b", "gate_up", "down"))
HEAD = "head"
Packed = ops.Fp8 | ops.Int8 | ops.Int4


def replace(
    model: Ling,
    make: Callable[[str, Tensor], Packed],
    names: Container[str] | None = None,
) -> Ling:
    """Put make(name, weight) in the place of every linear weight [..., O, I] but the head, or of
    those that `names` has, in place.
    """
    for name, weight in list(model.named_parameters()):
        path, _, last = name.rpartition(".")
        if last in LINEAR if names is None else name in names:
            module = model.get_submodule(path)
            delattr(module, last)
            setattr(module, last, make(name, weight))
    return model


def to_fp8(model: Ling, blocks: bool = False) -> Ling:
    """Quantise a model's linear weights in place: per output channel, or in 128x128 blocks."""
    scheme = FP8_BLOCK if blocks else FP8
    return replace(model, lambda _, weight: pack(weight, scheme))


@torch.no_grad()
def pack(weight: Tensor, scheme: Scheme) -> Packed:
    """A weight [..., O, I] as kernels take it: in int4, in e4m3 by channel or block, or [O, I] in
    int8 by channel.
    """
    rows, columns = weight.shape[-2:]
    # experts above each other, so many at a time that the numbers on the way stay few; blocks of
    # scales must not lie across two of them
    together = 1 if rows % (scheme.block[0] or rows) else max(1, SLAB // (rows * columns))
    flat = weight.reshape(-1, columns)
    parts = [scheme.pack(part) for part in flat.split(rows * together)]
    scale = torch.cat([part[scheme.scale_name] for part in parts])
    if scheme is INT8:
        return ops.Int8(torch.cat([part["weight"] for part in parts]), scale.float()[:, 0])
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
