"""Linear maps with plain, e4m3, int8 or four-bit weights; activations meet an e4m3 weight as e4m3
themselves.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..exact import product
from ..op import op, wide
from .int4 import Int4
from .int8 import Int8

FLOAT8 = torch.float8_e4m3fn
# the largest e4m3 number, and the smallest scale (of a row of zeros)
TOP, TINY = 448.0, 2.0**-100
BLOCK = 128


class Fp8(nn.Module):
    """A weight as e4m3 numbers [..., O, I] and float32 scales that they are multiplied by:
    [..., O], one per output row, or [..., O / 128, I / 128], one per block.
    """

    numbers: Tensor
    scale: Tensor

    def __init__(self, numbers: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.register_buffer("scale", scale)

    @property
    def shape(self) -> torch.Size:
        """The shape of the weight."""
        return self.numbers.shape

    @property
    def group(self) -> int | None:
        """How many inputs share a scale: 128, or None for all of them."""
        return BLOCK if self.scale.ndim == self.numbers.ndim else None

    @property
    def device(self) -> torch.device:
        """Where the weight lies."""
        return self.numbers.device

    def __getitem__(self, index: int) -> Fp8:
        """The weight of one expert."""
        return Fp8(self.numbers[index], self.scale[index])

    def unpack(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight [..., O, I] in `dtype`."""
        numbers, scale = self.numbers.to(dtype), self.scale.to(dtype)
        if self.group is None:
            return numbers * scale[..., None]
        whole = scale.repeat_interleave(BLOCK, -1).repeat_interleave(BLOCK, -2)
        return numbers * whole[..., : numbers.shape[-2], : numbers.shape[-1]]


Weight = Tensor | Fp8 | Int8 | Int4


@op(cuda=".quantise_triton:quantise")
def quantise(x: Tensor, group: int | None = None) -> tuple[Tensor, Tensor]:
    """x [T, I] -> e4m3 numbers [T, I] and float32 scales [T], or [T, I / group]: the largest
    magnitude of a row (or of each `group` of it) over 448, by which x is divided in float32.
    """
    rows = x.float().unflatten(-1, (-1, group or x.shape[-1]))
    most = rows.abs().amax(-1)
    # not by the plain number: CUDA multiplies by its rounded reciprocal then
    scale = (most / torch.full_like(most, TOP)).clamp_min(TINY)
    numbers = (rows / scale[..., None]).clamp(-TOP, TOP).to(FLOAT8).flatten(-2)
    return numbers, scale if group else scale[:, 0]


@op(cuda=".triton:linear")
def linear(x: Tensor, weight: Weight) -> Tensor:
    """x [T, I] times weight [O, I]^T -> [T, O] in x's dtype.

    A plain weight is used as it is. For an e4m3 weight x is quantised per row (or per row and
    group of 128, as the weight is), the products are summed in float32 and scaled there, with the
    row's scale first. For a weight of integers x stays as it is, and the sum is rounded once; in
    int8 it is made of the numbers themselves, and then scaled.
    """
    if isinstance(weight, Tensor):
        return product(x, weight)
    kind = wide(x).dtype
    if isinstance(weight, Int4):
        return product(x.to(kind), weight.unpack(kind)).to(x.dtype)
    if isinstance(weight, Int8):
        found = product(x.to(kind), weight.numbers.to(kind))
        return (found * weight.scale.to(kind)).to(x.dtype)
    numbers, scale = quantise(x, weight.group)
    if weight.group is None:
        found = product(numbers.to(kind), weight.numbers.to(kind))
        return (found * scale.to(kind)[:, None] * weight.scale.to(kind)).to(x.dtype)
    rows = numbers.to(kind).unflatten(-1, (-1, BLOCK)) * scale.to(kind)[..., None]
    return product(rows.flatten(-2), weight.unpack(kind)).to(x.dtype)
