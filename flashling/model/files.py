"""The files of a checkpoint: which holds what and where, and writing shards."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

INDEX = "model.safetensors.index.json"
MTP_FILE = "model-mtp-layer.safetensors"
# bytes that a weight may take in a file's header: up to three tensors
HEADER = 512
# bytes at a file's beginning that tell the length of its header
LENGTH = 8
# by their names in a file's header
TYPES = {
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "F32": torch.float32,
    "F64": torch.float64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I8": torch.int8,
    "I16": torch.int16,
    "I32": torch.int32,
    "I64": torch.int64,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class CheckpointError(ValueError):
    """A checkpoint that cannot be read as it is; the message names file and tensor."""


def files_of(path: str | Path) -> dict[str, Path]:
    """Which file of the folder `path` holds each tensor, by its name in the file."""
    folder = Path(path)
    index = folder / INDEX
    if index.is_file():
        try:
            found = {n: folder / f for n, f in json.loads(index.read_text())["weight_map"].items()}
        except (ValueError, KeyError, AttributeError) as error:
            raise CheckpointError(f"{index} is not a weight index: {error}") from None
        for file in sorted(set(found.values())):
            if not file.is_file():
                raise CheckpointError(f"{index} names {file.name}, which is missing: fetch it")
        return found
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"no safetensors files in {folder}: give a model's folder")
    return {name: file for file in files for name in _open(file).keys()}  # noqa: SIM118


def _open(file: Path) -> Any:
    try:
        return safe_open(file, framework="pt")
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{file} is damaged or truncated: {error}; fetch it again") from None


@dataclass(frozen=True)
class Place:
    """Where a tensor stands: bytes `begin` to `end` of a file, of a type by its name there."""

    name: str
    file: Path
    kind: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def dtype(self) -> torch.dtype:
        """Its type; CheckpointError naming file and tensor if that is not read here."""
        if self.kind not in TYPES:
            raise CheckpointError(f"{self.file}: {self.name} is stored as {self.kind}: unread here")
        return TYPES[self.kind]

    @property
    def meta(self) -> Tensor:
        """The tensor without its numbers."""
        return torch.empty(self.shape, dtype=self.dtype, device="meta")


def places(file: Path) -> dict[str, Place]:
    """Where the tensors of a file stand, as its header tells; CheckpointError if it is damaged."""
    # that they lie in the file, and have the room that their shapes ask for, is checked here
    _open(file)
    with open(file, "rb") as opened:
        size = int.from_bytes(opened.read(LENGTH), "little")
        told = json.loads(opened.read(size))
    base = LENGTH + size
    return {
        name: Place(
            name, file, t["dtype"], tuple(t["shape"]), *(base + n for n in t["data_offsets"])
        )
        for name, t in told.items()
        if name != "__metadata__"
    }


def header(file: Path) -> dict[str, Tensor]:
    """The tensors of a file as its header tells them: shapes and types, on the meta device."""
    return {name: place.meta for name, place in places(file).items()}


def write(
    folder: Path,
    main: dict[str, int],
    mtp: Iterable[str],
    make: Callable[[str], dict[str, Tensor]],
    shard_bytes: int,
) -> None:
    """Write shards of at most `shard_bytes` (one weight at least) and an index into `folder`.

    main: weights in file order with their bytes; mtp: those of the file of their own. make(name)
    gives the tensors to store for a weight. One shard is held at a time; every file is written
    beside its place and then renamed.
    """
    parts = list(_shards(main, shard_bytes))
    places = {
        f"model-{i:05d}-of-{len(parts):05d}.safetensors": part for i, part in enumerate(parts, 1)
    }
    mtp = list(mtp)
    if mtp:
        places[MTP_FILE] = mtp
    total, names = 0, {}
    for file, part in places.items():
        tensors = {n: t.contiguous() for name in part for n, t in make(name).items()}
        total += sum(t.nbytes for t in tensors.values())
        names |= dict.fromkeys(tensors, file)
        save_file(tensors, folder / f".{file}", metadata={"format": "pt"})
        os.replace(folder / f".{file}", folder / file)
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": names}, indent=1)
    (folder / f".{INDEX}").write_text(text)
    os.replace(folder / f".{INDEX}", folder / INDEX)


def _shards(sizes: dict[str, int], shard_bytes: int) -> Iterator[list[str]]:
    part: list[str] = []
    held = 0
    for name, size in sizes.items():
        if part and held + size + HEADER > shard_bytes:
            yield part
            part, held = [], 0
        part.append(name)
        held += size + HEADER
    yield part
