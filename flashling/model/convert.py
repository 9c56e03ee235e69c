"""A checkpoint rewritten in another form, weight by weight."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..config import ModelConfig
from ..quant import PLANS, Plan
from .files import INDEX, write
from .names import Published, is_mtp
from .stage import Progress
from .weights import Source

# weights of any kind, which are not copied along
WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf")


def quantize(
    source: str | Path,
    folder: str | Path,
    form: str,
    *,
    mtp: bool = True,
    shard_bytes: int = 4 << 30,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> list[str]:
    """Write the checkpoint `source` into `folder` in `form`: a name in `quant.PLANS`.

    "fp8" (per channel), "fp8-block" and "int8" store every matrix but embeddings, head, routers
    and eh_proj; "int4" and "int4-128" the routed experts alone; "int4-all" every matrix but
    embeddings, routers, eh_proj and kv_b, the head in int8; "nano" the routed experts in int4 and
    every other matrix but the routers in int8; "bf16" undoes any of them. What stays keeps the
    type that it has. `source` may itself be quantised. Without `mtp` the MTP layers are left out,
    as in the published INT4 files. Other files of the folder (tokenizer, template, licence) are
    copied. One shard is held in memory at a time; `device` does the arithmetic; progress(done,
    all) is called in weights. Returns notes for the user. Raises ValueError for an unknown form
    and for a folder that already holds weights, CheckpointError for a source that cannot be read.
    """
    if form not in PLANS:
        raise ValueError(f"form {form!r} is unknown; choose one of {', '.join(PLANS)}")
    src, target = Path(source), Path(folder)
    if any(target.glob("*.safetensors")):
        raise ValueError(f"{target} already holds weights; name an empty folder")
    found = Source(src, ModelConfig.read(src))
    config, plan = found.config, PLANS[form]
    table = [t for t in found.table if mtp or not is_mtp(config, t.name)]
    target.mkdir(parents=True, exist_ok=True)
    packer = _Packer(found, plan, torch.device(device), len(table), progress)
    weights = {t.name: t for t in table}
    apart = [n for n in weights if is_mtp(config, n)]
    sizes = {n: packer.nbytes(t) for n, t in weights.items() if not is_mtp(config, n)}
    write(target, sizes, apart, lambda n: packer(weights[n]), shard_bytes)
    _copy_others(src, target)
    _write_config(src, target, plan, table, len(apart) > 0)
    return found.notes


@dataclass
class _Packer:
    """Makes the tensors to store for one weight after another."""

    source: Source
    plan: Plan
    device: torch.device
    count: int
    progress: Progress | None
    done: int = 0

    def __call__(self, t: Published) -> dict[str, Tensor]:
        weight, stored = self.source.get(t)
        base, _, last = t.name.rpartition(".")
        scheme = self.plan.of(t.name) if len(t.shape) == 2 else None
        if scheme:
            packed = scheme.pack(weight.to(self.device))
            made = {f"{base}.{part}": tensor.cpu() for part, tensor in packed.items()}
        else:
            made = {t.name: weight.bfloat16() if stored else weight}
        self.done += 1
        if self.progress:
            self.progress(self.done, self.count)
        return made

    def nbytes(self, t: Published) -> int:
        """Bytes stored for a weight; of plain ones an upper bound."""
        scheme = self.plan.of(t.name) if len(t.shape) == 2 else None
        return scheme.nbytes(t.shape) if scheme else self.source.nbytes(t)


def _copy_others(source: Path, folder: Path) -> None:
    for file in sorted(source.iterdir()):
        is_ours = file.name in ("config.json", INDEX) or file.suffix in WEIGHTS
        if file.is_file() and not is_ours and not file.name.startswith("."):
            shutil.copyfile(file, folder / file.name)


def _write_config(
    source: Path, folder: Path, plan: Plan, table: list[Published], has_mtp: bool
) -> None:
    # the file as it stands, since it may hold keys that ModelConfig knows and drops
    raw = json.loads((source / "config.json").read_text("utf-8"))
    raw.pop("quantization_config", None)
    said = plan.to_dict(t.name for t in table if len(t.shape) == 2)
    if said:
        raw["quantization_config"] = said
    if not has_mtp:
        raw["num_nextn_predict_layers"] = 0
    (folder / ".config.json").write_text(
        json.dumps(raw, indent=2, ensure_ascii=False) + "\n", "utf-8"
    )
    os.replace(folder / ".config.json", folder / "config.json")
