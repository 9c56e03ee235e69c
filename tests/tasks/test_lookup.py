"""The tldr index finds what it should, fast; look-up samples hold their format and their split."""

from __future__ import annotations

import gzip
import json
import re
import time
from itertools import islice

import pytest

from flashling.tasks.shell import lookup, tldr
from flashling.tasks.shell.placeholders import fill, spots
from flashling.tasks.shell.tldr import Entry, Index, is_held_out


@pytest.fixture(scope="module")
def index() -> Index:
    return Index.load()


def test_the_shipped_file_is_small_and_loads_fast() -> None:
    assert tldr.PAGES.stat().st_size <= 1_200_000
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        Index.load()
        seconds.append(time.perf_counter() - start)
    # 0.35 s on an idle core
    assert min(seconds) < 1.0


def test_build_is_deterministic_and_settles_options(tmp_path) -> None:
    rows = [
        ("en", "common", "tarp", "Packs `things`. See also: `tar`.", "[e]xtract `it`",
         "tarp {{[-x|--extract]}} {{[ls|list]}} {{path/to/file}} {{a|b}}"),
        ("zh", "linux", "tarp", "打包。", "解压",
         "tarp {{[-x|--extract]}} {{[ls|list]}} {{文件}} {{a|b}}"),
        ("en", "osx", "other", "Else.", "Do it", "other"),
        ("en", "common", "alias", "Alias.", "View documentation", "tldr tarp"),
    ]  # fmt: skip
    keys = ("lang", "platform", "page", "about", "ask", "command")
    source = tmp_path / "rows.gz"
    with gzip.open(source, "wt", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(dict(zip(keys, row, strict=True))) + "\n")
    tldr.build(source, tmp_path / "a.xz")
    size = tldr.build(source, tmp_path / "b.xz")
    assert (tmp_path / "a.xz").read_bytes() == (tmp_path / "b.xz").read_bytes()
    assert size == (tmp_path / "b.xz").stat().st_size
    index = Index.load(tmp_path / "a.xz")
    assert index.entries == [
        Entry("extract it", "tarp -x list {{path/to/file}} {{a|b}}", "tarp", "en"),
        Entry("解压", "tarp -x list {{文件}} {{a|b}}", "tarp", "zh"),
    ]
    # a twin is told once, in the language of the query
    assert [e.lang for e in index.search("extract with tarp")] == ["en"]
    assert [e.lang for e in index.search("用 tarp 解压")] == ["zh"]


@pytest.mark.parametrize(
    ("query", "page"),
    [
        ("crop a pdf with pdfcrop", "pdfcrop"),
        ("show logs of a pod with kubectl", "kubectl-logs"),
        ("用 ffmpeg 从视频中提取音频", "ffmpeg"),
        ("docker compose up in background", "docker-compose"),
    ],
)
def test_a_named_program_is_found(index: Index, query: str, page: str) -> None:
    assert page in [e.page for e in index.search(query, 3)]


