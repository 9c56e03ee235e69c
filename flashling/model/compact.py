"""A checkpoint read with its quantised linear weights as they are stored: for devices whose kernels
take them so.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..ops import Fp8, Int4, Int8
from ..ops.device import current
from ..ops.linear import BLOCK
from ..ops.linear.int4 import EACH, GROUPS
from ..quant import Damaged, Scheme
from .ling import Ling
from .names import Published
from .packed import HEAD, LINEAR, Packed, replace
from .stage import Progress, Spent, each
from .weights import Source

# an e4m3 number whose bits, the sign aside, are these is none
NAN_BITS = 0x7F


def read(
    path: str | Path,
    dtype: torch.dtype = torch.bfloat16,
    device: torch.device | str = "cpu",
    *,
    progress: Progress | None = None,
    begun: Callable[[Ling], None] | None = None,
    spent: Spent | None = None,
    **overrides: Any,
) -> Ling:
    """The model in the folder `path` on `device`: linear weights and experts that are stored in
    e4m3 (scales per channel or in 128x128 blocks) or in int4 (groups of 32 or 128) stay so, and a
    head in int8 (per channel); everything else is unpacked into `dtype`; e4m3 too on GPUs before
    sm_89, which do not compute with it.
    begun(model) is called when there is room for all weights and none is read; `spent` is filled.
    Raises CheckpointError naming file and tensor.
    """
    spent, began = spent or Spent(), time.perf_counter()
    config = ModelConfig.read(path, **overrides)
    source = Source(Path(path), config)
    spent.headers, began = _since(began)
    with torch.device("meta"):
        model = Ling(config).cast(dtype)
        if source.notes:
            model.mtp = torch.nn.ModuleList()
        kept = _kept(source)
        replace(model, lambda name, weight: _room(kept[name], weight), kept)
    _check_room(path, model, torch.device(device))
    model = model.to_empty(device=device)
    for name, b in model.named_buffers():
        if name.rsplit(".", 1)[-1] in ("load", "bias"):
            b.zero_()
    own, device = model.eval().state_dict(), model.head.device
    spent.room, _ = _since(began)
    if begun:
        begun(model)

    def fill(t: Published, tensors: dict[str, Tensor]) -> None:
        if t.param in kept:
            _fill(source, t, tensors, own)
        else:
            t.view(own).copy_(source.unpacked(t, tensors)[0])

    each([(t, source.parts(t)) for t in source.table], fill, device, progress, spent)
    return model


def _check_room(path: str | Path, model: Ling, device: torch.device) -> None:
    """ValueError where a GPU has less free memory than a model without numbers will take."""
    if device.type != "cuda" or torch.cuda.get_device_properties(device).is_integrated:
        return
    tensors = [*model.parameters(), *model.buffers()]
    need, free = sum(t.nbytes for t in tensors), torch.cuda.mem_get_info(device)[0]
    if need > free:
        raise ValueError(
            f"{path}: the weights take {need / 2**30:.1f} GiB, and {free / 2**30:.1f} GiB are free "
            f"on {torch.cuda.get_device_name(device)}; take a release in fewer bits, or make one "
            "with `flashling quantize`, or free the GPU"
        )


def _since(began: float) -> tuple[float, float]:
    """Seconds since then, and now."""
    now = time.perf_counter()
    return now - began, now


def _kept(source: Source) -> dict[str, Scheme]:
    """The linear weights all of whose parts are stored in one scheme that kernels take."""
    found: dict[str, set[Scheme | None]] = defaultdict(set)
    parts: dict[str, set[tuple[int, int]]] = defaultdict(set)
    for t in source.table:
        if t.param == HEAD or t.param.rsplit(".", 1)[-1] in LINEAR:
            found[t.param].add(source.scheme(t))
            parts[t.param].add((t.rows[0] if t.rows else 0, t.shape[1]))
    return {
        name: scheme
        for name, (scheme, *others) in ((n, list(s)) for n, s in found.items())
        if scheme is not None and not others and _is_taken(name, scheme, parts[name])
    }


def _is_taken(name: str, scheme: Scheme, parts: set[tuple[int, int]]) -> bool:
    """Whether kernels take a weight of this name and scheme whose parts begin at these rows and
    have these widths.
    """
    if scheme.kind == "float" and not current().has_e4m3:
        return False
    if scheme.kind == "int" and not scheme.packed:
        return name == HEAD and scheme.strategy == "channel"
    if scheme.kind == "int":
        rows, group = scheme.block
        is_four = scheme.bits == 4 and rows == 1
        return is_four and group in GROUPS and all(width % group == 0 for _, width in parts)
    if scheme.block == (BLOCK, BLOCK):
        # parts above each other must not share a block
        return all(at % BLOCK == 0 and width % BLOCK == 0 for at, width in parts)
    return scheme.strategy == "channel"


def _room(scheme: Scheme, weight: Tensor) -> Packed:
    """Space for a weight [..., O, I] in a scheme."""
    *front, rows, columns = weight.shape
    if scheme.kind == "int" and not scheme.packed:
        return Int8(torch.empty(rows, columns, dtype=torch.int8), torch.empty(rows))
    if scheme.kind == "int":
        words = torch.empty(*front, rows, columns // EACH, dtype=torch.int32)
        scales = scheme.scale_shape((rows, columns))
        return Int4(words, torch.empty(*front, *scales, dtype=torch.bfloat16))
    numbers = torch.empty(weight.shape, dtype=torch.float8_e4m3fn)
    across = scheme.scale_shape((rows, columns)) if scheme.block == (BLOCK, BLOCK) else (rows,)
    return Fp8(numbers, torch.empty(*front, *across, dtype=torch.float32))


def _fill(source: Source, t: Published, tensors: dict[str, Tensor], own: dict[str, Tensor]) -> None:
    """Copy a weight that was read as `tensors` into its part of a packed one."""
    scheme = source.scheme(t, tensors)
    assert scheme is not None
    scale = tensors["weight_scale" if "weight_scale" in tensors else "weight_scale_inv"]
    if scheme.kind == "int" and scheme.packed:
        packed = Int4.pack(tensors["weight_packed"], scale)
        _part(t, own[f"{t.param}.words"]).copy_(packed.words)
        _part(t, own[f"{t.param}.scale"]).copy_(packed.scale)
        return
    bits = tensors["weight"].view(torch.uint8)
    if scheme.kind == "float" and bool(((bits & NAN_BITS) == NAN_BITS).any()):
        raise source.error(t, Damaged("weight", "holds NaN; fetch it again"))
    _part(t, own[f"{t.param}.numbers"].view(torch.uint8)).copy_(bits)
    is_blocked = scheme.block == (BLOCK, BLOCK)
    to = _part(t, own[f"{t.param}.scale"], BLOCK if is_blocked else 1)
    to.copy_(scale.reshape(to.shape))


def _part(t: Published, whole: Tensor, tall: int = 1) -> Tensor:
    """What is `t`'s of a packed weight's tensor, each of whose rows stands for `tall`."""
    whole = whole if t.expert is None else whole[t.expert]
    return whole if t.rows is None else whole[t.rows[0] // tall : -(-t.rows[1] // tall)]
