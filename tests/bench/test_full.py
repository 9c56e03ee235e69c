"""`flashling bench full` at small size: the path from files to answers; never speed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import served
from flashling import nano
from flashling.bench import report
from flashling.bench.engine.recipes import RECIPES, random_model
from flashling.bench.full import checkpoint, many, sessions
from flashling.bench.full.plan import read
from flashling.bench.full.worker import silence
from flashling.bench.load import Sample
from flashling.bench.work import loops
from flashling.cli.app import main
from flashling.config import ModelConfig
from flashling.engine.request import Event
from flashling.model import weights
from flashling.text.tokenizer import Tokenizer

CPU = torch.device("cpu")
SMALL = "model=nano recipe=bf16 layers=4 gigabytes=0 tokens=200 rounds=1 budgets=32 running=2"
SMALL += " together=2 held=256 rows=64 prompt=100 agents=2 turns=3 start=200 end=700 answer=6"


@pytest.mark.soak
def test_the_command_reads_serves_and_brings_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SMALL.split(), f"folders={tmp_path}", f"out={tmp_path}"]
    assert main(["bench", "full", *words]) == 0
    [file] = tmp_path.glob("serve-*.json")
    found = json.loads(file.read_text("utf-8"))
    hows = ["written", "cold", "again", "again", "served"]
    assert [r["how"] for r in found["load"]] == hows
    read = found["load"][1]
    # what it would take whole is told by its bytes
    per_byte = (read["headers_s"] + read["weights_s"]) / found["load"][0]["gb"]
    want = per_byte * read["predicted_whole_gb"] + read["room_s"]
    assert read["predicted_whole_s"] == pytest.approx(want)
    assert found["load"][-1]["ready_s"] > 0
    places = ["device", "host", "disk, page cache", "disk"]
    assert [r["from"] for r in found["sessions"]] == places
    assert {r["tokens"] for r in found["sessions"]} == {200}
    assert all(r["same_tokens"] for r in found["sessions"])
    [mixed] = found["mixed"]
    assert mixed["budget"] == 32 and 0 < mixed["beside_p50_ms"] <= mixed["beside_p99_ms"]
    assert found["many"][0]["hits"] == 2
    [agents] = found["serve"]
    assert agents["requests"] == 6 and not agents["errors"]
    assert agents["tokens"]["output"] == 36
    # each turn sends again what the one before it sent, and the agents share a beginning
    assert 0.3 < agents["reused"] < 1 and 500 < agents["longest"] < 1000
    page = served.page(file)
    assert all(f"## {title}\n" in page for title, *_ in served.SECTIONS)
    assert "2 x 3" in page and "Nothing is measured" in served.page(tmp_path / "none")
    # nothing is left in the folder but the result
    assert list(tmp_path.iterdir()) == [file]


def test_a_part_that_fails_is_told_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sessions.Sessions, "_resume", lambda *_: 1 / 0)
    words = [*SMALL.split(), f"folders={tmp_path}", f"out={tmp_path}"]
    assert main(["bench", "full", "sessions", "mixed", *words]) == 1
    [file] = tmp_path.glob("serve-*.json")
    found = json.loads(file.read_text("utf-8"))
    assert "ZeroDivisionError" in found["sessions"][0]["error"] and found["mixed"][0]["budget"]
    assert main(["bench", "full", "fly", f"out={tmp_path}"]) == 1
    assert "no part 'fly'" in capsys.readouterr().err


def test_many_run_at_once_from_a_shared_beginning(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["many", "model=toy", "recipe=bf16", "held=256", "rows=128", f"out={tmp_path}"]
    assert main(["bench", "full", *words, "together=6,100000000", "commit=abc"]) == 0
    [file] = tmp_path.glob("serve-*.json")
    found = json.loads(file.read_text("utf-8"))
    row, short = found["many"]
    assert (row["asked"], row["running"], row["failed"], row["preempted"]) == (6, 6, 0, 0)
    # each goes on from the common tokens, and all are timed behind their prompts
    assert (row["shared"], row["hits"], row["cached"]) == (64, 6, 6 * 64)
    assert row["context"] > row["prompt"] and row["checkpoints"] > 1
    assert row["tokens_per_s"] == pytest.approx(6e3 / row["ms_of_step"])
    assert short["missing_bytes"] > 1e12 and found["runs"][0]["commit"] == "abc"
    page = served.page(file)
    assert "## Many at once" in page and "GB missing" in page


def test_a_sequence_that_ends_before_its_time_is_told(config: ModelConfig) -> None:
    model = random_model(config, CPU, RECIPES["bf16"])
    size = many.Size(3, 128, 64, 64)
    with many.endless(model):
        assert model.config.eos_token_ids == ()
        run = many.Many(model, size, 1 << 24)
        step = run.engine.step

        def one_fails() -> list[Event]:
            if run.began:
                run.engine.abort(2)
            return step()

        run.engine.step = one_fails
        row = run.measure()
    assert row["failed"] == 1 and row["running"] == 3 and row["hits"] == 3
    assert model.config == config


def test_words_that_are_not_understood() -> None:
    for word, said in (
        ("turns=x", "turns=x"),
        ("wheels=4", "no 'wheels'"),
        ("end=5", "grow"),
        ("held=9", "256"),
    ):
        with pytest.raises(ValueError, match=said):
            read([word, "folders=."])


def test_the_checkpoint_is_one(tmp_path: Path, config: ModelConfig) -> None:
    nbytes = checkpoint.write(config, "fp8", tmp_path)
    files = sum(f.stat().st_size for f in tmp_path.glob("*.safetensors"))
    assert nbytes < files < nbytes + 100_000
    model = weights.read(tmp_path)
    assert all(p.isfinite().all() for p in model.parameters())
    assert model.config.quantization is not None


@pytest.mark.parametrize("recipe", ["bf16", "int4-fp8"])
def test_tokens_without_text_are_never_drawn(recipe: str, config: ModelConfig) -> None:
    model = random_model(config, CPU, RECIPES[recipe])
    silence(model, 20)
    rows = torch.randn(50, config.hidden_size, dtype=torch.bfloat16)
    logits = model.logits(rows)
    assert (logits[:, 20:] == 0).all() and (logits.argmax(-1) < 20).all()


def test_what_agents_send_grows() -> None:
    tokenizer = Tokenizer.read(nano.path())
    one, two = loops(2, 100, 50, 7, 3)
    assert one.messages[0] == two.messages[0] and one.messages[1] != two.messages[1]
    assert len(one.turns) == 3 and one.tokens == 7 and one.is_free
    assert len(tokenizer.encode(one.results[0])) > 50


def test_goodput_counts_what_kept_to_both_limits() -> None:
    fine, late = Sample(0.0, 1.0, 1.4, 10, 0, 11), Sample(0.0, 3.0, 3.1, 10, 0, 11)
    slow, failed = Sample(0.0, 1.0, 4.0, 10, 0, 11), Sample(0.0, 1.0, 1.0, error="no")
    assert report.goodput([fine, late, slow, failed], 2.0, 0.05) == (0.25, 0.25)
    assert report.goodput([], 2.0, 0.05) == (0.0, 0.0)
