"""The commands in this process: what they print, and the one line of each error."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from flashling.cli import info, run
from flashling.cli.app import main
from flashling.config import LING_FLASH, PRESETS
from flashling.tasks.shell import tldr
from flashling.tasks.shell.tldr import Entry
from tests import toy

Captured = pytest.CaptureFixture[str]


def piped(monkeypatch: pytest.MonkeyPatch, text: str = "") -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))


@pytest.mark.parametrize(
    ("argv", "status", "said"),
    [
        (["fly"], 2, 'Unknown command "fly"'),
        (["chat", "--fly"], 2, "Unknown option: --fly"),
        (["chat", "no/such"], 1, "no folder no/such: give a model's folder"),
        (["chat", "."], 1, "no tokenizer.json at"),
        (["run"], 1, 'flashling run "..."'),
        (["run", "x", "--drafts", "9"], 1, "9 drafts must lie between 0 and 8"),
        (["serve", "--drafts", "9"], 1, "9 drafts must lie between 0 and 8"),
        (["suggest"], 1, "say what to do"),
        (["suggest", "x", "--count", "0"], 1, "count 0 must be 1 at least"),
        (["explain"], 1, "flashling explain 'tar"),
        (["info", "gpt"], 1, "'gpt' is no folder and no name; names: ling-2.6-flash"),
        (["info", "ling"], 1, "names: ling-2.6-flash"),
        (["pull", "ling-3"], 1, "'ling-3' is no model's name: give ling-2.6-flash, "),
        (["train"], 1, "which recipe?; there are: "),
        (["train", "fly"], 1, "no recipe 'fly'; there are: "),
        (["train", "toy", "steps"], 1, "write name=value"),
        (["train", "toy", "wings=2"], 1, "there is no 'wings' to change; there are: name, model"),
        (["train", "toy", "optim.wings=2"], 1, "there is no 'optim.wings'"),
        (["train", "toy", "steps=None"], 1, "has no end: give steps or seconds"),
        (["eval", "fly"], 1, "no evaluation 'fly'"),
        (["eval", "../x"], 1, "no evaluation"),
        (["quantize", "a", "b"], 2, "--format"),
        (["quantize", "a", ".", "--format", "fp8"], 1, ". is not empty; give a new folder"),
        (["quantize", "a", "none", "--format", "fp9"], 1, "form 'fp9' is unknown; choose one of"),
        (["quantize", "a", "none", "--format", "fp8"], 1, "no config.json at"),
        (["shell", "ksh"], 2, '"bash", "zsh", "fish"'),
    ],
)
def test_errors_are_one_line_with_the_remedy(
    argv: list[str], status: int, said: str, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    piped(monkeypatch)
    assert main(argv) == status
    out, err = capsys.readouterr()
    assert said in err and err.startswith("flashling: ") and err.count("\n") == 1
    assert out == ""
    assert main([*argv, "--debug"]) == status
    assert "Traceback" in capsys.readouterr().err


def test_a_surprise_is_said_to_be_one(capsys: Captured, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashling.cli.run.lines", lambda text: [][0])
    assert main(["explain", "ls"]) == 1
    assert "IndexError: list index out of range; run again with --debug" in capsys.readouterr().err


def test_explain(capsys: Captured) -> None:
    assert main(["explain", "sudo rm -rf x | no-such-program"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0] == "! CAREFUL: deletes folders with everything in them"
    assert "! not installed here: no-such-program" in out
    assert "no-such-program  unknown here; see its manual" in out
    assert "\x1b" not in out
    # after -- everything is the command
    assert main(["explain", "--", "ls", "--debug"]) == 0
    assert "--debug" in capsys.readouterr().out


def test_info_agrees_with_the_published_figures(capsys: Captured) -> None:
    assert main(["info", "ling-flash"]) == 0
    out = capsys.readouterr().out
    assert "107.49 B, of them active for a token: 7.45 B (6.81 B without" in out
    assert "4.50 KiB" in out and "56.00 MiB + 28.00 MiB" in out
    s = info.sizes(LING_FLASH)
    assert s.weights["bf16"] == pytest.approx(2 * 107_494_409_216, rel=1e-6)
    assert s.weights["fp8"] / 2**30 == pytest.approx(101.48, abs=0.02)
    bare = info.sizes(LING_FLASH.with_(num_nextn_predict_layers=0))
    assert bare.weights["int4"] / 2**30 == pytest.approx(60.38, abs=0.01)
    assert "128 GB     -" in out


def test_info_reads_folders_and_names(taught: Path, capsys: Captured) -> None:
    for name in [*PRESETS, "ling-1t", str(taught)]:
        assert main(["info", name]) == 0
    assert f"{taught}\n  4 layers" in capsys.readouterr().out


def test_quantize_and_talk_on(
    taught: Path, tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["quantize", str(taught), str(tmp_path / "q"), "--format", "fp8"]) == 0
    assert " MB" in capsys.readouterr().out
    piped(monkeypatch)
    assert main(["run", "hi", "-m", str(tmp_path / "q"), "--temperature", "0"]) == 0
    assert capsys.readouterr().out == "hello there\n"


def test_train_runs_a_recipe(tmp_path: Path, capsys: Captured) -> None:
    assert main(["train", "--list"]) == 0
    assert "toy " in capsys.readouterr().out
    out = f"out={tmp_path / 'run'}"
    small = ["steps=2", "tokens=128", "log_every=1", "optim.lr=1e-3", "schedule.warmup=1"]
    model = tmp_path / "model"
    assert main(["train", "toy", out, *small, "--export", str(model)]) == 0
    assert "toy: 2 steps, loss " in capsys.readouterr().out
    assert (model / "config.json").is_file()
    assert main(["train", "toy", out, *small]) == 1
    assert "--resume" in capsys.readouterr().err
    assert main(["train", "toy", out, "steps=3", *small[1:], "--resume", "--limit", "60"]) == 0


def test_run_answers_from_words_and_pipes(
    taught: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    m = ["-m", str(taught), "--temperature", "0"]
    piped(monkeypatch)
    assert main(["run", "hi", *m]) == 0
    assert capsys.readouterr().out == "hello there\n"
    piped(monkeypatch, "hi\n")
    assert main(["run", *m]) == 0
    assert capsys.readouterr().out == "hello there\n"
    piped(monkeypatch)
    assert main(["run", "list the files", "of src", "--system", toy.SHELL["content"], *m]) == 0
    assert capsys.readouterr().out == "ls -l src\n"
    assert main(["run", "hi", *m, "--max-tokens", "1"]) == 0
    assert capsys.readouterr().out.strip() in "hello there"


def test_suggest_prints_the_command_alone(
    taught: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = ["suggest", "list the files of src", "-m", str(taught)]
    assert main(ask) == 0
    assert capsys.readouterr() == ("ls -l src\n", "")
    assert main([*ask, "--explain"]) == 0
    out, err = capsys.readouterr()
    assert out == "ls -l src\n"
    assert err == "  ls  list files\n  -l  one per line with size, owner and date\n"
    assert main([*ask, "--count", "3"]) == 0
    first, *others = capsys.readouterr().out.splitlines()
    assert first == "ls -l src" and others and first not in others
    monkeypatch.setattr(run, "UNSURE", 0.0)
    assert main([*ask, "--explain"]) == 0
    assert "or: " in capsys.readouterr().err


def test_a_lookup_is_answered_from_the_index(
    taught: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    class OnePage:
        @classmethod
        def load(cls) -> OnePage:
            return cls()

        def search(self, query: str, k: int) -> list[Entry]:
            asked.append(query)
            return [Entry("list files", "ls -l {{src}}", "ls", "en")]

    monkeypatch.setattr(tldr, "Index", OnePage)
    assert main(["suggest", toy.ASKED, "-m", str(taught)]) == 0
    assert capsys.readouterr().out == "ls -l src\n"
    assert asked == [toy.ASKED]
