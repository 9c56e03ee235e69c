"""Judging shell commands: the items' own answers pass, wrong and harmful ones do not, and the
sandbox holds.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import zip_longest

import pytest

from flashling.evals import sandbox, trees
from flashling.evals.outputs import Place, agree
from flashling.evals.shell import judge, load, score

TROUBLE = sandbox.trouble()
needs_sandbox = pytest.mark.skipif(bool(TROUBLE), reason=f"no sandbox here: {TROUBLE}")


def sample(count=40):
    """Items spread over trees and languages, the same ones each time."""
    groups = {}
    for item in load():
        groups.setdefault((item["tree"], item["lang"]), []).append(item)
    rounds = zip_longest(*(items[:: 1 + len(items) // 8] for _, items in sorted(groups.items())))
    return [item for row in rounds for item in row if item][:count]


def one(word, tree):
    """An item that only asks something about a tree."""
    return next(i for i in load() if i["tree"] == tree and i["gold"].startswith(word))


def judged(items, command):
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(lambda item: judge(item, command or item["gold"]), items))


def test_items_are_well_formed():
    items = load()
    assert len({item["id"] for item in items}) == len(items)
    assert len({(item["request"], item["tree"]) for item in items}) == len(items)
    known = {"id", "lang", "request", "tree", "cwd", "gold", "judge", "before", "after", "note"}
    for item in items:
        assert set(item) <= known
        assert item["id"].startswith(f"shell-{item['lang']}-")
        assert item["tree"] in trees.MOUNTS
        assert item["request"].strip() and item["gold"].strip()


@needs_sandbox
def test_every_gold_command_passes_its_own_judge():
    items = sample()
    assert {item["tree"] for item in items} == set(trees.MOUNTS)
    assert {item["lang"] for item in items} == {"en", "zh"}
    failed = {i["id"]: v for i, v in zip(items, judged(items, ""), strict=True) if not v.ok}
    assert len(items) == 40 and not failed


@needs_sandbox
def test_doing_nothing_is_never_right():
    items = sample()
    verdicts = judged(items, "true")
    assert [i["id"] for i, v in zip(items, verdicts, strict=True) if v.ok] == []
    assert not any(v.destroyed for v in verdicts)


@needs_sandbox
@pytest.mark.parametrize("tree", sorted(trees.MOUNTS))
def test_destruction_is_reported(tree):
    verdict = judge(one("git log" if tree == "repo" else "find", tree), "cd; rm -rf ./*")
    assert verdict.destroyed and not verdict.ok


@needs_sandbox
def test_a_deletion_that_was_asked_for_is_no_destruction():
    asked = [i for i in load() if i["gold"].startswith(("rm ", "truncate "))][:4]
    assert len(asked) == 4
    assert all(v.ok and not v.destroyed for v in judged(asked, ""))
    lost = judge(asked[0] | {"gold": "true", "judge": {}}, asked[0]["gold"])
    assert lost.destroyed and not lost.ok


@needs_sandbox
def test_lost_commits_count_as_destroyed():
    verdict = judge(one("git tag", "repo"), "git tag; git branch -D feature/harvest")
    assert verdict.destroyed and not verdict.ok


@needs_sandbox
def test_scores():
    items = sample(4)
    commands = {items[0]["id"]: [items[0]["gold"]], items[1]["id"]: ["true", items[1]["gold"]]}
    whole = score(items, commands)["all"]
    assert whole == {"items": 4, "first": 0.25, "within_three": 0.5, "destroyed": 0}


@needs_sandbox
def test_nothing_outside_the_folder_can_be_written(tmp_path):
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "kept").write_text("kept")
    tries = [f"echo x > {outside}/new", f"echo x > {outside}/kept", f"rm -rf {outside}"]
    tries += ["echo x > ../../../new", "touch /usr/new /etc/new", "ln -s / root; echo x > root/new"]
    for command in [*tries, "echo here > new"]:
        sandbox.run(command, inside)
    assert [p.name for p in outside.iterdir()] == ["kept"]
    assert (outside / "kept").read_text() == "kept"
    assert (inside / "new").read_text() == "here\n"


@needs_sandbox
def test_endless_commands_are_stopped(tmp_path):
    start = time.monotonic()
    assert sandbox.run("while :; do :; done", tmp_path, seconds=0.5).late
    assert not sandbox.run("sleep 60 & echo started", tmp_path).late
    assert len(sandbox.run("yes", tmp_path).out) <= sandbox.OUTPUT_BYTES
    assert time.monotonic() - start < 8


def test_names_are_found_in_any_listing():
    place = Place(".", "/home/dev", {"a b.txt": "f", "报告.txt": "f", "c.txt": "f"})
    octal = "".join(f"\\{byte:o}" for byte in "报告".encode())
    listing = f"7 4 -rw-r--r-- 1 d d 9 Nov 2 10:00 ./a\\ b.txt\n8 4 -rw- 1 d d 9 x ./{octal}.txt\n"
    assert agree("files", "./报告.txt\n./a b.txt\n", listing, place)
    assert not agree("files", "./c.txt\n", listing, place)


def test_an_unknown_key_in_a_judge_is_refused():
    with pytest.raises(ValueError, match="no such key in a judge: stdoutt"):
        judge(load()[0] | {"judge": {"stdoutt": "exact"}}, "ls")
