"""The generated pages say what the code says, and the README calls what exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import docs

ROOT = Path(__file__).parents[1]


def words(page: str) -> list[str]:
    """A page without its layout, which differs between versions of the libraries that make it."""
    return re.findall(r"[^\s─│╭╮╰╯]+", page)


@pytest.mark.parametrize("name", docs.PAGES)
def test_the_page_is_up_to_date(name: str) -> None:
    found = (docs.DOCS / name).read_text("utf-8")
    assert words(found) == words(docs.PAGES[name]()), f"docs/{name} is old; run make docs"


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
