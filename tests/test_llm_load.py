"""Kernels compiled beside the reading of weights, and what a start tells of itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from flashling import LLM, nano
from flashling.llm import load as loading
from flashling.llm.load import Compiling, Startup, drafts_of
from flashling.model import compact
from flashling.model.ling import Ling
from flashling.model.stage import Spent
from flashling.ops import Int8


def test_kernels_are_begun_before_any_weight_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[str, bool]] = []

    def warm(model: Ling, exact: bool, drafts: int) -> None:
        # room that nobody has written to, but for the buffers
        seen.append((f"kernels of {drafts} drafts", exact))

    monkeypatch.setattr(loading, "warm", warm)
    compiling, spent = Compiling(exact=True, drafts=2), Spent()

    def told(done: int, _: int) -> None:
        if done == 1:
            seen.append(("weights", compiling.end() > 0))

    read = compact.read(nano.path(), begun=compiling.begin, progress=told, spent=spent)
    assert seen == [("kernels of 2 drafts", True), ("weights", True)]
    files = sum(f.stat().st_size for f in nano.path().glob("*.safetensors"))
    assert 0.9 * files < spent.nbytes < files
    plain = LLM(nano.path(), torch.bfloat16).model.state_dict()
    # it is stored in int8, and held so
    assert isinstance(read.head, Int8)
    assert torch.equal(read.head.unpack(torch.bfloat16), plain["head"])
    said = str(Startup(spent, 1.5))
    assert "GB/s" in said and said.endswith("kernels beside them 1.5 s")


def test_kernels_that_fail_are_told_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    def warm(model: Ling, exact: bool, drafts: int) -> None:
        raise RuntimeError("linear.linear do not compile for this")

    monkeypatch.setattr(loading, "warm", warm)
    compiling = Compiling()
    compiling.begin(LLM().model)
    with pytest.raises(RuntimeError, match="do not compile"):
        compiling.end()


def test_weights_that_fail_are_told_when_kernels_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for file in nano.path().iterdir():
        if file.is_file():
            (tmp_path / file.name).write_bytes(file.read_bytes())
    ends: list[float] = []
    monkeypatch.setattr(Compiling, "end", lambda self: ends.append(0.0) or 0.0)
    name = next(tmp_path.glob("*.safetensors"))
    name.write_bytes(name.read_bytes()[:-10])
    with pytest.raises(ValueError, match=f"{name.name} is damaged"):
        # on the meta device nothing is read before the headers are
        loading.load(tmp_path, None, "meta")
    assert ends == [0.0]


def test_one_draft_is_usual_on_a_gpu_with_an_mtp_layer() -> None:
    def model(kind: str, layers: int) -> Any:
        head = SimpleNamespace(device=torch.device(kind))
        return SimpleNamespace(head=head, mtp=[None] * layers)

    found = [drafts_of(model(kind, n), None) for kind in ("cuda", "cpu") for n in (0, 1)]
    assert found == [0, 1, 0, 0]
    assert drafts_of(model("cpu", 0), 3) == 3 and drafts_of(model("cuda", 1), 0) == 0
