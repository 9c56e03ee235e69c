"""A past that only the disk has is read beside the steps of others."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from flashling.config import TOY
from flashling.engine.engine import Engine
from flashling.engine.request import Event, Request
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.model import oracle
from flashling.model.ling import Ling
from flashling.sampling import Sampling

BIG = 1 << 30
GREEDY = Sampling(temperature=0.0, max_tokens=4)
PAST = tuple(range(10, 130))
OTHER = tuple(range(150, 170))


def model(seed: int = 0) -> Ling:
    config = TOY.with_(initializer_range=0.3, eos_token_ids=(7,))
    return Ling(config).init_weights(seed).double()


MODEL = model()


class Gated(Store):
    """A disk that reads when it is let."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.gate, self.reads = threading.Event(), 0

    def load(self, record: Any) -> Any:
        self.reads += 1
        assert self.gate.wait(30)
        return super().load(record)


class Bench:
    """An engine whose disk holds a prefix that neither the device nor host memory has."""

    def __init__(self, folder: Path, host_bytes: int = BIG) -> None:
        first = Engine(MODEL, 2, 32, tiers=Tiers(None, Store(folder, b"", BIG, 1e9)))
        first.add(Request(PAST, GREEDY, session="s"))
        list(first.run())
        first.close()
        self.disk, self.host = Gated(folder, b"", BIG, 1e9), Host(host_bytes)
        self.engine = Engine(MODEL, 2, 32, tiers=Tiers(self.host, self.disk))
        [self.record] = self.disk.named("")
        self.prompt = (*self.text(self.record.length), 131, 132)

    def text(self, length: int) -> tuple[int, ...]:
        return (*PAST, *wanted(PAST))[:length]

    def read(self) -> None:
        """Let the disk read, and wait until it has."""
        self.disk.gate.set()
        for _, future in list(self.engine.room.tiers._coming.values()):
            future.exception()


def wanted(prompt: tuple[int, ...]) -> list[int]:
    [found] = oracle.generate(MODEL, [prompt], GREEDY)
    return found.tokens


def tokens(events: list[Event], number: int) -> list[int]:
    return [e.token for e in events if e.id == number and e.token is not None]


def test_others_run_while_it_is_read(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    engine = bench.engine
    one = engine.add(Request(OTHER, GREEDY))
    events = engine.step()
    back = engine.add(Request(bench.prompt, GREEDY))
    third = engine.add(Request(OTHER[3:], GREEDY))
    for _ in range(3):
        events += engine.step()
    assert tokens(events, one) == wanted(OTHER)[: len(tokens(events, one))]
    assert len(tokens(events, one)) > 2 and not tokens(events, back) and tokens(events, third)
    # it is not asked for again, and waits without a slot
    assert bench.disk.reads == 1 and engine.waiting[0].id == back
    bench.read()
    events += list(engine.run())
    usage = next(e.usage for e in events if e.id == back and e.usage)
    assert (usage.cached, usage.restored_from) == (bench.record.length, "disk")
    assert bench.disk.reads == 1 and len(bench.host) == 1
    for number, prompt in ((one, OTHER), (back, bench.prompt), (third, OTHER[3:])):
        assert tokens(events, number) == wanted(prompt)


def test_one_that_is_alone_waits_for_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    threading.Timer(0.2, bench.disk.gate.set).start()
    number = bench.engine.add(Request(bench.prompt, GREEDY))
    events = bench.engine.step()
    # not step after step
    assert [s.id for s in bench.engine.running] == [number] and bench.disk.reads == 1
    events += list(bench.engine.run())
    assert tokens(events, number) == wanted(bench.prompt)


def drop(bench: Bench) -> None:
    assert bench.engine.room.tiers.delete("", "s")


def update(bench: Bench) -> None:
    bench.engine.update_weights(MODEL, b"others", "restart")


def spoil(bench: Bench) -> None:
    [path] = bench.disk.folder.rglob("*.park")
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("act", [drop, update, spoil])
def test_what_is_void_by_then_is_not_used(act: Callable[[Bench], None], tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    engine = bench.engine
    engine.add(Request(OTHER, GREEDY))
    events = engine.step()
    back = engine.add(Request(bench.prompt, GREEDY))
    events += engine.step()
    act(bench)
    bench.read()
    events += list(engine.run())
    usage = next(e.usage for e in events if e.id == back and e.usage)
    assert usage.cached == 0 and not usage.restored_from and not len(bench.host)
    assert tokens(events, back) == wanted(bench.prompt)


def test_one_that_is_aborted_leaves_it_to_the_next(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    engine = bench.engine
    engine.add(Request(OTHER, GREEDY))
    engine.step()
    back = engine.add(Request(bench.prompt, GREEDY))
    engine.step()
    assert engine.abort(back)
    bench.read()
    list(engine.run())
    again = engine.add(Request(bench.prompt, GREEDY))
    events = list(engine.run())
    usage = next(e.usage for e in events if e.id == again and e.usage)
    assert (usage.cached, usage.restored_from) == (bench.record.length, "host")
    assert tokens(events, again) == wanted(bench.prompt) and bench.disk.reads == 1


def test_without_room_for_it_in_host_memory_the_step_reads_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path, host_bytes=1000)
    bench.disk.gate.set()
    number = bench.engine.add(Request(bench.prompt, GREEDY))
    events = list(bench.engine.run())
    usage = next(e.usage for e in events if e.id == number and e.usage)
    assert (usage.cached, usage.restored_from) == (bench.record.length, "disk")
    assert not bench.engine.room.tiers._coming and not len(bench.host)


def test_what_came_from_the_disk_is_not_written_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.disk.gate.set()
    tiers = bench.engine.room.tiers
    bench.engine.add(Request(bench.prompt, GREEDY))
    list(bench.engine.run())
    stored = bench.disk.stats["stored"]
    while len(bench.host):
        bench.host._evict()
    tiers.flush()
    assert bench.disk.stats["stored"] == stored and len(bench.disk) == 1
    # what the disk has not goes there
    bench.disk.delete(bench.record)
    record = tiers.fetch("", bench.prompt, 0)
    assert record is None
    snapshot = bench.engine.room.cache.snapshot(0, 0, 5)
    pages = torch.zeros(1, *bench.engine.room.cache.pages.shape[1:], dtype=torch.float64)
    assert bench.host.put("", range(5), snapshot, pages)
    bench.host._evict()
    tiers.flush()
    assert bench.disk.stats["stored"] == stored + 1
