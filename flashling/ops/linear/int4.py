"""Weights of four bits: 32 or 128 inputs share a scale, and 32 one load of a thread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

# how many inputs may share a scale
GROUPS = (32, 128)
# inputs whose words stand together, those words, and the numbers of one word
UNIT, WORDS, EACH = 32, 4, 8


class Int4(nn.Module):
    """A weight as int32 words [..., O, I / 8] of numbers q + 8, and bfloat16 scales
    [..., O, I / group] that each q of a group of inputs is multiplied by. ValueError for a group of
    another size than 32 or 128.

    Field i of word j of 32 inputs, from the lowest bits, is their input 4 i + j: the inputs of one
    field lie side by side, so that a kernel reads their activations as one piece.
    """

    words: Tensor
    scale: Tensor

    def __init__(self, words: Tensor, scale: Tensor) -> None:
        super().__init__()
        inputs, scales = words.shape[-1] * EACH, scale.shape[-1]
        if all(inputs != group * scales for group in GROUPS):
            raise ValueError(
                f"{inputs} inputs with {scales} scales are not in groups of 32 or 128; unpack the "
                "weight, or quantise it again as int4 or int4-128"
            )
        self.register_buffer("words", words)
        self.register_buffer("scale", scale)

    @classmethod
    def pack(cls, words: Tensor, scale: Tensor) -> Int4:
        """The weight of published words, where field i of word j is input 8 j + i of 32."""
        return cls(_regrouped(words, (WORDS, EACH), (EACH, WORDS)), scale)

    def published(self) -> Tensor:
        """The words [..., O, I / 8] that `pack` was given."""
        return _regrouped(self.words, (EACH, WORDS), (WORDS, EACH))

    @property
    def shape(self) -> torch.Size:
        """The shape of the weight."""
        return torch.Size((*self.words.shape[:-1], self.words.shape[-1] * EACH))

    @property
    def group(self) -> int:
        """How many inputs share a scale: 32 or 128."""
        return self.words.shape[-1] * EACH // self.scale.shape[-1]

    @property
    def device(self) -> torch.device:
        """Where the weight lies."""
        return self.words.device

    def __getitem__(self, index: int) -> Int4:
        """The weight of one expert."""
        return Int4(self.words[index], self.scale[index])

    def unpack(self, dtype: torch.dtype = torch.float32) -> Tensor:
        """The weight [..., O, I] in `dtype`; every product is exact in float32."""
        fields = (self.words.unflatten(-1, (-1, 1, WORDS)) >> _shifts(self.words)) & 15
        numbers = (fields - 8).to(torch.float32).flatten(-3).unflatten(-1, (-1, self.group))
        return (numbers * self.scale.float()[..., None]).flatten(-2).to(dtype)


def _shifts(words: Tensor) -> Tensor:
    """How far each field [8, 1] lies from the lowest bits."""
    return torch.arange(0, 32, 4, dtype=torch.int32, device=words.device)[:, None]


def _regrouped(words: Tensor, old: tuple[int, int], new: tuple[int, int]) -> Tensor:
    """Words whose units count their inputs along `old`, counted along `new`: with the words of a
    unit last, fields lie side by side.
    """
    if words.ndim > 2:
        # the fields of one expert at a time: they take eight times the words' room
        return torch.stack([_regrouped(one, old, new) for one in words])
    units, shifts = words.unflatten(-1, (-1, 1, WORDS)), _shifts(words)
    fields = (units >> shifts) & 15
    inputs = fields if old[1] == WORDS else fields.transpose(-1, -2)
    fields = inputs.flatten(-2).unflatten(-1, new)
    fields = fields if new[1] == WORDS else fields.transpose(-1, -2)
    # the fields do not overlap, so the sum is their union; int32 wraps as the top bit wants
    return (fields << shifts).sum(-2, dtype=torch.int32).flatten(-2)
