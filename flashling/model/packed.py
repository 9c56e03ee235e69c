"""A model whose linear maps hold e4m3 weights."""

from __future__ import annotations

from collections.abc import Callable, Container

import torch
from torch import Tensor, nn

from .. import ops
from ..quant import FP8, FP8_BLOCK
from .ling import Ling

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


@torch.no_grad()
def to_fp8(model: Ling, blocks: bool = False) -> Ling:
    """Quantise a model's linear weights in place: per output channel, or in 128x128 blocks."""

    def one(weight: Tensor) -> tuple[Tensor, Tensor]:
        scheme = FP8_BLOCK if blocks else FP8
        parts = scheme.pack(weight)
        scale = parts[scheme.scale_name].float()
        return parts["weight"], scale if blocks else scale[:, 0]

    def make(_: str, weight: Tensor) -> ops.Fp8:
        if weight.ndim == 2:
            return ops.Fp8(*one(weight))
        numbers, scales = zip(*map(one, weight), strict=True)
        return ops.Fp8(torch.stack(numbers), torch.stack(scales))

    return replace(model, make)


def parameter(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a weight that is never trained."""
    module.register_parameter(name, nn.Parameter(value, requires_grad=False))
