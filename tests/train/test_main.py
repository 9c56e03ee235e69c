"""A run from the command line without the command line's libraries."""

from __future__ import annotations

from pathlib import Path

import pytest

from flashling.model import weights
from flashling.train.__main__ import main


def test_a_run_is_made_and_exported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["toy", f"out={tmp_path / 'run'}", "steps=2", f"export={tmp_path / 'model'}"]
    assert main(run) == 0
    assert "toy: 2 steps" in capsys.readouterr().out
    assert weights.read(tmp_path / "model").config.vocab_size == 256
    # and goes on where it ended
    assert main(["toy", f"out={tmp_path / 'run'}", "steps=3"]) == 0
    assert "toy: 3 steps" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"), [(["nothing"], "no recipe 'nothing'"), (["toy", "lr=1"], "no 'lr'")]
)
def test_a_wrong_word_is_named(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
