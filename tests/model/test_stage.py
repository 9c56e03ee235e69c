"""Weights read at once by several threads: the same bytes, however they lie and are cut."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from flashling.model import compact, stage, weights
from flashling.model.files import CheckpointError, Place, places
from flashling.model.ling import Ling
from flashling.model.stage import Spent, Stage, each

from . import layouts

CPU = torch.device("cpu")


def state(model: Ling) -> dict[str, torch.Tensor]:
    return {n: t.view(torch.uint8) for n, t in model.state_dict().items() if t.dim()}


@pytest.mark.parametrize("layout", layouts.LAYOUTS)
def test_small_pieces_make_the_same_model(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # parts of one weight lie in several of its files
    folder = layouts.write(tmp_path / layout, layout)
    want = state(compact.read(folder))
    monkeypatch.setattr(stage, "PIECE", 1000)
    for job, gap in ((1, 0), (5000, 0), (1 << 30, 1 << 20)):
        monkeypatch.setattr(stage, "JOB", job)
        monkeypatch.setattr(stage, "GAP", gap)
        found = state(compact.read(folder))
        assert found.keys() == want.keys()
        assert all(torch.equal(found[n], want[n]) for n in want)


def test_tensors_anywhere_in_a_file(tmp_path: Path) -> None:
    # the second begins at an odd place, the third has no dimensions
    given = {"a": torch.arange(7).to(torch.uint8), "b": torch.randn(3, 5), "c": torch.tensor(2.0)}
    told, at, body = {}, 0, b""
    for name, t in given.items():
        data = t.reshape(-1).view(torch.uint8).numpy().tobytes()
        kind = "U8" if t.dtype == torch.uint8 else "F32"
        offsets = [at, at + len(data)]
        told[name] = {"dtype": kind, "shape": list(t.shape), "data_offsets": offsets}
        at, body = at + len(data), body + data
    head = json.dumps(told).encode()
    file = tmp_path / "odd.safetensors"
    file.write_bytes(len(head).to_bytes(8, "little") + head + body)
    [found] = Stage(CPU).read([places(file)])
    assert all(torch.equal(found[n], t) and found[n].shape == t.shape for n, t in given.items())


def test_every_weight_is_done_once_and_told(tmp_path: Path) -> None:
    given = {f"w{i}": torch.full((i + 1, 3), float(i)) for i in range(40)}
    save_file(given, tmp_path / "a.safetensors")
    table = [(n, {"weight": p}) for n, p in places(tmp_path / "a.safetensors").items()]
    seen: dict[str, torch.Tensor] = {}
    counts: list[tuple[int, int]] = []
    spent = Spent()
    each(
        table,
        lambda n, t: seen.update({n: t["weight"].clone()}),
        CPU,
        lambda *n: counts.append(n),
        spent,
    )
    assert seen.keys() == given.keys() and all(torch.equal(seen[n], given[n]) for n in given)
    assert counts == [(i + 1, 40) for i in range(40)]
    assert spent.nbytes == sum(t.nbytes for t in given.values()) and spent.weights > 0
    assert "GB/s" in str(spent)


def test_a_file_that_shrinks_meanwhile_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    save_file({"w": torch.ones(64, 64)}, file)
    [place] = places(file).values()
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="a.safetensors is damaged or truncated"):
        Stage(CPU).read([{"weight": place}])
    gone = Place("w", tmp_path / "none", "F32", (1,), 0, 4)
    with pytest.raises(CheckpointError, match="none"):
        Stage(CPU).read([{"weight": gone}])


def test_a_tensor_that_the_index_alone_has_is_named(tmp_path: Path) -> None:
    folder = layouts.write(tmp_path, "bf16")
    name = "model.layers.0.attention.dense.weight"
    file = folder / layouts.places(folder)[name]
    tensors = load_file(file)
    del tensors[name]
    save_file(tensors, file)
    with pytest.raises(CheckpointError, match=f"{file.name}: {name} cannot be read"):
        weights.read(folder)
