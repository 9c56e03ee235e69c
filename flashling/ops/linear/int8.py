"""Weights of eight-bit integers with a scale for each output."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Int8(nn.Module):
    """A weight as int8 numbers [..., O, I] and the float32 scales [..., O] of its outputs."""

    numbers: Tensor
    scale: Tensor
    # how many inputs share a scale: None, all of them
    group: None = None

    def __init__(self, numbers: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("numbers", numbers)
        self.register_buffer("scale", scale)

    @property
    def shape(self) -> torch.Size:
        """The shape of the weight."""
        return self.numbers.shape

    @property
    def device(self) -> torch.device:
        """Where the weight lies."""
        return self.numbers.device

    def __getitem__(self, index: int) -> Int8:
        """The weight of one expert."""
        return Int8(self.numbers[index], self.scale[index])

    def unpack(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight [..., O, I] in `dtype`; float64 has the products that float32 rounds."""
        kind = torch.promote_types(dtype, torch.float32)
        return (self.numbers.to(kind) * self.scale.to(kind)[..., None]).to(dtype)
