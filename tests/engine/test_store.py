"""The lower tiers: what is loaded is what was stored, bit for bit, or nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from flashling.engine import atomic, parked
from flashling.engine.cache import PAGE, Snapshot
from flashling.engine.records import Record, Records, pack, space_of, unpack
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.ops import quantise_state

BIG, LONG = 1 << 30, 1e9


def made(length: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> tuple[Snapshot, Tensor]:
    """A snapshot and pages of so many tokens, zero after the last; with a state in int8 if that is
    asked for.
    """
    if dtype == torch.int8:
        return small(*made(length, torch.bfloat16, seed))
    draw = torch.Generator().manual_seed(1000 * seed + length)
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    base = (length - 1) // 64 * 64 if length % 13 else length
    state = torch.randn(3, 2, 4, 4, generator=draw, dtype=wide)
    tail = torch.randn(3, 2, length - base, 2, 4, generator=draw).to(dtype)
    pages = torch.randn(-(-length // PAGE), 1, PAGE, 6, generator=draw).to(dtype)
    parked.clear_rest(pages, length)
    hidden = torch.randn(8, generator=draw).to(dtype) if length % 2 == 0 else None
    return Snapshot(base, state, tail, hidden), pages


def small(snapshot: Snapshot, pages: Tensor) -> tuple[Snapshot, Tensor]:
    """The same with a state in int8."""
    state, scale = quantise_state(snapshot.state, snapshot.tail, torch.full((3, 2), 0.1))
    tail = snapshot.tail[:, :, :0]
    return Snapshot(snapshot.length, state, tail, snapshot.hidden, scale), pages


def same(found: tuple[Snapshot, Tensor] | None, wanted: tuple[Snapshot, Tensor]) -> bool:
    if found is None or found[0].base != wanted[0].base:
        return False
    if any(
        (getattr(found[0], n) is None) != (getattr(wanted[0], n) is None)
        for n in ("hidden", "scale")
    ):
        return False
    pairs = zip(parked.tensors_of(*found), parked.tensors_of(*wanted), strict=True)
    return all(
        a.dtype == b.dtype
        and a.shape == b.shape
        and bytes(a.reshape(-1).view(torch.uint8).tolist())
        == bytes(b.reshape(-1).view(torch.uint8).tolist())
        for a, b in pairs
    )


def opened(folder: Path, fingerprint: bytes = b"weights 1", **settings) -> Store:
    settings = {"quota_bytes": BIG, "max_age_seconds": LONG, **settings}
    return Store(folder, fingerprint, **settings)


def files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int8])
@pytest.mark.parametrize("kind", ["disk", "again", "host"])
def test_round_trip_is_bit_for_bit(dtype: torch.dtype, kind: str, tmp_path: Path) -> None:
    tier = Host(BIG) if kind == "host" else opened(tmp_path)
    lengths = (1, 5, 63, 64, 65, 128, 130)
    for n in lengths:
        snapshot, pages = made(n, dtype)
        dirty = pages.clone()
        if n % PAGE:
            # what another sequence left in the last page must not be kept
            dirty[-1, :, n % PAGE :] = torch.nan
        assert tier.put("a", range(n), snapshot, dirty)
        assert n % PAGE == 0 or dirty[-1].isnan().any()
    if kind == "again":
        tier = opened(tmp_path)
        assert len(tier) == len(lengths) and not tier.stats
    for n in lengths:
        record = tier.match("a", range(500), n)
        assert record is not None and record.length == n
        assert same(tier.load(record), made(n, dtype))
    assert tier.match("a", range(500), 0) is None


def test_odd_values_come_back_as_they_were(tmp_path: Path) -> None:
    store = opened(tmp_path)
    snapshot, pages = made(7)
    snapshot.state.view(-1)[:3] = torch.tensor([-0.0, 1e-45, 3.4e38])
    # rows of a larger buffer, as a slot's are
    strided = torch.zeros(3, 2, 64, 2, 4)[:, :, : snapshot.tail.shape[2]].copy_(snapshot.tail)
    assert store.put("a", range(7), Snapshot(0, snapshot.state, strided, snapshot.hidden), pages)
    record = store.match("a", range(7), 7)
    assert record is not None and same(store.load(record), (snapshot, pages))


def test_the_longest_prefix_within_its_namespace_is_found(tmp_path: Path) -> None:
    for tier in (opened(tmp_path), Host(BIG)):
        for n in (3, 70):
            assert tier.put("a", range(n), *made(n))
        assert tier.put("a", [0, 1, 9], *made(3, seed=1))
        found = tier.match("a", [*range(60), 1], 61)
        assert found is not None and unpack(found.tokens) == (0, 1, 2)
        found = tier.match("a", [0, 1, 9, 9], 4)
        assert found is not None and unpack(found.tokens) == (0, 1, 9)
        assert tier.match("a", [0, 1], 2) is None and tier.match("a", [1, 2, 3], 3) is None
        # neither another namespace nor one that is spelt alike sees it
        for other in ("", "b", "A", "a/", "a\0"):
            assert tier.match(other, range(70), 70) is None
            assert tier.session(other, "s") is None


def test_names_never_choose_paths(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    names = ["../../evil", "/etc/passwd", "..", ".", "", "a\0b", "\ud800", "x" * 10_000, "ü/ü"]
    store = opened(folder)
    for i, name in enumerate(names):
        assert store.put(name, range(4), *made(4), session=name or "none")
        assert store.put(name, [i, 2], *made(2))
    again = opened(folder)
    for name in names:
        assert (found := again.session(name, name or "none")) and found.session == (name or "none")
    assert {p.relative_to(tmp_path).parts[0] for p in tmp_path.rglob("*")} == {"store"}
    for path in files(folder):
        space, name = path.relative_to(folder).parts
        assert len(space) == 40 and len(name) == 45
        assert set(space + name.removesuffix(".park")) <= set("0123456789abcdef")
        assert path.stat().st_mode & 0o077 == path.parent.stat().st_mode & 0o077 == 0
    with pytest.raises(ValueError, match="name is empty"):
        store.put("a", range(4), *made(4), session="")


def test_links_and_strange_entries_are_not_followed(tmp_path: Path) -> None:
    store = opened(tmp_path / "a")
    assert store.put("n", range(5), *made(5))
    [path] = files(tmp_path / "a")
    secret = tmp_path / "secret"
    path.rename(secret)
    path.symlink_to(secret)
    (path.parent / "folder.park").mkdir()
    os.mkfifo(path.parent / "pipe.park")
    (tmp_path / "a" / "outside").symlink_to(tmp_path)
    again = opened(tmp_path / "a")
    assert len(again) == 0 and again.stats == {"unreadable": 2, "size": 1}
    opened(tmp_path / "a", quota_bytes=0)
    assert secret.exists() and path.is_symlink()
    record = store.match("n", range(5), 5)
    assert record is not None and store.load(record) is None


def test_a_session_is_one_file_and_deleting_unlinks_it(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for n in (5, 70, 9):
        assert store.put("a", range(n), *made(n), session="s")
        assert len(files(tmp_path)) == len(store) == 1
    old = store.session("a", "s")
    assert old is not None and old.length == 9 and store.match("a", range(70), 70) is old
    assert store.put("a", range(20), *made(20), session="s")
    # the file at that path is another's now: never its tensors under the old tokens
    assert store.load(old) is None and store.stats["replaced"] == 1
    new = store.session("a", "s")
    assert new is not None and same(store.load(new), made(20))
    assert not store.delete(old) and store.delete(new) and not store.delete(new)
    assert not files(tmp_path) and store.nbytes == 0 and store.session("a", "s") is None
    assert store.match("a", range(20), 20) is None and store.load(new) is None


def stored(folder: Path) -> tuple[Path, bytes]:
    assert opened(folder).put("a", range(70), *made(70), session="s")
    [path] = files(folder)
    return path, path.read_bytes()


def find(folder: Path) -> tuple[Snapshot, Tensor] | None:
    """What a fresh start would go on from."""
    store = opened(folder)
    record = store.match("a", range(100), 100) or store.session("a", "s")
    if record is None:
        assert sum(store.stats.values()) > 0 or not files(folder)
        return None
    found = store.load(record)
    assert found is not None or sum(store.stats.values()) == 1
    assert found is not None or store.match("a", range(100), 100) is None
    return found


def test_a_file_cut_anywhere_is_never_loaded(tmp_path: Path) -> None:
    path, whole = stored(tmp_path)
    head = parked.FIXED.size + 1 + 4 * 70 + parked.DIGEST_BYTES
    cuts = {0, 1, 7, 8, parked.FIXED.size, head, len(whole) - 1}
    cuts |= {c + d for c in (parked.FIXED.size, head, len(whole) // 2) for d in (-1, 0, 1)}
    cuts |= set(random.Random(0).sample(range(len(whole)), 60))
    for cut in sorted(cuts):
        path.write_bytes(whole[:cut])
        assert find(tmp_path) is None
        # zeros where a disk lost what was written
        path.write_bytes(whole[:cut] + bytes(len(whole) - cut))
        assert find(tmp_path) is None or whole[cut:].strip(b"\0") == b""
        draft = path.with_name(f"{path.stem}-00000000{atomic.DRAFT}")
        path.unlink()
        draft.write_bytes(whole[:cut])
        assert find(tmp_path) is None and not draft.exists()
    path.write_bytes(whole + b"\0")
    assert find(tmp_path) is None
    path.write_bytes(whole)
    assert same(find(tmp_path), made(70))


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    path, whole = stored(tmp_path)
    draw = random.Random(1)
    head = parked.FIXED.size + 1 + 4 * 70 + parked.DIGEST_BYTES
    places = [*range(head), *draw.sample(range(head, len(whole)), 150)]
    for at in places:
        broken = bytearray(whole)
        broken[at] ^= 1 << draw.randrange(8)
        path.write_bytes(broken)
        assert find(tmp_path) is None, at
    # damage that comes after the start is found as well
    path.write_bytes(whole)
    store = opened(tmp_path)
    record = store.session("a", "s")
    path.write_bytes(whole[:-5] + b"wrong")
    assert record is not None and store.load(record) is None
    assert store.stats == {"digest": 1} and len(store) == 0 and store.nbytes == len(whole)
    assert store.put("a", range(70), *made(70), session="s") and store.nbytes == len(whole)
    assert same(find(tmp_path), made(70))


def forged(whole: bytes, **fields) -> bytes:
    """A file with other fields and a valid digest, as a broken or hostile writer makes it."""
    names = "magic version name fingerprint namespace payload base count d0 d1 d2 d3 d4".split()
    values = list(parked.FIXED.unpack(whole[: parked.FIXED.size]))
    for name, value in fields.items():
        values[names.index(name) if name in names else int(name[1:]) + len(names)] = value
    rest = whole[parked.FIXED.size : parked.FIXED.size + 1 + 4 * 70]
    head = parked.FIXED.pack(*values) + rest
    return head + parked.hashed(head) + whole[len(head) + parked.DIGEST_BYTES :]


@pytest.mark.parametrize(
    ("reason", "fields"),
    [
        ("magic", {"magic": b"\x89LINGPK\r"}),
        ("version", {"version": 2}),
        ("fingerprint", {"fingerprint": bytes(32)}),
        ("namespace", {"namespace": bytes(32)}),
        ("shape", {"base": 65}),
        ("shape", {"base": 1 << 63}),
        ("shape", {"s0": 2, "s1": 3}),
        ("shape", {"s9": 1, "s10": 2}),
        ("size", {"s0": 4}),
        ("size", {"count": 1 << 62}),
        ("size", {"s0": 0xFFFFFFFF, "s1": 0xFFFFFFFF, "s2": 0xFFFFFFFF, "s3": 0xFFFFFFFF}),
        ("dtype", {"d0": 4}),
        # in int8, but of as many bytes and without a scale
        ("dtype", {"d0": 3, "s3": 16}),
        ("shape", {"s14": 3, "s15": 2, "s16": 0}),
        ("size", {"d2": 1}),
    ],
)
def test_a_header_is_believed_in_no_number(reason: str, fields: dict, tmp_path: Path) -> None:
    path, whole = stored(tmp_path)
    assert forged(whole) == whole
    path.write_bytes(forged(whole, **fields))
    store = opened(tmp_path)
    assert len(store) == 0 and store.stats == {reason: 1}


def test_a_copy_under_another_name_or_namespace_is_skipped(tmp_path: Path) -> None:
    path, whole = stored(tmp_path)
    (path.parent / ("0" * 40 + ".park")).write_bytes(whole)
    other = tmp_path / space_of("b")
    other.mkdir()
    (other / path.name).write_bytes(whole)
    store = opened(tmp_path)
    assert len(store) == 1 and store.stats == {"name": 1, "namespace": 1}
    assert store.session("b", "s") is None and store.nbytes == 3 * len(whole)


def test_other_weights_find_nothing_and_make_room(tmp_path: Path) -> None:
    path, whole = stored(tmp_path)
    other = opened(tmp_path, b"weights 2", quota_bytes=len(whole))
    assert len(other) == 0 and other.stats == {"fingerprint": 1} and path.exists()
    assert other.put("a", range(69), *made(69)) and not path.exists()
    record = other.match("a", range(69), 69)
    other.update(b"weights 3")
    assert record is not None and other.load(record) is None and not files(tmp_path)
    assert other.put("a", range(69), *made(69)) and len(opened(tmp_path, b"weights 3")) == 1


def test_slices_are_put_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parked, "SLICE", 64)
    path, whole = stored(tmp_path)
    assert same(find(tmp_path), made(70))
    # a byte of any slice
    for at in (-1, -500, -3500, -4500):
        bad = bytearray(whole)
        bad[at] ^= 1
        path.write_bytes(bytes(bad))
        store = opened(tmp_path)
        record = store.session("a", "s")
        assert record is not None and store.load(record) is None
        assert store.stats == {"digest": 1}, at


def test_what_is_not_finite_is_neither_stored_nor_loaded(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for bad in (torch.nan, torch.inf, -torch.inf):
        snapshot, pages = made(70)
        snapshot.state[2, 1, 3, 3] = bad
        assert not store.put("a", range(70), snapshot, pages)
    assert store.stats == {"not finite": 3} and not files(tmp_path)
    _, whole = stored(tmp_path)
    head = parked.FIXED.size + 1 + 4 * 70 + parked.DIGEST_BYTES
    bad = bytearray(whole)
    bad[head : head + 4] = b"\0\0\xc0\x7f"
    chunks, at = [], head
    for x in parked.tensors_of(*made(70)):
        chunks.append(memoryview(bad)[at : at + x.nbytes])
        at += x.nbytes
    payload = parked.digest_of(chunks)
    files(tmp_path)[0].write_bytes(forged(bytes(bad), payload=payload))
    store = opened(tmp_path)
    record = store.session("a", "s")
    assert record is not None and store.load(record) is None
    assert store.stats == {"not finite": 1}


def test_what_does_not_belong_together_is_refused(tmp_path: Path) -> None:
    snapshot, pages = made(70)
    for tier in (opened(tmp_path), Host(BIG)):
        with pytest.raises(ValueError, match="71 tokens do not go with base 64"):
            tier.put("a", range(71), snapshot, pages)
        with pytest.raises(ValueError, match="give the snapshot at their end"):
            tier.put("a", range(70), snapshot, pages[:1])
        with pytest.raises(ValueError, match="dtypes"):
            tier.put("a", range(70), snapshot, pages.half())
        with pytest.raises(ValueError, match="token id"):
            tier.put("a", [-1] * 70, snapshot, pages)
        assert len(tier) == 0


class Clock:
    now = 1e9

    def __call__(self) -> float:
        self.now += 1
        return self.now


def test_the_longest_unused_makes_room(tmp_path: Path) -> None:
    size = len(stored(tmp_path / "size")[1])
    store = opened(tmp_path / "a", quota_bytes=3 * size + 64, clock=Clock())
    for i in range(3):
        assert store.put("a", [i, *range(69)], *made(70))
    first = store.match("a", range(70), 70) or store.match("a", [0, *range(69)], 70)
    assert first is not None and store.load(first) is not None
    assert store.put("b", range(70), *made(70))
    kept = [i for i in range(3) if store.match("a", [i, *range(69)], 70)]
    assert kept == [0, 2] and store.stats["evicted"] == 1 and store.nbytes <= store.quota_bytes
    # the order survives a restart, and a smaller quota holds at once
    again = opened(tmp_path / "a", quota_bytes=2 * size, clock=store._clock)
    kept = [i for i in range(3) if again.match("a", [i, *range(69)], 70)]
    assert kept == [0] and again.match("b", range(70), 70) and len(files(tmp_path / "a")) == 2
    assert not opened(tmp_path / "b", quota_bytes=size - 65).put("a", range(70), *made(70))
    assert not list((tmp_path / "b").rglob("*.park"))


def test_replacing_keeps_the_old_file_until_the_new_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, whole = stored(tmp_path)
    assert opened(tmp_path).put("b", range(70), *made(70), session="s")
    store = opened(tmp_path, quota_bytes=2 * len(whole))
    old = store.session("a", "s")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(atomic.os, "fsync", full)
        assert not store.put("a", range(69), *made(69), session="s")
    assert store.stats == {"write failed": 1} and store.nbytes == 2 * len(whole)
    assert store.session("a", "s") is old and old is not None
    assert len(files(tmp_path)) == 2 and same(store.load(old), made(70))
    # what is replaced makes its own room: the other namespace loses nothing
    assert store.put("a", range(69), *made(69), session="s") and len(files(tmp_path)) == 2
    assert store.session("b", "s") and store.stats["evicted"] == 0


def test_a_full_disk_leaves_no_half_file(tmp_path: Path) -> None:
    import resource

    store = opened(tmp_path)
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for limit in (0, 100, 700, 2000):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, was[1]))
            assert not store.put("a", range(70), *made(70))
            assert not files(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, was)
        signal.signal(signal.SIGXFSZ, handler)
    assert store.stats == {"write failed": 4} and store.nbytes == 0 and len(store) == 0
    assert store.put("a", range(70), *made(70))


def test_what_is_old_goes(tmp_path: Path) -> None:
    clock = Clock()
    store = opened(tmp_path, max_age_seconds=100, clock=clock)
    assert store.put("a", range(70), *made(70)) and store.put("a", range(3), *made(3), session="s")
    clock.now += 60
    record = store.match("a", range(80), 80)
    assert record is not None and store.load(record)
    clock.now += 60
    found = store.match("a", range(80), 80)
    assert found is record and store.session("a", "s") is None and len(files(tmp_path)) == 1
    clock.now += 101
    again = opened(tmp_path, max_age_seconds=100, clock=clock)
    assert len(again) == 0 and again.stats == {"expired": 1} and not files(tmp_path)
    assert store.match("a", range(80), 80) is None


WRITER = """
import sys, time
import torch
from pathlib import Path
from flashling.engine.cache import Snapshot
from flashling.engine.store import Store
store = Store(Path(sys.argv[1]), b"weights 1", 1 << 40, 1e9)
pages = torch.ones(400, 1, 64, 500)
print("ready", flush=True)
for i in range(1, 10_000):
    state = torch.full((3, 2, 4, 4), float(i))
    tail = torch.zeros(3, 2, 64, 2, 4)
    store.put("a", [i] * 25_600, Snapshot(25_536, state, tail), pages, session=f"s{i % 3}")
