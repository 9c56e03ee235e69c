"""Which scheme the tensors of a checkpoint are in, and whether they fit together."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from .scheme import FLOAT8, FP8_BLOCK, Scheme

# last names under which the parts of one weight are stored
PARTS = ("weight", "weight_packed", "weight_scale", "weight_scale_inv", "weight_shape")
# and those of forms that are not read, known so that the error can name the weight
FOREIGN = ("weight_zero_point", "weight_g_idx", "weight_global_scale", "input_scale", "bias")
PLAIN = (torch.bfloat16, torch.float16, torch.float32, torch.float64)
SCALES = ("weight_scale", "weight_scale_inv")


class Damaged(ValueError):
    """`part` (one of a weight's stored tensors) does not fit; the message follows its name."""

    def __init__(self, part: str, message: str) -> None:
        super().__init__(message)
        self.part = part


def detect(
    tensors: Mapping[str, Tensor], shape: tuple[int, ...], declared: Scheme | None = None
) -> Scheme | None:
    """The scheme of a weight of `shape`, None where it is stored as it is.

    tensors: its parts by their last names; of those on the meta device the values are not looked
    at. declared: what config.json says of this weight, if it
    does; a plain weight is accepted all the same, since targets name kinds of layers.
    Raises Damaged naming the part: missing, of a wrong shape or type, not finite, or unexpected.
    """
    main = "weight_packed" if "weight_packed" in tensors else "weight"
    if main not in tensors:
        raise Damaged(next(iter(tensors)), "has no weight beside it")
    stored = tensors[main].dtype
    if main == "weight" and stored in PLAIN:
        _only(tensors, ("weight",), f"a weight of {_name(stored)}")
        _need_shape(main, tensors[main], shape)
        return None
    kinds = {"weight_packed": {torch.int32: "int"}, "weight": {FLOAT8: "float", torch.int8: "int"}}
    kind = kinds[main].get(stored)
    if kind is None or len(shape) != 2:
        raise Damaged(main, f"is stored as {_name(stored)}, which is not read for {list(shape)}")
    names = [n for n in SCALES if n in tensors]
    if not names:
        raise Damaged(main, f"is stored as {_name(stored)} and has no weight_scale beside it")
    parts = (main, names[0], *(["weight_shape"] if main == "weight_packed" else []))
    _only(tensors, parts, f"a weight stored as {main} and {names[0]}")
    scale = tensors[names[0]]
    bits = _bits(tensors[main], shape) if main == "weight_packed" else 8
    found = declared or Scheme(kind, bits, _block(scale, shape))
    if (found.kind, found.bits) != (kind, bits):
        raise Damaged(main, f"holds {kind}{bits}, config.json declares {found}")
    found = Scheme(kind, bits, found.block, main == "weight_packed")
    _check(tensors, main, scale, found, shape)
    _check_scale(names[0], scale, found, shape)
    return found


def _check(
    tensors: Mapping[str, Tensor], main: str, scale: Tensor, found: Scheme, shape: tuple[int, ...]
) -> None:
    _need_shape(main, tensors[main], (shape[0], found.width(shape)))
    said = tensors.get("weight_shape")
    if said is not None and not said.is_meta and tuple(said.flatten().tolist()) != tuple(shape):
        raise Damaged("weight_shape", f"holds {said.tolist()}, config.json asks for {list(shape)}")


def _check_scale(name: str, scale: Tensor, found: Scheme, shape: tuple[int, ...]) -> None:
    want = found.scale_shape(shape)
    # one scale per channel is also written [out], one per tensor [1] or []
    shorter = {(want[0],), want} if want[1] == 1 else {want}
    if tuple(scale.shape) not in shorter | ({()} if want == (1, 1) else set()):
        raise Damaged(
            name, f"has shape {list(scale.shape)}, {found} of {list(shape)} asks for {list(want)}"
        )
    if scale.dtype not in PLAIN:
        raise Damaged(name, f"is stored as {_name(scale.dtype)}, which is not read")
    if not scale.is_meta and not torch.isfinite(scale).all():
        raise Damaged(name, "holds NaN or infinite values; fetch it again")


def _only(tensors: Mapping[str, Tensor], parts: tuple[str, ...], what: str) -> None:
    for name in tensors:
        if name not in parts:
            raise Damaged(name, f"does not belong to {what}")


def _need_shape(part: str, tensor: Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise Damaged(part, f"has shape {list(tensor.shape)}, config.json asks for {list(shape)}")


def _bits(words: Tensor, shape: tuple[int, ...]) -> int:
    """Bits of a packed weight, from its width; 4 where that is wrong, for the error to come."""
    eight = Scheme("int", 8, (1, None), packed=True)
    return 8 if tuple(words.shape) == (shape[0], eight.width(shape)) else 4


def _block(scale: Tensor, shape: tuple[int, ...]) -> tuple[int | None, int | None]:
    """The block that the shape of the scales tells where config.json does not."""
    rows, columns = (*scale.shape, 1, 1)[:2]
    if scale.numel() == 1:
        return None, None
    if rows != shape[0]:
        return FP8_BLOCK.block
    if columns == 1:
        return 1, None
    return (1, shape[1] // columns) if shape[1] % columns == 0 else FP8_BLOCK.block


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
