"""Tiles kept by device: those that exist, and the kernels' own choice elsewhere."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton")

from benchmarks import tune
from flashling.ops import Fp8, device, tuned
from flashling.ops.cases import Maker
from flashling.ops.linear.cases import fp8
from flashling.ops.linear.triton import Few, Stream, choose, shape_of, splits

META = Maker(torch.bfloat16, torch.device("meta"))
H200 = device.KINDS[90]


@pytest.fixture(autouse=True)
def read_again() -> Iterator[None]:
    tuned.table.cache_clear()
    yield
    tuned.table.cache_clear()


def weight_of(name: str) -> Fp8:
    shape, _, form = name.partition(" ")
    return fp8(META, *map(int, shape.split("x")), blocks=form == "blocks")


@pytest.mark.parametrize("path", sorted(tuned.FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_a_file_names_tiles_that_exist(path: Path) -> None:
    kept = json.loads(path.read_text())
    assert kept.keys() <= {"few", "stream"}
    for op, weights in kept.items():
        for name, buckets in weights.items():
            weight = weight_of(name)
            for most, facts in buckets.items():
                tile = (Few if op == "few" else Stream)(**facts)
                assert tile in tune.candidates(int(most), weight, H200) or tile == choose(
                    int(most), weight
                )


def test_what_is_kept_is_taken_on_its_device_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weight = fp8(META, 4096, 4096)
    assert shape_of(weight) == "4096x4096"
    own = {rows: choose(rows, weight) for rows in (1, 16, 17, 64, 128)}
    few, wide = {"rows": 2, "warps": 8}, {"outputs": 128, "rows": 32, "splits": 4}
    kept = {"few": {"4096x4096": {"1": few}}, "stream": {"4096x4096": {"32": wide}}}
    (tmp_path / "nvidia-h200.json").write_text(json.dumps(kept))
    monkeypatch.setattr(tuned, "FOLDER", tmp_path)
    tuned.table.cache_clear()
    assert choose(1, weight) == Few(2, 8)
    assert choose(16, weight) == choose(17, weight) == Stream(128, 32, 4)
    assert [choose(n, weight) for n in (64, 128)] == [own[64], own[128]]
    assert choose(16, fp8(META, 4096, 4096, blocks=True)) != Stream(128, 32, 4)
    monkeypatch.setattr(device, "_pretended", device.KINDS[100])
    assert choose(1, weight) != Few(2, 8)


@pytest.mark.parametrize("rows", tune.ROWS)
def test_candidates_leave_a_row_its_order_of_summation(rows: int) -> None:
    for shape in tune.shapes():
        weight = fp8(META, *shape)
        found = list(tune.candidates(rows, weight, device.KINDS[121]))
        assert len(found) > 2
        for tile in found:
            if isinstance(tile, Stream):
                assert tile.splits == splits(*shape) and tile.rows >= rows
                assert tile.stages * (tile.outputs + tile.rows) * 128 <= 99 * 1024
