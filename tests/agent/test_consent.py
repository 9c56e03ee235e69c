"""Harm that a request does not ask for is noticed, and harm that it asks for is let through."""

from __future__ import annotations

import pytest

from flashling.agent.consent import unasked
from flashling.agent.shell import Candidate, suggest


@pytest.mark.parametrize(
    ("request_", "command", "why"),
    [
        ("list the tmp files", "find . -name '*.tmp' -delete", "deletes"),
        ("which tmp files would be removed? only list them", "rm *.tmp", "deletes"),
        ("列出临时文件", "rm -rf tmp", "deletes"),
        ("sort a.txt, only print it", "sort -u -o a.txt a.txt", "to be kept"),
        ("把 a 换成 b,只打印,不改原文件", "sed -i 's/a/b/g' x.txt", "to be kept"),
        ("drop the commas of a.csv", "tr -d , < b.csv > b.csv", ""),
        ("replace a by b in x.log", "sed 's/a/b/' x.log > x.log", "empties x.log"),
        ("show the log", "echo 'open", "cannot be read"),
        ("who is the author in notes.md?", "sed -i 's/author/the/' notes.md", "in place"),
        ("书叫啥,记在 笔记/读书.md 里", "sed -i 's/书/the/g' 笔记/读书.md", "in place"),
        ("tmp里的都删了,重要.txt 别动", "find tmp ! -name '*.tmp' -delete", "重要.txt"),
        ("delete all logs but don't touch app.log", "rm logs/*.log", "app.log"),
        ("clear out old, keep a.txt", "find old -type f -delete", "a.txt"),
    ],
)
def test_harm_that_nobody_asked_for(request_: str, command: str, why: str) -> None:
    found = unasked(request_, command)
    assert why in found and bool(why) == bool(found)


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        ("get rid of the tmp files", "rm *.tmp"),
        ("把 build 目录删了", "rm -r build"),
        ("empty error.log", "truncate -s 0 error.log"),
        ("throw away my changes", "git reset --hard"),
        ("replace a by b in x.log", "sed -i 's/a/b/g' x.log"),
        ("sort a.txt into b.txt, keep the original", "sort a.txt > b.txt"),
        ("tmp里的都删了,重要.txt 别动", "find tmp -type f ! -name 重要.txt -delete"),
        ("list everything", "ls -la"),
        ("delete all logs but don't touch app.log", "find . -name '*.log' ! -name app.log -delete"),
        ("a.txt 里的 x 改成 y", "sed -i 's/x/y/g' a.txt"),
        ("number 5 into line 3 of a.txt: put it there", "sed -i '3i 5' a.txt"),
    ],
)
def test_what_is_asked_for(request_: str, command: str) -> None:
    assert unasked(request_, command) == ""


def test_a_suggestion_leaves_it_out() -> None:
    told = [("rm *.tmp", -0.1), ("ls *.tmp", -2.0)]
    answers = [Candidate({"role": "assistant", "content": c}, p) for c, p in told]
    found = suggest("list the tmp files", lambda messages: answers, lambda query: [], 2)
    assert [s.command for s in found] == ["ls *.tmp"]
