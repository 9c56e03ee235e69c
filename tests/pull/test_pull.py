"""Pulling from a hub on the loopback that drops, cuts, lies and ignores."""

from __future__ import annotations

import random
import resource
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from flashling.cli.app import main
from flashling.pull import FILES, PullError, Remote, find, hubs, part

from .hub import REPO, Hub, running

BIG = "model-00001-of-00002.safetensors"
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    made = random.Random(0)
    files = {
        BIG: made.randbytes(300_000),
        "model-00002-of-00002.safetensors": made.randbytes(200_000),
        "model-mtp-layer.safetensors": made.randbytes(1_000),
        "model.safetensors.index.json": b"{}",
        "config.json": b'{"a": 1}',
        "tokenizer.json": made.randbytes(5_000),
        "chat_template.jinja": b"{{ messages }}",
        "LICENSE": b"as you like",
        # and what is not needed
        "modeling_some.py": b"import os",
        "figures/benchmark.png": b"png",
        "original/model.safetensors": b"old",
        ".gitattributes": b"",
    }
    monkeypatch.setattr(part, "WAIT_S", 0.001)
    monkeypatch.setattr(part, "CHUNK", 10_000)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.delenv("MODELSCOPE_API_TOKEN", raising=False)
    with running(Hub(files)) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", hub.address + "/")
        yield hub


def same(folder: Path, hub: Hub) -> bool:
    """Whether the folder holds exactly the needed files, whole."""
    here = {p.name: p.read_bytes() for p in folder.iterdir()}
    names = [n for n in hub.files if "/" not in n and not n.startswith(".") and n[-3:] != ".py"]
    return here == {n: hub.files[n] for n in names}


def pulled(folder: Path, name: str = REPO) -> dict[str, list[int]]:
    """Pull, and what a watcher was told of each file."""
    told: dict[str, list[int]] = {}

    def watch(file: Remote, done: int) -> None:
        told.setdefault(file.name, []).append(done)

    find(name).pull(folder, watch)
    return told


@pytest.mark.parametrize("name", [REPO, f"hf:{REPO}", f"ms:{REPO}"])
def test_what_is_needed_is_fetched_and_no_more(name: str, hub: Hub, tmp_path: Path) -> None:
    told = pulled(tmp_path / "model", name)
    assert same(tmp_path / "model", hub)
    assert told[BIG][-1] == 300_000 and told[BIG] == sorted(told[BIG]) and len(told[BIG]) >= 30
    assert all(hub.asked(n) == [""] for n in told)
    # run again: all is checked, and nothing fetched
    pulled(tmp_path / "model", name)
    assert all(hub.asked(n) == [""] for n in told)


def test_short_names() -> None:
    hub, repo = hubs.repository("ling-2.6-flash-int4")
    assert (hub.title, repo) == ("Hugging Face", "inclusionAI/Ling-2.6-flash-int4")
    hub, repo = hubs.repository("ms:Ling-2.6-flash")
    assert (hub.title, repo) == ("ModelScope", "inclusionAI/Ling-2.6-flash")


