"""Checkpoints: folders `step-00000100` that appear whole or not at all.

`weights.safetensors` holds float32 masters and expert biases under the model's own names;
`state.pt`, absent from a snapshot, what else a run needs to go on bit for bit.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

WEIGHTS, STATE = "weights.safetensors", "state.pt"


def save(
    root: Path, step: int, weights: Mapping[str, Tensor], state: Mapping[str, Any] | None = None
) -> Path:
    """Write the checkpoint of `step` below `root`, with `state` or, without it, as a snapshot.

    state: tensors, numbers, strings and containers of them only.
    """
    folder = root / f"step-{step:08d}"
    draft = root / f".draft-{step:08d}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    save_file({n: x.contiguous() for n, x in weights.items()}, draft / WEIGHTS)
    if state is not None:
        torch.save(dict(state), draft / STATE)
    if folder.exists():
        # a snapshot may become a full checkpoint of the same step
        shutil.rmtree(folder)
    draft.rename(folder)
    return folder


def load_weights(folder: str | Path) -> dict[str, Tensor]:
    """Masters and biases of a checkpoint; ValueError when `folder` is none."""
    file = Path(folder) / WEIGHTS
    if not file.is_file():
        raise ValueError(f"{folder} is no checkpoint of a run: it has no {WEIGHTS}")
    return load_file(file)


def load_state(folder: str | Path) -> dict[str, Any]:
    """The rest of a full checkpoint."""
    return torch.load(Path(folder) / STATE, map_location="cpu", weights_only=True)


def step_of(folder: Path) -> int:
    """The step that a checkpoint was saved after."""
    return int(folder.name.removeprefix("step-"))


def found(root: Path, *, full: bool = False) -> list[Path]:
    """Checkpoints below `root`, oldest first; with `full`, only those a run can go on from."""
    folders = sorted(root.glob("step-*"))
    return [f for f in folders if (f / (STATE if full else WEIGHTS)).is_file()]


def prune(root: Path, keep: int, snapshots: int) -> None:
    """Leave the last `keep` full checkpoints, and of the weights the last `snapshots` too."""
    full = set(found(root, full=True)[-keep:])
    for folder in found(root)[: -max(snapshots, 1)]:
        if folder not in full:
            shutil.rmtree(folder)
    for folder in found(root, full=True):
        if folder not in full:
            (folder / STATE).unlink()


def rng_state() -> dict[str, Any]:
    """State of torch's generators on this machine."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "cuda": cuda}


def set_rng_state(state: Mapping[str, Any]) -> None:
    """Take up what `rng_state` gave; other numbers of GPUs keep their own."""
    torch.set_rng_state(state["cpu"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])
