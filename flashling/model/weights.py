"""Checkpoints under the published names, plain or quantised: read and written weight by weight."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import ModelConfig
from ..quant import Damaged, Plan, Scheme, detect
from ..quant.detect import FOREIGN, PARTS
from .files import INDEX, CheckpointError, Place, files_of, places, write
from .ling import Ling
from .names import Published, is_mtp, published
from .stage import Progress, Stage, each

__all__ = ["INDEX", "CheckpointError", "files_of", "load", "read", "save"]

RENAMED = {"gate.e_score_correction_bias": "gate.expert_bias"}
SUFFIXES = tuple(f".{part}" for part in (*PARTS, *FOREIGN))


def is_ignored(name: str) -> bool:
    """Whether a stored tensor is one that the model computes by itself, or never uses."""
    return "slope" in name or "inv_freq" in name or name.startswith("model.mtp")


@dataclass
class Source:
    """A checkpoint folder held against the weight table of its config.

    table: the weights that it holds, in file order. notes: what the user should know.
    """

    folder: Path
    config: ModelConfig
    table: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._parts: dict[str, dict[str, Place]] = {}
        files = files_of(self.folder)
        there = {file: places(file) for file in dict.fromkeys(files.values())}
        for name, file in files.items():
            if is_ignored(name):
                continue
            if name not in there[file]:
                raise CheckpointError(f"{file}: {name} cannot be read: it is not there")
            weight, part = weight_of(name)
            self._parts.setdefault(weight, {})[part] = there[file][name]
        try:
            self._plan = Plan.read(self.config.quantization)
        except ValueError as error:
            raise CheckpointError(f"{self.folder / 'config.json'}: {error}") from None
        self._match()

    def _match(self) -> None:
        table = published(self.config)
        wanted = [t.name for t in table if is_mtp(self.config, t.name)]
        if wanted and not any(n in self._parts for n in wanted):
            self.notes = ["the checkpoint has no MTP layer: drafts by MTP are off"]
            table = published(self.config, mtp=False)
        missing = [t.name for t in table if t.name not in self._parts]
        if missing:
            raise CheckpointError(f"{self.folder} lacks {listed(missing)}")
        extra = sorted(self._parts.keys() - {t.name for t in table})
        extra = [n for n in extra if not (self.notes and is_mtp(self.config, n))]
        if extra:
            names = [place.name for n in extra for place in self._parts[n].values()]
            raise CheckpointError(
                f"{self.folder} holds {listed(names)}, which the model has no place for"
            )
        self.table = table

    def parts(self, t: Published) -> dict[str, Place]:
        """Where the tensors that a weight is stored in stand, by their last names."""
        return self._parts[t.name]

    def scheme(self, t: Published, tensors: dict[str, Tensor] | None = None) -> Scheme | None:
        """The scheme that a weight is stored in; None: one tensor, "weight", as it is. tensors: its
        parts, of which the numbers are checked too; without them the headers alone tell.
        """
        given = tensors or {part: place.meta for part, place in self._parts[t.name].items()}
        try:
            return detect(given, t.shape, self._plan.of(t.name) if len(t.shape) == 2 else None)
        except Damaged as error:
            raise self.error(t, error) from None

    def unpacked(self, t: Published, tensors: dict[str, Tensor]) -> tuple[Tensor, Scheme | None]:
        """The weight that was read as `tensors`, float32 where it was quantised, and the scheme in
        which it is stored.
        """
        scheme = self.scheme(t, tensors)
        found = scheme.unpack(tensors, shape=t.shape) if scheme else tensors["weight"]
        if not torch.isfinite(found).all():
            main = "weight" if "weight" in tensors else "weight_packed"
            raise self.error(t, Damaged(main, "holds NaN or infinite values; fetch it again"))
        return found, scheme

    def get(self, t: Published) -> tuple[Tensor, Scheme | None]:
        """As `unpacked`, read here and now."""
        return self.unpacked(t, Stage(torch.device("cpu")).read([self.parts(t)])[0])

    def error(self, t: Published, damage: Damaged) -> CheckpointError:
        """What is wrong with a weight, with the names of its file and tensor."""
        place = self._parts[t.name][damage.part]
        return CheckpointError(f"{place.file}: {place.name} {damage}")

    def nbytes(self, t: Published) -> int:
        """Bytes of the weight as it stands, or as bfloat16 where it is quantised."""
        part = self._parts[t.name].get("weight")
        stored = part.dtype if part else torch.bfloat16
        return math.prod(t.shape) * max(stored.itemsize, 2)


def weight_of(name: str) -> tuple[str, str]:
    """The published name that a stored tensor belongs to, and which part of it this is."""
    for other, ours in RENAMED.items():
        name = name.replace(other, ours)
    base, _, part = name.rpartition(".")
    return (f"{base}.weight", part) if f".{part}" in SUFFIXES else (name, "weight")


def listed(names: list[str]) -> str:
    """The first few of many names."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


