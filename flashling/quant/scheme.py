"""How one weight is stored: small numbers and the scales that they are multiplied by."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

FLOAT8 = torch.float8_e4m3fn
# the smallest scale: normal in bfloat16, so that no machine flushes it to zero
TINY = 2.0**-126
# elements that a search holds at once: few enough for a core's cache, enough to fill a GPU
SLAB, GPU_SLAB = 1 << 18, 1 << 26


@dataclass(frozen=True)
class Scheme:
    """One way of storing a weight [out, in].

    kind, bits: "float" 8 (e4m3) or "int" 4 or 8. block: rows and columns that share a scale, None
    for all of them. packed: integers in int32 words, the first in the lowest bits, instead of a
    tensor of their own type. scale, scale_name: the type and the name of the scales written.
    """

    kind: str
    bits: int
    block: tuple[int | None, int | None]
    packed: bool = False
    scale: torch.dtype = torch.bfloat16
    scale_name: str = "weight_scale"

    def __str__(self) -> str:
        rows, columns = self.block
        shared = {
            "tensor": "per tensor",
            "channel": "per channel",
            "group": f"in groups of {columns}",
            "block": f"in blocks of {rows} x {columns}",
        }[self.strategy]
        return f"{self.kind}{self.bits} {shared}"

    @property
    def strategy(self) -> str:
        """The published word for `block`: tensor, channel, group or block."""
        rows, columns = self.block
        if rows == 1:
            return "group" if columns else "channel"
        return "block" if rows else "tensor"

    def block_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of a weight of `shape` that share a scale."""
        rows, columns = self.block
        return rows or shape[0], columns or shape[1]

    def scale_shape(self, shape: tuple[int, ...]) -> tuple[int, int]:
        """The shape of the scales of a weight of `shape`."""
        rows, columns = self.block_of(shape)
        return math.ceil(shape[0] / rows), math.ceil(shape[1] / columns)

    def width(self, shape: tuple[int, ...]) -> int:
        """Columns of the stored numbers: inputs, or int32 words that hold them."""
        return math.ceil(shape[1] * self.bits / 32) if self.packed else shape[1]

    def nbytes(self, shape: tuple[int, ...]) -> int:
        """Bytes that `pack` makes of a weight of `shape`."""
        numbers = shape[0] * self.width(shape) * (4 if self.packed else 1)
        return numbers + math.prod(self.scale_shape(shape)) * self.scale.itemsize + 16 * self.packed

    @torch.no_grad()
    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        """weight [out, in], any float type -> the stored tensors by their last name.

        Scales are rounded to 8 bits of precision, so that a stored number times its scale is exact
        in float32, and packing what was unpacked gives the same values again. Integers get the
        scale of least squared error among some that clip the largest weights.
        ValueError for a weight that is not a matrix or not finite.
        """
        if weight.ndim != 2 or not torch.isfinite(weight).all():
            raise ValueError(f"a weight of shape {list(weight.shape)} must be a finite matrix")
        shape = tuple(weight.shape)
        blocks = _blocked(weight.float(), self.block_of(shape))
        scale = self._scales(blocks)
        numbers = _flat(self._numbers(blocks, scale), shape)
        found = {self.scale_name: scale[:, 0, :, 0].to(self.scale).contiguous()}
        if not self.packed:
            stored = FLOAT8 if self.kind == "float" else torch.int8
            return {"weight": numbers.to(stored), **found}
        words = _to_words(numbers.to(torch.int32), self.bits)
        return {"weight_packed": words, **found, "weight_shape": torch.tensor(shape)}

    @torch.no_grad()
    def unpack(
        self,
        tensors: Mapping[str, Tensor],
        dtype: torch.dtype = torch.float32,
        shape: tuple[int, ...] | None = None,
    ) -> Tensor:
        """The weight [out, in] in `dtype`; computed in float32, so float64 sees the same values.

        `shape` is needed where the tensors do not say it (packed without `weight_shape`).
        """
        if self.packed:
            shape = shape or tuple(int(n) for n in tensors["weight_shape"])
            numbers = _from_words(tensors["weight_packed"], self.bits)[:, : shape[1]].float()
        else:
            numbers = tensors["weight"].float()
        shape = tuple(numbers.shape)
        found = tensors.get("weight_scale", tensors.get("weight_scale_inv"))
        if found is None:
            raise ValueError(f"{self} needs weight_scale or weight_scale_inv")
        scale = found.float().reshape(self.scale_shape(shape))
        rows, columns = self.block_of(shape)
        if shape[0] % rows or shape[1] % columns:
            scale = scale.repeat_interleave(rows, 0)[: shape[0]]
            return (numbers * scale.repeat_interleave(columns, 1)[:, : shape[1]]).to(dtype)
        blocks = numbers.view(shape[0] // rows, rows, shape[1] // columns, columns)
        return (blocks * scale[:, None, :, None]).view(shape).to(dtype)

    def _numbers(self, blocks: Tensor, scale: Tensor) -> Tensor:
        if self.kind == "float":
            return (blocks / scale).clamp(-448, 448)
        top = 2 ** (self.bits - 1)
        return (blocks / scale).round_().clamp_(-top, top - 1)

    def _scales(self, blocks: Tensor) -> Tensor:
        """blocks [R, rows, C, columns] -> scales [R, 1, C, 1] float32 of bfloat16 precision."""
        slab = GPU_SLAB if blocks.is_cuda else SLAB
        step = max(1, slab // max(1, blocks[0].numel()))
        return torch.cat([self._search(part) for part in blocks.split(step)])

    def _search(self, blocks: Tensor) -> Tensor:
        top = blocks.abs().amax((1, 3), keepdim=True)
        if self.kind == "float":
            return _rounded(top / 448)
        best = least = None
        for divisor in divisors(self.bits):
            scale = _rounded(top / divisor)
            error = self._numbers(blocks, scale).mul_(scale).sub_(blocks).square_()
            error = error.sum((1, 3), keepdim=True)
            if best is None or least is None:
                best, least = scale, error
            else:
                # strictly less: of equals the first, which clips least
                best = torch.where(error < least, scale, best)
                least = torch.minimum(error, least)
        assert best is not None
        return best


FP8 = Scheme("float", 8, (1, None))
FP8_BLOCK = Scheme("float", 8, (128, 128), scale=torch.float32, scale_name="weight_scale_inv")
INT4 = Scheme("int", 4, (1, 32), packed=True)
INT4_128 = Scheme("int", 4, (1, 128), packed=True)
INT8 = Scheme("int", 8, (1, None))


def divisors(bits: int) -> list[float]:
    """What the largest weight of a block is divided by to get the scales that are tried.

    Whole numbers come first, the ends of the range before the others: the largest number of a
    block that was stored before is one of them, and its scale is found again.
    """
    top = 2 ** (bits - 1)
    tried = [top * (1 - 0.1) + top * 0.5 * i / 19 for i in range(20)]
    # a scale is rounded to 8 bits, which may move the largest number by one
    others = range(int(tried[0]) - 1, top - 1)
    return [top - 1.0, float(top), *map(float, others), *tried]


def _rounded(scale: Tensor) -> Tensor:
    return scale.clamp_min(TINY).bfloat16().float()


def _blocked(weight: Tensor, block: tuple[int, int]) -> Tensor:
    """[out, in] -> [R, rows, C, columns], filled up with zeros where the last blocks are short."""
    rows, columns = block
    weight = F.pad(weight, (0, -weight.shape[1] % columns, 0, -weight.shape[0] % rows))
    return weight.view(weight.shape[0] // rows, rows, weight.shape[1] // columns, columns)


def _flat(blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
    whole = blocks.reshape(blocks.shape[0] * blocks.shape[1], -1)
    return whole[: shape[0], : shape[1]].contiguous()


def _shifts(bits: int, device: torch.device) -> Tensor:
    return torch.arange(0, 32, bits, dtype=torch.int32, device=device)


def _to_words(numbers: Tensor, bits: int) -> Tensor:
    """Signed integers [out, in] int32 -> [out, words] int32; the last word is filled with zeros."""
    each = 32 // bits
    unsigned = F.pad(numbers + 2 ** (bits - 1), (0, -numbers.shape[1] % each))
    parts = unsigned.view(unsigned.shape[0], -1, each) << _shifts(bits, numbers.device)
    # the fields do not overlap, so the sum is their union; int32 wraps as the top bit wants
    return parts.sum(-1, dtype=torch.int32)


def _from_words(words: Tensor, bits: int) -> Tensor:
    """[out, words] int32 -> signed integers [out, words * 32 / bits] int32."""
    parts = (words[..., None] >> _shifts(bits, words.device)) & (2**bits - 1)
    return parts.flatten(1) - 2 ** (bits - 1)