"""


def test_a_killed_writer_leaves_a_store_that_opens(tmp_path: Path) -> None:
    caught = 0
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE
        ) as writer:
            assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
            # until it is in the middle of a file
            end = time.monotonic() + 20
            while time.monotonic() < end and not (
                len(list(tmp_path.rglob("*.park"))) == 3 and list(tmp_path.rglob("*.draft"))
            ):
                time.sleep(0.002)
            writer.send_signal(signal.SIGKILL)
        caught += bool(list(tmp_path.rglob("*.draft")))
        store = opened(tmp_path)
        assert len(store) == 3 and not store.stats and not list(tmp_path.rglob("*.draft"))
        for i in range(3):
            record = store.session("a", f"s{i}")
            assert record is not None
            found = store.load(record)
            assert found is not None
            value = unpack(record.tokens)[0]
            assert value % 3 == i and bool((found[0].state == value).all())
        if caught:
            break
    assert caught, "the writer was never caught in the middle of a file"


def test_a_draft_that_is_being_written_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, real = opened(tmp_path), os.fsync

    def look(number: int) -> None:
        if list(tmp_path.rglob("*.draft")):
            assert len(opened(tmp_path)) == 0
        real(number)

    monkeypatch.setattr(atomic.os, "fsync", look)
    assert store.put("a", range(70), *made(70)) and len(opened(tmp_path)) == 1


def test_readers_beside_a_writer_see_whole_files_only(tmp_path: Path) -> None:
    store = opened(tmp_path)
    assert store.put("a", range(70), *made(70, seed=0), session="s")
    versions = [made(70, seed=i) for i in range(4)]
    ended = threading.Event()
    wrong: list[str] = []

    def read() -> None:
        loaded = 0
        while not ended.is_set() or not loaded:
            record = store.session("a", "s")
            found = store.load(record) if record else None
            if found is not None:
                loaded += 1
                if not any(same(found, v) for v in versions):
                    wrong.append("torn")

    readers = [threading.Thread(target=read) for _ in range(2)]
    for r in readers:
        r.start()
    for i in range(100):
        assert store.put("a", range(70), *versions[i % 4], session="s")
    ended.set()
    for r in readers:
        r.join()
    assert not wrong and set(store.stats) <= {"stored", "loaded", "replaced"}


def test_the_index_finds_what_a_naive_search_finds() -> None:
    draw = random.Random(5)
    for _ in range(60):
        records, kept = Records(), []
        for i in range(draw.randrange(1, 40)):
            tokens = pack([draw.choice((0, 1, 255, 2**32 - 1)) for _ in range(draw.randint(1, 7))])
            record = Record("n", f"{i}", tokens, None, 1, 0.0)
            records.add(record)
            kept.append(record)
            if draw.random() < 0.3:
                gone = kept.pop(draw.randrange(len(kept)))
                assert records.remove(gone) and not records.remove(gone)
        for _ in range(40):
            asked = pack([draw.choice((0, 1, 255, 2**32 - 1)) for _ in range(draw.randint(0, 9))])
            lengths = [r.length for r in kept if asked.startswith(r.tokens)]
            found = records.longest("n", asked)
            assert (found.length if found else 0) == max(lengths, default=0)
        for r in kept:
            n = len(r.tokens)
            after = [k.tokens[n : n + 4] for k in kept if k.tokens.startswith(r.tokens)]
            ways = len(set(after) - {b""})
            assert records.kind(r) == (2 if ways > 1 else 1 if ways == 0 else 0)
        assert records.nbytes == len(records) == len(kept)


@pytest.mark.parametrize("seed", range(12))
def test_random_operations_agree_with_a_dictionary(seed: int, tmp_path: Path) -> None:
    draw, clock = random.Random(seed), Clock()
    on_disk = seed % 3 > 0
    tier = opened(tmp_path, clock=clock) if on_disk else Host(BIG)
    model: dict[tuple, tuple[tuple[int, ...], int]] = {}

    def prompt() -> tuple[int, ...]:
        return tuple(draw.choice((1, 1, 1, 2)) for _ in range(draw.choice((1, 2, 3, 64, 65, 70))))

    for step in range(60):
        space, tokens = draw.choice("ab"), prompt()
        session = draw.choice((None, None, "x", "y"))
        chance = draw.random()
        if chance < 0.45:
            assert tier.put(space, tokens, *made(len(tokens), seed=step), session=session)
            model[space, session or tokens] = tokens, step
        elif chance < 0.75:
            most = draw.choice((len(tokens), len(tokens) - 1))
            found = tier.match(space, tokens, most)
            known = [
                t for (s, _), (t, _) in model.items() if s == space and tokens[:most][: len(t)] == t
            ]
            assert (found.length if found else 0) == max(map(len, known), default=0)
            if found:
                _, made_at = model[space, found.session or unpack(found.tokens)]
                assert same(tier.load(found), made(found.length, seed=made_at))
        elif chance < 0.85 and session:
            found = tier.session(space, session)
            assert (found is not None) == ((space, session) in model)
            if found:
                assert unpack(found.tokens) == model.pop((space, session))[0]
                assert tier.delete(found)
        elif chance < 0.9 and on_disk:
            tier = opened(tmp_path, clock=clock)
            assert not tier.stats
        assert len(tier) == len(model)
        if on_disk:
            assert len(files(tmp_path)) == len(model)
            assert tier.nbytes == sum(p.stat().st_size for p in files(tmp_path))


def test_host_memory_gives_up_what_was_superseded_first() -> None:
    size = parked.size_of(*made(70))
    gone: list[tuple[int, ...]] = []
    host = Host(4 * size, lambda key, snapshot, pages: gone.append(key[1]))
    stem = (*range(66),)
    # a shared prefix, a line with an older point, and another line
    for tail in ((), (1,), (1, 1, 1), (2, 2)):
        tokens = (*stem, *tail)
        assert host.put("a", tokens, *made(len(tokens)))
    assert not gone and host.nbytes <= host.budget_bytes
    for i in range(3):
        tokens = (*range(100 + i, 170 + i),)
        assert host.put("a", tokens, *made(70))
        assert host.nbytes <= host.budget_bytes
    assert gone[0] == (*stem, 1) and gone[1] == (*stem, 1, 1, 1)
    assert not host.put("a", range(700), *made(700)) and host.stats["too large"] == 1


def test_host_memory_is_its_own() -> None:
    host = Host(BIG)
    snapshot, pages = made(70)
    host.put("a", range(70), snapshot, pages)
    snapshot.state.zero_()
    pages.zero_()
    record = host.match("a", range(70), 70)
    assert record is not None and same(host.load(record), made(70))


def test_what_leaves_the_host_is_found_on_the_disk(tmp_path: Path) -> None:
    size = parked.size_of(*made(70))
    tiers = Tiers(Host(2 * size), opened(tmp_path))
    for i in range(4):
        tiers.keep(("a", (i, *range(69)), None), *made(70, seed=i))
    tiers.park(("a", (9, *range(69)), "s"), *made(70, seed=9))
    tiers.flush()
    places = []
    for i in (*range(4), 9):
        found = tiers.match("a", (i, *range(80)), 80)
        assert found is not None and tiers.holds("a", (i, *range(69)))
        tier, record = found
        places.append(tier.name)
        assert same(tier.load(record), made(70, seed=i))
    assert places == ["disk", "disk", "disk", "host", "host"]
    assert tiers.match("a", (9, *range(80)), 80, known=70) is None
    assert not tiers.holds("a", (9, *range(5))) and not tiers.holds("b", (9, *range(69)))
    # a crash loses the host's memory, not what was parked
    tiers = Tiers(Host(2 * size), opened(tmp_path))
    found = tiers.session("a", "s")
    assert found is not None and same(found[0].load(found[1]), made(70, seed=9))
    assert tiers.delete("a", "s") and not tiers.delete("a", "s") and not tiers.session("a", "s")
    tiers.update(b"weights 2")
    tiers.close()
    assert not files(tmp_path) and tiers.match("a", (0, *range(80)), 80) is None


def test_a_former_past_in_the_host_never_replaces_a_later_one(tmp_path: Path) -> None:
    small, large = made(65), made(320)
    host = Host(parked.size_of(*small))
    tiers = Tiers(host, opened(tmp_path))
    tiers.park(("a", (*range(65),), "s"), *small)
    # the next turn is too large for the host, and then another comes into it
    tiers.park(("a", (*range(320),), "s"), *large)
    tiers.park(("a", (9, *range(64)), "t"), *small)
    tiers.close()
    found = tiers.session("a", "s")
    assert found is not None and found[1].length == 320 and same(found[0].load(found[1]), large)


def test_too_much_at_once_is_dropped_and_tiers_may_be_missing(tmp_path: Path) -> None:
    size = parked.size_of(*made(70))
    tiers = Tiers(None, opened(tmp_path), pending_bytes=size - 1)
    tiers.keep(("a", (*range(70),), None), *made(70))
    assert tiers.stats == {"dropped": 1}
    for empty in (Tiers(), Tiers(Host(BIG)), Tiers(None, opened(tmp_path))):
        empty.park(("a", (*range(70),), "s"), *made(70))
        empty.flush()
        assert bool(empty.session("a", "s")) == bool(empty.host or empty.disk)
        empty.close()
