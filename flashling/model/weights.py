"""Checkpoints under the published names: read and written tensor by tensor."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..config import ModelConfig
from .ling import Ling
from .names import Published, is_mtp, published

INDEX = "model.safetensors.index.json"
RENAMED = {"gate.e_score_correction_bias": "gate.expert_bias"}
Progress = Callable[[int, int], None]


class CheckpointError(ValueError):
    """A checkpoint that cannot be read as it is; the message names file and tensor."""


def _is_ignored(name: str) -> bool:
    return "slope" in name or "inv_freq" in name or name.startswith("model.mtp")


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


@torch.no_grad()
def load(model: Ling, path: str | Path, *, progress: Progress | None = None) -> list[str]:
    """Fill `model` from the checkpoint folder `path`, converting to the model's dtypes.

    Tensors are read one by one by a few threads, so that memory holds the model and little more.
    progress(done, all) is called in tensors. Returns notes for the user: where the MTP layers
    are missing they are switched off. Raises CheckpointError naming file and tensor.
    """
    folder = Path(path)
    files = {_known(n): (n, f) for n, f in files_of(folder).items() if not _is_ignored(n)}
    table = published(model.config)
    notes = _without_mtp(model, table, files)
    if notes:
        table = published(model.config, mtp=False)
    missing = [t.name for t in table if t.name not in files]
    if missing:
        raise CheckpointError(f"{folder} lacks {_listed(missing)}")
    extra = sorted(files.keys() - {t.name for t in table})
    extra = extra if not notes else [n for n in extra if not is_mtp(model.config, n)]
    if extra:
        raise CheckpointError(f"{folder} holds {_listed(extra)}, which the model has no place for")
    own = model.state_dict()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        jobs = [pool.submit(_fill, t, *files[t.name], own) for t in table]
        try:
            for done, job in enumerate(as_completed(jobs), 1):
                job.result()
                if progress:
                    progress(done, len(jobs))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return notes


def _known(name: str) -> str:
    for other, ours in RENAMED.items():
        name = name.replace(other, ours)
    return name


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"


def _without_mtp(model: Ling, table: list[Published], files: dict[str, Any]) -> list[str]:
    wanted = [t.name for t in table if "layers" in t.name and is_mtp(model.config, t.name)]
    if not wanted or any(n in files for n in wanted):
        return []
    model.mtp = torch.nn.ModuleList()
    return ["the checkpoint has no MTP layer: drafts by MTP are off"]


def _fill(t: Published, name: str, file: Path, own: dict[str, Tensor]) -> None:
    with _open(file) as opened:
        try:
            found = opened.get_tensor(name)
        except SafetensorError as error:
            raise CheckpointError(f"{file}: {name} cannot be read: {error}") from None
    if tuple(found.shape) != t.shape:
        raise CheckpointError(
            f"{file}: {name} has shape {list(found.shape)}, config.json asks for {list(t.shape)}"
        )
    if not torch.isfinite(found).all():
        raise CheckpointError(f"{file}: {name} holds NaN or infinite values; fetch it again")
    t.view(own).copy_(found)


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
    float32 at least. Shards hold at most
    `shard_bytes` (one tensor at least); the MTP layers go into a file of their own; an index
    names every tensor's file. Every file is written beside its place and then renamed.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config, own = model.config.with_(num_nextn_predict_layers=len(model.mtp)), model.state_dict()
    table = published(config)
    mtp = [t for t in table if "layers" in t.name and is_mtp(config, t.name)]
    kinds = {t.name: _stored(t, dtype, wide) for t in table}
    parts = list(_shards(table[: len(table) - len(mtp)], kinds, shard_bytes))
    places = {
        f"model-{i:05d}-of-{len(parts):05d}.safetensors": part for i, part in enumerate(parts, 1)
    }
    if mtp:
        places["model-mtp-layer.safetensors"] = mtp
    total = 0
    for file, part in places.items():
        tensors = {t.name: t.view(own).detach().to("cpu", kinds[t.name]) for t in part}
        total += sum(x.nbytes for x in tensors.values())
        tensors = {n: x.contiguous() for n, x in tensors.items()}
        save_file(tensors, folder / f".{file}", metadata={"format": "pt"})
        os.replace(folder / f".{file}", folder / file)
    names = {t.name: file for file, part in places.items() for t in part}
    text = json.dumps({"metadata": {"total_size": total}, "weight_map": names}, indent=1)
    (folder / f".{INDEX}").write_text(text)
    os.replace(folder / f".{INDEX}", folder / INDEX)
    config.write(folder)


def _stored(t: Published, dtype: torch.dtype, wide: tuple[str, ...]) -> torch.dtype:
    is_wide = t.param.rsplit(".", 1)[-1] in wide and dtype.itemsize < 4
    return torch.float32 if is_wide else dtype


def _shards(
    table: list[Published], kinds: dict[str, torch.dtype], shard_bytes: int
) -> Iterator[list[Published]]:
    part: list[Published] = []
    held = 0
    for t in table:
        size = math.prod(t.shape) * kinds[t.name].itemsize
        if part and held + size > shard_bytes:
            yield part
            part, held = [], 0
        part.append(t)
        held += size
    yield part


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