@torch.no_grad()
def load(model: Ling, path: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Fill `model` from the checkpoint folder `path`, converting to the model's dtypes.

    Quantised weights (fp8 per channel or in blocks, int4 in groups, int8) are dequantised in
    float32. Weights are read some at a time by several threads, so that memory holds the model
    and little more. progress(done, all) is called in weights. Returns notes for the user: where the
    MTP layers are missing they are switched off. Raises CheckpointError naming file and tensor.
    """
    source = Source(Path(path), model.config)
    if source.notes:
        model.mtp = torch.nn.ModuleList()
    fill(source, source.table, model.state_dict(), progress)
    return source.notes


@torch.no_grad()
def fill(
    source: Source,
    table: list[Published],
    own: dict[str, Tensor],
    progress: Progress | None = None,
) -> None:
    """Copy the weights of `table` into their places in `own`, by several threads."""

    def put(t: Published, tensors: dict[str, Tensor]) -> None:
        t.view(own).copy_(source.unpacked(t, tensors)[0])

    device = next(iter(own.values())).device
    each([(t, source.parts(t)) for t in table], put, device, progress)


def save(
    model: Ling,
    folder: str | Path,
    *,
    dtype: torch.dtype = torch.bfloat16,
    wide: tuple[str, ...] = ("bias",),
    shard_bytes: int = 4 << 30,
) -> None:
    """Write config.json and the weights under the published names into `folder`.

    Tensors are stored in `dtype`, those of our own last names in `wide` ("router", "bias") in
    float32 at least. Shards hold at most `shard_bytes` (one tensor at least); the MTP layers go
    into a file of their own; an index names every tensor's file. Every file is written beside its
    place and then renamed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # what is written here is plain, whatever the model was read from
    config = model.config.with_(num_nextn_predict_layers=len(model.mtp), quantization=None)
    table, own = {t.name: t for t in published(config)}, model.state_dict()
    kinds = {t.name: _stored(t, dtype, wide) for t in table.values()}
    sizes = {n: math.prod(t.shape) * kinds[n].itemsize for n, t in table.items()}
    mtp = [n for n in table if is_mtp(config, n)]
    write(
        folder,
        {n: size for n, size in sizes.items() if n not in set(mtp)},
        mtp,
        lambda n: {n: table[n].view(own).detach().to("cpu", kinds[n])},
        shard_bytes,
    )
    config.write(folder)


def _stored(t: Published, dtype: torch.dtype, wide: tuple[str, ...]) -> torch.dtype:
    is_wide = t.param.rsplit(".", 1)[-1] in wide and dtype.itemsize < 4
    return torch.float32 if is_wide else dtype


def read(path: str | Path, dtype: torch.dtype = torch.bfloat16, **overrides: Any) -> Ling:
    """The model in the folder `path`, in `dtype` on the CPU; `overrides` as `ModelConfig.read`."""
    config = ModelConfig.read(path, **overrides)
    with torch.device("meta"):
        model = Ling(config)
    model = model.cast(dtype).to_empty(device="cpu")
    for b in model.buffers():
        b.zero_()
    load(model, path)
    return model.eval()
