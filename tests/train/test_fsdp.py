"""FSDP2 over two processes equals one process that accumulates their batches."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from flashling.train import checkpoint, recipes, train
from flashling.train.optim import Optim
from flashling.train.recipe import Recipe
from flashling.train.schedule import Schedule


def recipe(out: Path, matrices: str, accumulate: int, shard: bool = True) -> Recipe:
    return recipes()["toy"]().with_(
        out=str(out),
        steps=3,
        tokens=256,
        accumulate=accumulate,
        shard=shard,
        log_every=2,
        optim=Optim(lr=1e-3, matrices=matrices),  # pyright: ignore[reportArgumentType]
        schedule=Schedule(warmup=2),
    )


# by name: rule of the matrices, and whether the model is sharded or whole on both
WAYS = (("adamw", "adamw", True), ("muon", "muon", True), ("whole", "muon", False))


def work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    for name, matrices, shard in WAYS:
        meeting = f"file://{folder}/{name}.meet"
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=2)
        train(recipe(Path(folder) / f"two-{name}", matrices, 1, shard), quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fsdp")
    spawn(work, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize(("name", "matrices", "shard"), WAYS)
def test_two_processes_equal_one(runs: Path, name: str, matrices: str, shard: bool) -> None:
    alone = recipe(runs / f"one-{name}", matrices, 2)
    train(alone, quiet=True)
    folders = [runs / f"{n}-{name}" for n in ("one", "two")]
    one, two = (checkpoint.load_weights(checkpoint.found(f)[-1]) for f in folders)
    assert one.keys() == two.keys()
    for key, value in one.items():
        assert value.shape == two[key].shape
        torch.testing.assert_close(two[key], value, rtol=0, atol=1e-5, msg=key)
    state = [checkpoint.load_state(checkpoint.found(f)[-1]) for f in folders]
    assert state[0]["loader"] == state[1]["loader"]


def test_a_checkpoint_of_two_goes_on_alone(runs: Path) -> None:
    folder = runs / "two-muon"
    result = train(recipe(folder, "muon", 2).with_(steps=4), resume=True, quiet=True)
    assert result.step == 4 and result.loss < 6
