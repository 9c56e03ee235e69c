"""Checkpoints: killed and resumed runs end on the same bits; snapshots; merging."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from flashling.train import checkpoint, recipes, train
from flashling.train.finish import merged
from flashling.train.merge import average, merge_weights
from flashling.train.recipe import Recipe

CHILD = """
import sys, torch
torch.set_num_threads(1)
from pathlib import Path
from tests.train.test_checkpoint import recipe
from flashling.train import train
result = train(recipe(Path(sys.argv[1])), resume=True, quiet=True)
print(result.reason, result.step)
"""


def recipe(out: Path) -> Recipe:
    toy = recipes()["toy"]()
    return toy.with_(out=str(out), steps=30, tokens=512, log_every=1, save_every=4, keep=2)


def start(out: Path) -> subprocess.Popen[str]:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", CHILD, str(out)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True)


def wait_for(out: Path, step: int, process: subprocess.Popen[str]) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end and process.poll() is None:
        log = out / "log.jsonl"
        if log.exists() and f'"step": {step},' in log.read_text():
            return
        time.sleep(0.01)
    raise AssertionError(f"the child did not reach step {step}")


def test_killed_twice_and_resumed_ends_on_the_same_bits(tmp_path: Path) -> None:
    whole, cut = recipe(tmp_path / "whole"), recipe(tmp_path / "cut")
    child = start(cut.folder)
    wait_for(cut.folder, 6, child)
    child.kill()
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert len(checkpoint.found(cut.folder, full=True)) >= 1

    child = start(cut.folder)
    wait_for(cut.folder, 14, child)
    child.send_signal(signal.SIGTERM)
    said, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert "go on with `flashling train toy --resume`" in said and "stopped" in said
    at = checkpoint.load_state(checkpoint.found(cut.folder, full=True)[-1])["step"]
    assert 14 <= at < 30

    train(cut, resume=True, quiet=True)
    train(whole, quiet=True)
    ends = [checkpoint.found(r.folder, full=True)[-1] for r in (whole, cut)]
    one, two = (checkpoint.load_weights(e) for e in ends)
    assert one.keys() == two.keys() and any(n.endswith("ffn.bias") for n in one)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name
    one, two = (checkpoint.load_state(e) for e in ends)
    assert one["loader"] == two["loader"] and one["step"] == two["step"] == 30
    for name, value in one["optimizer"]["second"].items():
        assert torch.equal(value, two["optimizer"]["second"][name]), name


def test_what_is_kept(tmp_path: Path) -> None:
    r = recipe(tmp_path).with_(
        steps=10, tokens=128, save_every=5, snapshot_every=1, keep=1, merge=2
    )
    train(r, quiet=True)
    names = [f.name for f in checkpoint.found(tmp_path)]
    assert names == ["step-00000008", "step-00000009", "step-00000010"]
    assert [f.name for f in checkpoint.found(tmp_path, full=True)] == names[-1:]
    assert not list(tmp_path.glob(".draft*"))


def test_the_final_model_is_the_merge(tmp_path: Path) -> None:
    r = recipe(tmp_path).with_(steps=7, tokens=128, save_every=4, snapshot_every=2, merge=2)
    train(r, quiet=True)
    each = {f.name[-1]: checkpoint.load_weights(f)["head"] for f in checkpoint.found(tmp_path)}
    # step 7 is off the even spacing
    torch.testing.assert_close(merged(r).head.detach(), (each["4"] + each["6"]) / 2)
    assert torch.equal(merged(r.with_(merge=1)).head.detach(), each["7"])
    with pytest.raises(ValueError, match="holds no checkpoint; train 'toy' first"):
        merged(r.with_(out=str(tmp_path / "empty")))
    with pytest.raises(ValueError, match="save_every 4 must be a multiple of snapshot_every 3"):
        r.with_(snapshot_every=3)


def test_an_unfinished_checkpoint_is_none(tmp_path: Path) -> None:
    (tmp_path / ".draft-00000004").mkdir()
    (tmp_path / ".draft-00000004" / "weights.safetensors").write_text("half")
    assert not checkpoint.found(tmp_path)
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        checkpoint.load_weights(tmp_path)


def test_merge_weights_are_decays() -> None:
    assert merge_weights(4) == pytest.approx([0.25] * 4)
    weights = merge_weights(4, "sqrt")
    assert sum(weights) == pytest.approx(1.0) and weights == sorted(weights, reverse=True)
    # the rate of a step between checkpoints j and j + 1 is what later checkpoints weigh together
    assert [sum(weights[j:]) for j in range(4)] == pytest.approx(
        [1, 0.5, 1 - 0.5**0.5, 1 - 0.75**0.5]
    )
    with pytest.raises(ValueError, match="'cubic' is unknown"):
        merge_weights(3, "cubic")


def test_average(tmp_path: Path) -> None:
    folders = [
        checkpoint.save(tmp_path, i, {"a": torch.full((2,), float(i)), "b": torch.ones(3)})
        for i in (1, 2, 4)
    ]
    assert average(folders)["a"].tolist() == pytest.approx([7 / 3] * 2)
    merged = average(folders, [0.5, 0.25, 0.25])
    assert merged["a"].tolist() == [2.0, 2.0] and merged["b"].tolist() == [1.0] * 3
    with pytest.raises(ValueError, match="3 checkpoints cannot be merged with 1"):
        average(folders, [1.0])