def test_search_is_fast_and_odd_queries_are_fine(index: Index) -> None:
    for query in ("", "   ", "\x00", "???", "的", "a" * 5000, "~/x.tar.gz 10.0.0.1"):
        assert len(index.search(query)) <= 10
    asks = [e.ask for e in index.entries[:: len(index.entries) // 100]]
    start = time.perf_counter()
    for ask in asks:
        found = index.search(ask)
        assert len({e.command for e in found}) == len(found)
    assert (time.perf_counter() - start) / len(asks) < 0.03


@pytest.mark.parametrize(("lang", "first", "ten"), [("en", 0.26, 0.46), ("zh", 0.33, 0.53)])
def test_rate_of_hits(index: Index, lang: str, first: float, ten: float) -> None:
    rates = tldr.evaluate(index, lang)
    assert rates["first"] >= first and rates["ten"] >= ten


def test_same_seed_same_samples(index: Index) -> None:
    def take(seed: int) -> list[dict]:
        return list(islice(lookup.samples(seed, index), 50))

    assert take(3) == take(3)
    assert take(3) != take(4)


def test_format(index: Index) -> None:
    for s in islice(lookup.samples(0, index), 500):
        system, user, call, told, answer = s["messages"]
        assert [m["role"] for m in s["messages"]] == [
            "system",
            "user",
            "assistant",
            "tool",
            "assistant",
        ]
        assert system["content"] == "Reply with one shell command."
        assert s["tools"] is None and s["kind"] == "lookup" and s["lang"] in ("en", "zh")
        assert [c["function"] for c in call["tool_calls"]] == [
            {"name": "lookup", "arguments": {"query": user["content"]}}
        ]
        lines = told["content"].split("\n")
        assert 1 <= len(lines) <= 10
        assert all(line.startswith(f"{i}. ") for i, line in enumerate(lines, 1))
        assert sum(line.endswith(" :: " + s["template"]) for line in lines) >= 1
        assert "{{" not in answer["content"] and "\n" not in answer["content"]
        assert not re.search("[\ue000-\ue0ff]", user["content"] + answer["content"])
        assert user["content"] == user["content"].strip()
        assert lookup.fits(answer["content"], s["template"])


def test_values_of_the_command_are_in_the_request(index: Index) -> None:
    """Words of the command that the page does not have were said by the user."""
    for s in islice(lookup.samples(1, index), 1500):
        request, command = s["messages"][1]["content"], s["messages"][-1]["content"]
        page = set(re.findall(r"\w+", s["template"]))
        for word in re.findall(r"\w+", command):
            assert word in page or word in request or any(w in word for w in page), s


def test_rendered_first_turn_is_the_agreed_one(index: Index) -> None:
    from flashling.text.template import render_text

    s = next(lookup.samples(0, index))
    text = render_text(s["messages"], s["tools"], add_generation_prompt=False)
    query = json.dumps(s["messages"][1]["content"], ensure_ascii=False)
    assert (
        f'<tool_call>\n{{"name": "lookup", "arguments": {{"query": {query}}}}}\n</tool_call>'
        in text
    )


def test_held_out_pages_are_never_answered_in_training(index: Index) -> None:
    train = [s["page"] for s in islice(lookup.samples(2, index), 1500)]
    test = [s["page"] for s in islice(lookup.samples(2, index, "test"), 200)]
    assert not any(map(is_held_out, train))
    assert all(map(is_held_out, test))
    assert 0.06 < sum(map(is_held_out, {e.page for e in index.entries})) / len(
        {e.page for e in index.entries}
    ) < 0.10  # fmt: skip
    with pytest.raises(ValueError, match="'dev' is not known"):
        next(lookup.samples(0, index, "dev"))


def test_closed_world_is_left_out(index: Index) -> None:
    assert {"ls", "git", "tar"} <= lookup.closed()
    for s in islice(lookup.samples(5, index), 300):
        assert tldr.head(s["template"]).split()[0] not in lookup.closed()


def test_held_out_rows(index: Index) -> None:
    rows = lookup.held_out(index)
    assert rows == lookup.held_out(index)
    assert {r["lang"] for r in rows} == {"en", "zh"} and len(rows) > 1000
    for r in rows:
        assert is_held_out(r["page"]) and lookup.fits(r["expected"], r["template"])
        assert "{{" not in r["expected"]


def test_fill_quotes_where_bash_needs_it() -> None:
    command = 'x {{path/to/file}} "{{message}}" -t {{a|b|c}} {{file1 file2 ...}} {{name}}'
    values = {"path/to/file": ("~/my notes.txt",), "message": ("it works",), "name": ("tab",)}
    assert fill(command, values) == "x ~/'my notes.txt' \"it works\" -t a file1 file2 tab"
    assert list(spots(command)) == ["path/to/file", "message", "a|b|c", "file1 file2 ...", "name"]


def test_fits() -> None:
    template = "tool -f {{path/to/file}} --to {{png|jpg}}"
    assert lookup.fits("tool -f a.txt --to gif", template)
    assert not lookup.fits("tool -f a.txt", template)
    assert not lookup.fits("tool -f {{path/to/file}} --to png", template)


def test_samples_are_made_fast(index: Index) -> None:
    source = lookup.samples(0, index)
    next(source)
    start = time.perf_counter()
    for _ in islice(source, 400):
        pass
    assert 400 / (time.perf_counter() - start) >= 300
