"""Checkpoints: round trips, a second implementation, and every kind of damage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flashling.batch import Batch
from flashling.config import TOY, ModelConfig
from flashling.model.ling import Ling
from flashling.model.past import Fresh, Kept
from flashling.model.weights import CheckpointError, load, read, save

from .reference import Reference
from .test_model import build, text

BARE = TOY.with_(q_lora_rank=None)
ONE = "model-00001-of-00001.safetensors"


def saved(path: Path, config: ModelConfig = TOY, dtype: torch.dtype = torch.float32) -> Ling:
    model = build(config, dtype)
    save(model, path, dtype=dtype)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_round_trip(tmp_path: Path, dtype: torch.dtype) -> None:
    model = build(TOY, dtype)
    save(model, tmp_path, dtype=dtype, shard_bytes=40_000)
    back = read(tmp_path, dtype)
    assert back.config == model.config
    for (name, a), b in zip(model.state_dict().items(), back.state_dict().values(), strict=True):
        stored = a.to(dtype) if name.endswith("router") else a
        assert torch.equal(stored.float(), b.float()), name
    index = json.loads((tmp_path / "model.safetensors.index.json").read_text())
    files = set(index["weight_map"].values())
    assert len(files) > 3 and "model-mtp-layer.safetensors" in files
    assert index["metadata"]["total_size"] == sum(
        t.nbytes for f in files for t in load_file(tmp_path / f).values()
    )


@pytest.mark.parametrize("config", [TOY, BARE, TOY.with_(decay_offset=1)])
def test_a_second_implementation_agrees(tmp_path: Path, config: ModelConfig) -> None:
    saved(tmp_path, config)
    tensors = {}
    for f in tmp_path.glob("*.safetensors"):
        tensors |= load_file(f)
    parsed = json.loads((tmp_path / "config.json").read_text())
    tokens = text(75)
    want = Reference(parsed, tensors, torch.float32)
    model = read(tmp_path, torch.float32)
    batch = Batch.pack([tokens])
    with torch.no_grad():
        past = Fresh(batch)
        hidden = model(batch, past)
        torch.testing.assert_close(model.logits(hidden), want.logits(tokens), rtol=0, atol=1e-4)
        guess = model.logits(model.mtp_hidden(hidden, batch, past))[:-1]
        torch.testing.assert_close(guess, want.mtp_logits(tokens), rtol=0, atol=1e-4)
        kept = Kept(model.config, 1)
        rows = []
        for i, n in [(0, 60), *((i, 1) for i in range(60, 75))]:
            step = Batch.pack([tokens[i : i + n]], first=[i])
            rows.append(model(step, kept.begin(step, [0])))
            kept.commit()
        torch.testing.assert_close(
            model.logits(torch.cat(rows)), want.logits(tokens), rtol=0, atol=1e-4
        )


def change(path: Path, edit) -> None:
    tensors = load_file(path / ONE)
    edit(tensors)
    save_file(tensors, path / ONE)


def drop_index(path: Path) -> None:
    (path / "model.safetensors.index.json").unlink()


Q = "model.layers.0.attention.query_key_value.weight"


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    drop_index(tmp_path)
    change(tmp_path, lambda t: t.pop(Q))
    with pytest.raises(CheckpointError, match=f"lacks {Q}"):
        read(tmp_path)


def test_an_extra_tensor_is_named_and_slopes_are_not(tmp_path: Path) -> None:
    saved(tmp_path)
    drop_index(tmp_path)
    change(tmp_path, lambda t: t.update({"model.layers.0.attention.slope": torch.ones(4)}))
    read(tmp_path)
    change(tmp_path, lambda t: t.update({"model.layers.0.bonus": torch.ones(4)}))
    with pytest.raises(CheckpointError, match="holds model.layers.0.bonus"):
        read(tmp_path)


def test_a_wrong_shape_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    change(tmp_path, lambda t: t.update({Q: torch.ones(3, 64)}))
    with pytest.raises(CheckpointError, match=rf"{ONE}: {Q} has shape \[3, 64\].*\[192, 64\]"):
        read(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_nan_is_named(tmp_path: Path, value: float) -> None:
    saved(tmp_path)
    change(tmp_path, lambda t: t[Q][5].fill_(value))
    with pytest.raises(CheckpointError, match=f"{ONE}: {Q} holds NaN or infinite"):
        read(tmp_path)


def test_a_truncated_or_missing_file_is_named(tmp_path: Path) -> None:
    saved(tmp_path)
    data = (tmp_path / ONE).read_bytes()
    (tmp_path / ONE).write_bytes(data[: len(data) // 2])
    with pytest.raises(CheckpointError, match=f"{ONE} is damaged or truncated"):
        read(tmp_path)
    (tmp_path / ONE).unlink()
    with pytest.raises(CheckpointError, match=f"names {ONE}, which is missing"):
        read(tmp_path)
    with pytest.raises(CheckpointError, match="no safetensors files in"):
        load(build(), tmp_path / "nowhere")


def test_without_mtp_tensors_it_is_switched_off(tmp_path: Path) -> None:
    model = saved(tmp_path)
    (tmp_path / "model-mtp-layer.safetensors").unlink()
    drop_index(tmp_path)
    fresh = Ling(model.config)
    [note] = load(fresh, tmp_path)
    assert "MTP" in note and len(fresh.mtp) == 0


def test_a_part_of_the_mtp_layer_is_an_error(tmp_path: Path) -> None:
    saved(tmp_path)
    drop_index(tmp_path)
    path = tmp_path / "model-mtp-layer.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.4.eh_proj.weight"]
    save_file(tensors, path)
    with pytest.raises(CheckpointError, match="lacks model.layers.4.eh_proj.weight"):
        read(tmp_path)


def test_the_other_name_of_the_expert_bias(tmp_path: Path) -> None:
    saved(tmp_path)
    drop_index(tmp_path)
    old, new = "gate.expert_bias", "gate.e_score_correction_bias"
    change(
        tmp_path,
        lambda t: [t.update({n.replace(old, new): t.pop(n)}) for n in list(t) if old in n],
    )
    read(tmp_path)


def test_progress_is_told(tmp_path: Path) -> None:
    model = saved(tmp_path)
    seen: list[tuple[int, int]] = []
    load(model, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1] == len(seen)
