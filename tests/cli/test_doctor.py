"""`flashling doctor`: its table, its verdict, its exit status."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashling.cli.app import main
from tests import toy
from tests.model import layouts

Captured = pytest.CaptureFixture[str]
QKV = "model.layers.0.attention.query_key_value.weight"


def test_the_embedded_model(capsys: Captured) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("embedded model\n  8 layers (6 Lightning, 2 MLA), 1 MTP; ")
    assert out.endswith("\nsound\n")
    [row] = [x for x in out.splitlines() if x.startswith("  routed experts")]
    assert row.split()[2:] == ["336", "336", "0", "0", *"int4 in groups of 32".split()]


def test_a_damaged_one(tmp_path: Path, capsys: Captured) -> None:
    folder = layouts.write(tmp_path, "fp8")
    toy.tokenizer().write(folder)
    # the fixture's vocabulary is smaller than the tokenizer's
    layouts.change(folder, f"{QKV}_scale", lambda x: None)
    layouts.change(folder, "model.norm.weight", lambda x: None)
    for i in range(5):
        layouts.add(folder, f"model.layers.0.extra.{i}", torch.ones(2))
    assert main(["doctor", str(folder), "--weights"]) == 1
    out, err = capsys.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["norms", "9", "8", "1", "0", "bfloat16"] in lines
    assert ["not", "expected", "0", "5", "0", "0"] in lines
    assert any(line[:6] == ["Lightning", "layers", "12", "12", "0", "1"] for line in lines)
    assert "missing: 1\n  model.norm.weight is missing\n  remedy: " in out
    assert (
        f"wrong: 1\n  {QKV} is stored as float8_e4m3fn and has no weight_scale beside it\n" in out
    )
    assert "unexpected: 5\n" in out and "\n  and 2 more\n" in out
    assert "tokenizer.json has 308 tokens, config.json 256" in out
    assert out.endswith("\nnot sound: 4 kinds of faults\n")
    assert "the weights are not read" in err


def test_weights_are_read(tmp_path: Path, capsys: Captured) -> None:
    text = tmp_path / "my.txt"
    text.write_text("list the files of src " * 20)
    assert main(["doctor", str(toy.write(tmp_path / "m")), "--text", str(text)]) == 0
    out = capsys.readouterr().out
    assert "nats per token  decay offset 0  decay offset 1\n  my.txt" in out
    assert "settle the decay offset" in out and "hidden state the MTP layer reads" in out
    assert out.endswith("\nsound\n")


def test_no_folder(capsys: Captured) -> None:
    assert main(["doctor", "no/such"]) == 1
    assert "no folder no/such: flashling pull fetches a model" in capsys.readouterr().err
