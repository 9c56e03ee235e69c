"""The generated pages say what the code says, and the README calls what exists."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from benchmarks import docs, kernels

ROOT = Path(__file__).parents[1]


def words(page: str) -> list[str]:
    """A page without its layout, which differs between versions of the libraries that make it."""
    return re.findall(r"[^\s─│╭╮╰╯]+", page)


@pytest.mark.parametrize("name", docs.PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    found = (docs.DOCS / name).read_text("utf-8")
    assert words(found) == words(docs.PAGES[name]()), f"docs/{name} is old; run make docs"


def test_the_page_of_kernels_has_every_op() -> None:
    page = kernels.page()
    assert not [op.__name__ for _, op in docs.all_ops() if f"| `{op.__name__}` |" not in page]


def test_a_gpus_results_become_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {
        "device": "A GPU",
        "command": "make bench",
        "commit": "abc",
        "torch": "2",
        "seconds": 9,
    }
    about |= {"compiled_s": 3, "ceilings": {"read_tb_per_s": 4.5, "launch_us": 1.0}}
    row = {"op": "norm", "case": "prefill", "how": "triton:norm", "us": 30.5, "gb_per_s": 4000}
    row |= {"limit": "bytes", "of_limit": 0.925, "same_bits": True}
    peers = [{"name": "F.rms_norm", "us": 44}, {"name": "fla", "failed": "no"}]
    rows = [row, *(row | {"peer": p} for p in peers), {**row, "wrong": "relative error nan"}]
    (tmp_path / "ops-a-gpu.json").write_text(json.dumps({"about": about, "rows": rows}))
    monkeypatch.setattr(kernels, "RESULTS", tmp_path)
    tables = kernels.page().split("## A GPU")[1]
    start = "| prefill | `triton:norm` | 30.5 | 4000 |  | bytes | 92 % | yes |"
    assert f"{start}  |" in tables and f"{start} 44 (F.rms_norm) |" in tables
    assert f"{start} fla: does not run here |" in tables
    assert "wrong: relative error nan" in tables
    widths = {line.count("|") for line in tables.splitlines() if line.startswith("|")}
    assert widths == {10}


def test_what_was_compiled_becomes_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    about = {"device": "A CPU", "command": "compile", "commit": "abc", "cores": 16}
    most = {"a": {"shared": 10, "registers": 9, "spilled": 0}}
    most |= {"b": {"shared": 20, "registers": 9, "spilled": 8}}
    row = {"kind": 121, "recipe": "fp8", "kernels": 2, "seconds": 3.5, "most": most}
    row |= {"failed": {"c": 1}, "too_large": ["b"]}
    (tmp_path / "compiled.json").write_text(json.dumps({"about": about, "rows": [row]}))
    monkeypatch.setattr(kernels, "RESULTS", tmp_path)
    line = "| sm_121 | fp8 | 2 | 3.5 | 20 (b) | b 8 | c does not compile, b does not fit |"
    assert line in kernels.page()


def called(program: str) -> list[str]:
    """First words after `program` in the README's code blocks; flags do not count."""
    blocks = re.findall(r"^```.*?^```", (ROOT / "README.md").read_text("utf-8"), re.M | re.S)
    found = re.findall(rf"^(?:\$ )?{program}\b[ \t]*(\w*)", "\n".join(blocks), re.M)
    return [word for word in found if word]


def test_the_readme_calls_commands_that_exist() -> None:
    assert set(called("flashling")) <= set(docs.commands())


def test_the_readme_calls_verbs_that_exist() -> None:
    verbs = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.M)
    assert called("make")
    assert set(called("make")) <= set(verbs)