@pytest.mark.parametrize("name", ["ling-3", "a/b/c", "xx:a/b", "../b", "a/..", "", "hf:"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no model's name: give ling-2.6-flash, "):
        find(name)


def test_a_dropped_connection_is_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    hub.faults[BIG] = ["drop", "short", "503", "429", "drop"]
    pulled(tmp_path)
    assert same(tmp_path, hub)
    starts = [int(r[6:-1] or 0) if r else 0 for r in hub.asked(BIG)]
    assert starts[:2] == [0, 150_000] and starts[2] == starts[3] == starts[4] == 225_000
    assert starts[5] > 225_000


def test_a_hub_that_ignores_range_begins_anew(hub: Hub, tmp_path: Path) -> None:
    hub.faults[BIG] = ["drop", "no range"]
    pulled(tmp_path)
    assert same(tmp_path, hub)
    assert hub.asked(BIG) == ["", "bytes=150000-"]


def test_another_run_goes_on(hub: Hub, tmp_path: Path) -> None:
    hub.faults[BIG] = ["drop", *["503"] * part.ATTEMPTS]
    with pytest.raises(PullError, match=r"Hugging Face is in trouble \(503\): run again later"):
        pulled(tmp_path)
    assert (tmp_path / f"{BIG}.part").stat().st_size == 150_000
    hub.faults.clear()
    pulled(tmp_path)
    assert same(tmp_path, hub)
    assert hub.asked(BIG)[-1] == "bytes=150000-"


def test_a_part_of_something_longer_begins_anew(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / f"{BIG}.part").write_bytes(b"x" * 400_000)
    hub.faults["config.json"] = ["416"]
    pulled(tmp_path)
    assert same(tmp_path, hub)


@pytest.mark.parametrize(
    ("name", "kind"), [(BIG, "SHA-256"), ("config.json", "git SHA-1")], ids=["lfs", "plain"]
)
def test_wrong_bytes_are_named_and_deleted(name: str, kind: str, hub: Hub, tmp_path: Path) -> None:
    hub.faults[name] = ["wrong"]
    with pytest.raises(PullError, match=rf"{name} came with another {kind} .* run again"):
        pulled(tmp_path)
    assert not (tmp_path / name).exists() and not (tmp_path / f"{name}.part").exists()
    pulled(tmp_path)
    assert same(tmp_path, hub)


def test_a_part_of_another_file_is_found_out(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / f"{BIG}.part").write_bytes(b"x" * 1000)
    with pytest.raises(PullError, match=f"{BIG} came with another SHA-256"):
        pulled(tmp_path)
    pulled(tmp_path)
    assert same(tmp_path, hub)


@pytest.mark.parametrize("text", [b'{"a": 2}', b"mine"], ids=["same size", "another"])
def test_a_file_of_ones_own_is_never_overwritten(text: bytes, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_bytes(text)
    with pytest.raises(PullError, match="config.json is another file than the hub's: delete it"):
        pulled(tmp_path)
    assert (tmp_path / "config.json").read_bytes() == text


def test_the_token_stays_with_the_hub(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_s3cret")
    hub.faults[BIG] = ["drop"]
    assert main(["pull", REPO, "--to", str(tmp_path)]) == 0
    for path, headers in hub.seen:
        given = headers.get("Authorization")
        assert given == (None if path.startswith("/cdn/") else "Bearer hf_s3cret"), path
    hub.status = [401]
    assert main(["pull", REPO, "--to", str(tmp_path), "--debug"]) == 1
    out, err = capsys.readouterr()
    assert "s3cret" not in out + err


@pytest.mark.parametrize(
    ("status", "said"),
    [
        ([401], "some/model is not known to Hugging Face, or asks for a token (401): check the n"),
        ([403], "Hugging Face refuses some/model (403): accept its terms on its page, and set HF_"),
        ([404], "Hugging Face has no some/model (404): check the name"),
        ([429] * 3, "Hugging Face has had too many requests (429): wait some minutes and run aga"),
        ([500] * 3, "Hugging Face is in trouble (500): run again later"),
        ([418], "Hugging Face refuses some/model (418)"),
    ],
)
def test_refusals_are_one_sentence(
    status: list[int], said: str, hub: Hub, tmp_path: Path, capsys: Captured
) -> None:
    hub.status = status
    assert main(["pull", REPO, "--to", str(tmp_path / "new")]) == 1
    out, err = capsys.readouterr()
    assert err.startswith(f"flashling: {said}") and err.count("\n") == 1 and out == ""
    assert not hub.status and not (tmp_path / "new").exists()


def test_no_network(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    # a port that was open a moment ago
    with running(Hub({})) as closed:
        monkeypatch.setenv("HF_ENDPOINT", closed.address)
    said = r"127.0.0.1:\d+ cannot be reached \(Connection refused\): check the network, or name a"
    with pytest.raises(PullError, match=said):
        find(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "mirror")
    with pytest.raises(ValueError, match="HF_ENDPOINT is 'mirror', which is no address"):
        find(REPO)


def test_what_is_no_hub_and_no_model(hub: Hub) -> None:
    hub.change = lambda listing: listing.pop("siblings")
    with pytest.raises(PullError, match="not in the form of Hugging Face: does HF_ENDPOINT name"):
        find(REPO)
    hub.change = lambda listing: None
    del hub.files["config.json"]
    with pytest.raises(PullError, match="some/model on ModelScope holds no model that is read"):
        find(f"ms:{REPO}")


def test_a_full_disk_is_foreseen(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 400_000

    monkeypatch.setattr("flashling.pull.shutil.disk_usage", lambda path: Usage)
    with pytest.raises(
        PullError, match=r"has 400.0 kB free and 506.0 kB are still to come: make room"
    ):
        pulled(tmp_path)
    assert not hub.asked(BIG)
    # what is here counts
    (tmp_path / f"{BIG}.part").write_bytes(hub.files[BIG][:200_000])
    pulled(tmp_path)
    assert same(tmp_path, hub)


def test_a_disk_that_fills_up(hub: Hub, tmp_path: Path) -> None:
    # the rest of a file of this size is refused
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (205_000, limit[1]))
    try:
        with pytest.raises(
            PullError, match=f"{BIG}.part: this disk takes no file of its size; what"
        ):
            pulled(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (tmp_path / f"{BIG}.part").stat().st_size == 205_000
    pulled(tmp_path)
    assert same(tmp_path, hub)


def test_a_few_files_at_once(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # the test ends only if so many run together
    meeting, met = threading.Barrier(FILES), threading.Event()
    real = part.Part.go_on

    def go_on(self: part.Part, web: object) -> None:
        if not met.is_set():
            meeting.wait(10)
            met.set()
        real(self, web)  # type: ignore

    monkeypatch.setattr(part.Part, "go_on", go_on)
    pulled(tmp_path)
    assert met.is_set() and same(tmp_path, hub)


def test_the_command_tells_what_it_does(hub: Hub, tmp_path: Path, capsys: Captured) -> None:
    assert main(["pull", REPO, "--to", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert out == f"{tmp_path}: 8 files, 506.0 kB, all checked\n"
    assert "some/model from Hugging Face: 8 files, 506.0 kB\n" in err
    assert f"{BIG}  300.0 kB\n" in err and f"flashling doctor {tmp_path}" in err


def test_bars_where_a_person_looks(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    assert main(["pull", REPO, "--to", str(tmp_path)]) == 0
    assert "506.0/506.0 kB" in capsys.readouterr().err.replace("\n", " ")
