"""The engine under random operations, beside a naive model of its cache and the oracle's tokens."""

from __future__ import annotations

import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence as Items
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, partial
from itertools import count
from pathlib import Path
from unittest import mock

import pytest
import torch
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flashling import nano, ops
from flashling.batch import Batch
from flashling.config import TOY
from flashling.engine import engine as engines
from flashling.engine.drafts import propose
from flashling.engine.engine import Engine
from flashling.engine.flight import Flight
from flashling.engine.records import Record, unpack
from flashling.engine.request import Event, Request, Sequence, Usage
from flashling.engine.steps import Steps
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.model import oracle
from flashling.model.ling import Ling
from flashling.model.past import Past
from flashling.model.weights import read
from flashling.sampling import Sampling

# its embedding is not finite: what reads it can go no further
POISON = 9
HOWS = (
    Sampling(temperature=0.0),
    Sampling(temperature=1.0, seed=3),
    Sampling(temperature=1.0, seed=4, logit_bias={POISON: 5.0}),
    Sampling(temperature=0.8, presence_penalty=1.5, stop_ids=tuple(range(100, 150))),
    Sampling(temperature=1.2, top_k=50, top_p=0.9, min_p=0.01, stop_ids=tuple(range(100, 120))),
)
STEMS = [
    tuple(random.Random(n).randrange(10, 250) for _ in range(n)) for n in (2, 63, 64, 65, 100, 130)
]
BIG, LONG = 1 << 30, 1e9


# the embedded model in exact mode instead of the toy in float64
on_embedded = False


@cache
def model(weights: int) -> Ling:
    if on_embedded:
        found = read(nano.path(), torch.float32)
    else:
        config = TOY.with_(initializer_range=0.3, eos_token_ids=(7,))
        found = Ling(config).init_weights(weights).double()
    with torch.no_grad():
        found.norm *= 1 + weights / 4
        found.embed.weight[POISON] = torch.nan
        # so that the MTP layer never guesses it
        found.head[POISON] = 0
    return found


class Remembered:
    """A model that computes each text once, for the oracle."""

    def __init__(self, weights: int) -> None:
        self.model = model(weights)
        self.config, self.head, self.logits = self.model.config, self.model.head, self.model.logits
        self.hidden = lru_cache(50_000)(self._hidden)

    def __call__(self, batch: Batch, past: Past) -> torch.Tensor:
        with ops.exactly() if on_embedded else nullcontext():
            return self.hidden(tuple(batch.tokens.tolist()))

    def _hidden(self, text: tuple[int, ...]) -> torch.Tensor:
        batch = Batch.pack([text])
        return self.model(batch, oracle.Fresh(batch, "expanded"))[-1:].clone()


remembered = cache(Remembered)


@lru_cache(20_000)
def wanted(
    weights: int, prompt: tuple[int, ...], how: int, sample: int, most: int
) -> tuple[list[int], str]:
    """The oracle's tokens and how they end."""
    if POISON in prompt:
        return [], "error"
    sampling = replace(HOWS[how], max_tokens=most, stop_ids=(*HOWS[how].stop_ids, POISON))
    known: Ling = remembered(weights)  # type: ignore[assignment]
    [found] = oracle.generate(known, [prompt], sampling, sample=sample)
    if found.tokens[-1] == POISON:
        return found.tokens, "length" if len(found.tokens) == most else "error"
    return found.tokens, found.finish


@dataclass
class Asked:
    """A request as the naive model sees it. read: the part of its text that the engine has read,
    under these weights since the last `epoch` began.
    """

    request: Request
    how: int
    weights: int
    epoch: int
    wanted: tuple[list[int], str]
    got: list[int] = field(default_factory=list)
    read: tuple[int, ...] = ()
    is_checked: bool = False
    is_aborted: bool = False

    @property
    def text(self) -> tuple[int, ...]:
        return (*self.request.prompt, *self.got)


class Reading(Future):
    """A read that is done when it was asked about so often, or waited for."""

    def __init__(self, call: Callable[[], object], asks: int) -> None:
        super().__init__()
        self.call, self.asks = call, asks

    def done(self) -> bool:
        self.asks -= 1
        return self.asks < 0 and self.exception() is None

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not super().done():
            self.set_result(self.call())
        return super().exception(timeout)


class Reader:
    """What reads the disk beside the steps, at a pace of its own that is always the same."""

    def __init__(self) -> None:
        self.count = 0

    def submit(self, call: Callable[..., object], *args: object) -> Reading:
        self.count += 1
        return Reading(partial(call, *args), self.count * 5 % 7)

    def shutdown(self) -> None:
        pass


def check_held(engine: Engine) -> None:
    """Every slot and page is free or held, never both, and counted as often as it is held."""
    room, running = engine.room, engine.running
    slots = [s.slot for s in running]
    assert sorted([*room.free_slots, *slots]) == list(range(room.cache.spare_slot))
    assert all(s.slot is None and not s.pages and s.done == 0 for s in engine.waiting)
    kept = Counter(p for c in room.keeper.tree for p in c.pages)
    held = kept + Counter(p for s in running for p in s.pages)
    free = room.pages._free
    assert len(free) == len(set(free)) and sorted([*free, *held]) == list(range(room.pages.count))
    for p in range(room.pages.count):
        assert room.pages.held(p) == held[p] and room.keeper._holders[p] == kept[p]
    # what one will write, no other reads: a checkpoint there ends before
    reading = held - kept
    for s in running:
        assert all(reading[p] == 1 for p in s.pages[s.done // 64 :])
    states = sum(c.snapshot.nbytes for c in room.keeper.tree)
    assert room.keeper.bytes_kept == states <= room.keeper.state_bytes
    host = room.tiers.host
    if host is not None:
        assert host.nbytes == sum(r.nbytes for r in host._held) <= host.budget_bytes


class Machine(RuleBasedStateMachine):
    """Sessions of several texts come to an engine that is squeezed, killed and given other weights.

    seen counts what has happened in all examples, so that a test can tell that everything did.
    """

    seen: Counter[str] = Counter()

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="machine-"))
        self.weights = self.epoch = 0
        # those that new weights made start again, until they are told
        self.restarted = set[int]()
        self.asked: list[Asked] = []
        self.live: dict[int, Asked] = {}
        self.sessions: dict[tuple[str, str], tuple[int, ...]] = {}
        self.hurt: set[Path] = set()
        # what host memory had from the disk
        self.taken = set[tuple[str, tuple[int, ...]]]()
        # a clock of its own, and no write is left behind a step: the same choices do the same
        self.clock = count()
        self.patches = [
            mock.patch.object(engines, "propose", self._propose),
            mock.patch.object(Flight, "drop", self._dropped(Flight.drop)),
            mock.patch.object(Steps, "guesses", self._guessed(Steps.guesses)),
            mock.patch.object(Tiers, "_take", self._taken(Tiers._take)),
        ]
        for patch in self.patches:
            patch.start()

    @initialize(
        sizes=st.fixed_dictionaries(
            {
                "slots": st.sampled_from((1, 2, 4)),
                "pages": st.sampled_from((2, 3, 4, 6, 9, 16)),
                "checkpoint_bytes": st.sampled_from((0, 60_000, 400_000, BIG)),
                "drafts": st.sampled_from((0, 2, 6)),
            }
        ),
        host=st.sampled_from((None, 60_000, 500_000, BIG)),
        has_disk=st.sampled_from((True, True, False)),
        drafter=st.none() | st.integers(0, 99),
        as_recorded=st.booleans(),
    )
    def begin(
        self,
        sizes: dict[str, int],
        host: int | None,
        has_disk: bool,
        drafter: int | None,
        as_recorded: bool,
    ) -> None:
        self.sizes, self.host, self.has_disk = sizes, host, has_disk
        self.as_recorded = as_recorded
        # of its own: prompt lookup and the MTP layer
        self.drafter = None if drafter is None else random.Random(drafter)
        self._open()

    def _open(self) -> None:
        disk = self._store() if self.has_disk else None
        tiers = Tiers(Host(self.host) if self.host else None, disk)
        tiers._reader = Reader()  # pyright: ignore[reportAttributeAccessIssue]
        self.taken.clear()
        self.engine = Engine(model(self.weights), tiers=tiers, **self.sizes, exact=on_embedded)
        if self.as_recorded:
            # the steps that CUDA records
            self.engine.steps = self.engine._steps()
        self.engine.room.keeper._now = lambda: float(next(self.clock))

    def _store(self) -> Store:
        fingerprint = bytes([self.weights])
        return Store(self.folder, fingerprint, BIG, LONG, lambda: float(next(self.clock)))

    def is_due(self) -> bool:
        """Whether enough was asked since everything was forgotten."""
        return sum(a.epoch == self.epoch for a in self.asked) > 3

    @property
    def disk(self) -> Store | None:
        return self.engine.room.tiers.disk

    @rule(
        back=st.integers(0, 8),
        cut=st.none() | st.none() | st.integers(1, 130),
        tail=st.lists(st.integers(10, 12), max_size=3),
        how=st.integers(0, len(HOWS) - 1),
        most=st.integers(1, 10),
        more=st.fixed_dictionaries(
            {
                "sample": st.integers(0, 1),
                "namespace": st.sampled_from(("", "", "", "other")),
                "priority": st.integers(0, 2),
                "session": st.sampled_from(("", "a", "b")),
                "boundaries": st.tuples(st.integers(1, 130)) | st.just(()),
            }
        ),
        steps=st.integers(0, 4),
    )
    def add(
        self,
        back: int,
        cut: int | None,
        tail: list[int],
        how: int,
        most: int,
        more: dict,
        steps: int,
    ) -> None:
        """A new text, a further turn, the same once more, or a fork of any."""
        texts = [*STEMS, *(a.text for a in self.asked)]
        text = texts[-1 - back % len(texts)]
        # what went wrong is gone on from where it was right
        text = text[: text.index(POISON)] or (10,) if POISON in text else text
        limit = self.engine.room.tokens
        prompt = (*(text if cut is None else text[:cut]), *tail)[: limit - 1]
        request = Request(prompt, replace(HOWS[how], max_tokens=most), **more)
        tokens = wanted(self.weights, prompt, how, request.sample, min(most, limit - len(prompt)))
        asked = Asked(request, how, self.weights, self.epoch, tokens)
        self.live[self.engine.add(request)] = asked
        self.asked.append(asked)
        for _ in range(steps):
            self._step()

    @rule(
        back=st.integers(0, 2),
        tail=st.lists(st.integers(10, 12), min_size=1, max_size=40),
        session=st.sampled_from("ab"),
    )
    def turn(self, back: int, tail: list[int], session: str) -> None:
        """A whole turn of a session, alone or beside what runs."""
        self.add(back, None, tail, 0, 5, {"session": session}, 0)
        self.finish()

    @precondition(lambda self: self.disk is not None and len(self.disk) > 0)
    @rule(back=st.integers(0, 8), steps=st.integers(0, 3))
    def come_back(self, back: int, steps: int) -> None:
        """One of whom only the disk knows, while another runs."""
        room = self.engine.room
        room.keeper.clear()
        if room.tiers.host is not None:
            room.tiers.host.clear()
        self.add(len(self.asked) + back, 9, [], 0, 10, {}, 1)
        self.add(back + 1, None, [11], 0, 4, {}, steps)

    @precondition(lambda self: not any(POISON in a.request.prompt for a in self.live.values()))
    @rule(place=st.integers(0, 100), stem=st.integers(0, len(STEMS) - 1))
    def add_broken(self, place: int, stem: int) -> None:
        """A request whose output is not finite, from some place of its prompt on."""
        place = min(place, len(STEMS[stem]), self.engine.room.tokens - 2)
        self.add(len(self.asked) + len(STEMS) - 1 - stem, place, [POISON], 0, 3, {}, 0)

    @rule(number=st.integers(1, 12), budget=st.sampled_from((1, 3, 40, 64, 65, 500)))
    def steps(self, number: int, budget: int) -> None:
        self.engine.budget = budget
        for _ in range(number):
            self._step()

    @precondition(lambda self: self.live)
    @rule()
    def finish(self) -> None:
        self.engine.budget = max(self.engine.budget, 40)
        for _ in range(1000):
            if self.engine.is_idle:
                break
            self._step()
        assert self.engine.is_idle and not self.live

    @precondition(lambda self: self.live)
    @rule(pick=st.integers(0, 30))
    def abort(self, pick: int) -> None:
        number = list(self.live)[pick % len(self.live)]
        if not self.live[number].is_aborted:
            self.live[number].is_aborted = True
            assert self.engine.abort(number)
        assert not self.engine.abort(number)

    @rule(pages=st.integers(1, 16), where=st.sampled_from(("device", "host", "disk")))
    def squeeze(self, pages: int, where: str) -> None:
        """Pressure from outside, on one tier."""
        tiers = self.engine.room.tiers
        if where == "device":
            self.engine.room.keeper.make_room(pages)
            tiers.flush()
        elif where == "host" and tiers.host is not None:
            for _ in range(min(pages, len(tiers.host))):
                tiers.host._evict()
            tiers.flush()
        elif where == "disk" and self.disk is not None:
            self.disk.quota_bytes = self.disk.nbytes // pages
            self.disk._make_room(0)
            self.disk.quota_bytes = BIG
            self.sessions = {k: v for k, v in self.sessions.items() if self.disk.session(*k)}

    @rule(namespace=st.sampled_from(("", "other")), session=st.sampled_from("ab"))
    def delete(self, namespace: str, session: str) -> None:
        tiers = self.engine.room.tiers
        tiers.flush()
        had = tiers.session(namespace, session) is not None
        assert had or (namespace, session) not in self.sessions
        assert self.engine.room.tiers.delete(namespace, session) == had
        assert tiers.session(namespace, session) is None
        self.sessions.pop((namespace, session), None)

    @precondition(lambda self: self.is_due() or (self.disk is not None and len(self.disk) > 1))
    @rule(
        how=st.sampled_from(("cut", "flip", "longer", "draft", "lost")),
        pick=st.integers(0, 30),
        place=st.integers(0, 99),
    )
    def kill(self, how: str, pick: int, place: int) -> None:
        """The process ends anywhere, and another begins over the same folder."""
        before = self.disk
        self.engine.room.tiers._writer.shutdown()
        written = {} if before is None else {before._path(r): r for r in before._records}
        known = sum(self._store().stats.values())
        hurt = _hurt(sorted(set(written) - self.hurt), how, pick, place)
        if hurt is not None:
            self.hurt.add(hurt)
            self._check_hurt(hurt, known + (how != "lost"))
        self.epoch += 1
        # nobody is told any more, nor that it began again
        self.live.clear()
        self.restarted.clear()
        self._open()
        self.sessions.clear()
        for path, record in written.items():
            assert self.disk is not None
            found = self.disk._records.named(record.space, record.name)
            if path not in self.hurt:
                assert found is not None and found.tokens == record.tokens
                self._own_session(found.session, unpack(found.tokens))
        self.seen[f"killed {how}"] += bool(written)

    def _own_session(self, session: str | None, tokens: tuple[int, ...]) -> None:
        """What a new process must know of a session, in whichever namespace it is."""
        for space in ("", "other"):
            record = self.disk.session(space, session) if self.disk and session else None
            if record is not None and unpack(record.tokens) == tokens:
                self.sessions[space, session or ""] = tokens

    def _check_hurt(self, path: Path, wrong: int) -> None:
        """It is skipped and counted, at once or when it is asked for."""
        store = self._store()
        for record in store._records:
            assert store._path(record) != path or store.load(record) is None
        assert sum(store.stats.values()) == wrong
        assert path not in map(store._path, store._records)

    @precondition(lambda self: self.is_due())
    @rule(is_patient=st.booleans())
    def update(self, is_patient: bool) -> None:
        """Other weights come when all are done, or while they run: then those start again."""
        engine, other = self.engine, 1 - self.weights
        if is_patient:
            self.finish()
        begun = {s.id for s in [*engine.running, *engine.waiting] if s.is_begun}
        self.restarted |= begun
        self.seen["restarted"] += len(begun)
        engine.update_weights(model(other), bytes([other]), "restart")
        self.weights = other
        self.epoch += 1
        self.sessions.clear()
        limit = engine.room.tokens
        for a in (a for a in self.live.values() if not a.is_aborted):
            prompt, most = a.request.prompt, a.request.sampling.max_tokens
            a.weights, a.epoch, a.read = other, self.epoch, ()
            most = min(most, limit - len(prompt))
            a.wanted = wanted(other, prompt, a.how, a.request.sample, most)
        assert not list(engine.room.keeper.tree)
        tiers = engine.room.tiers
        assert not (tiers.host and len(tiers.host)) and not (tiers.disk and len(tiers.disk))

    @invariant()
    def nothing_leaks(self) -> None:
        if hasattr(self, "engine"):
            check_held(self.engine)

    def teardown(self) -> None:
        try:
            # what has failed already is not looked at again
            if hasattr(self, "engine") and sys.exc_info()[0] is None:
                self.finish()
                self._check_sessions()
                self.engine.close()
        finally:
            for patch in self.patches:
                patch.stop()
            shutil.rmtree(self.folder, ignore_errors=True)

    def _step(self) -> None:
        waited, before = {s.id for s in self.engine.waiting}, self.engine._flight
        events = self.engine.step()
        after = self.engine._flight
        told = Counter(e.id for e in events)
        self.seen["several at once"] += before is not None and max(told.values(), default=0) > 1
        if after is not None and before is not None and len(after.rows) == len(before.rows):
            self.seen["ran ahead"] += 1
        self.engine.room.tiers.flush()
        for s in self.engine.waiting:
            if s.id not in waited:
                self.seen["preempted"] += 1
                # it may have read a row more in the step that it had to leave after
                self.live[s.id].read = tuple(s.tokens[:-1])
        for e in events:
            self._hear(e)
        for s in self.engine.running:
            self._check_usage(self.live[s.id], s.usage)
        for s in self.engine.running:
            self.live[s.id].read = tuple(s.tokens[: s.done])
        check_held(self.engine)

    def _hear(self, event: Event) -> None:
        """Each token is the next of the oracle's; the last event comes once, with its reason."""
        a = self.live[event.id]
        if event.is_restart:
            self.restarted.remove(event.id)
            a.got.clear()
            return
        assert event.id not in self.restarted
        if event.token is not None:
            a.got.append(event.token)
        tokens, finish = a.wanted
        assert a.got == tokens[: len(a.got)]
        if not event.finish:
            assert event.token is not None and event.usage is None
            return
        assert event.finish == ("abort" if a.is_aborted else finish)
        assert a.is_aborted or a.got == tokens
        assert bool(event.error) == (event.finish == "error")
        assert event.usage is not None
        del self.live[event.id]
        self._check_usage(a, event.usage)
        self.seen[event.finish] += 1
        self.seen["drafts taken"] += event.usage.accepted
        self.seen["drafts refused"] += event.usage.drafted - event.usage.accepted
        if event.finish in ("stop", "length"):
            a.read = a.text[:-1]
            if a.request.session and self.disk is not None:
                self.sessions[a.request.namespace, a.request.session] = a.read

    def _check_usage(self, a: Asked, usage: Usage) -> None:
        """Cached is only what was read before, under these weights, in this namespace; by another
        process only from the disk, or from what host memory has of it.
        """
        if a.is_checked or not usage.is_told:
            return
        a.is_checked = True
        source, most = usage.restored_from, len(a.request.prompt) - 1
        assert usage.prompt == most + 1 and 0 <= usage.recomputed <= most - usage.cached
        assert bool(usage.cached) == bool(source)
        assert (usage.miss_reason == "") == (usage.cached == most)
        known = a.request.prompt[: usage.cached]
        where, came = (a.request.namespace, known), {("host", *t) for t in self.taken}
        assert any(
            b.weights == a.weights
            and b.request.namespace == a.request.namespace
            and (source == "disk" or b.epoch == a.epoch or (source, *where) in came)
            and b.read[: len(known)] == known
            for b in self.asked
        )
        self.seen[f"from {source or 'nowhere'}"] += 1

    def _check_sessions(self) -> None:
        self.engine.room.tiers.flush()
        for (namespace, session), tokens in self.sessions.items():
            assert self.disk is not None
            record = self.disk.session(namespace, session)
            assert record is not None and unpack(record.tokens) == tokens
            self.seen["parked"] += 1

    def _dropped(self, drop: Callable[[Flight, Sequence], bool]) -> Callable[..., bool]:
        """What a sequence does that leaves a step in the air, counted."""

        def counted(flight: Flight, s: Sequence) -> bool:
            found = drop(flight, s)
            self.seen["a row too many"] += found
            return found

        return counted

    def _taken(self, take: Callable[..., None]) -> Callable[..., None]:
        """What was read into host memory, noted."""

        def noted(tiers: Tiers, namespace: str, record: Record, *rest: object) -> None:
            before = len(tiers.host or ())
            take(tiers, namespace, record, *rest)
            self.taken.add((namespace, unpack(record.tokens)))
            self.seen["read ahead"] += len(tiers.host or ()) > before
            self.seen["read beside others"] += bool(self.engine.running)

        return noted

    def _guessed(self, guesses: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
        """Guesses of the MTP layer in recorded steps that are mostly right, once it has run; as
        `_propose`.
        """

        def guess(steps: Steps, slots: torch.Tensor, lengths: torch.Tensor, *given: torch.Tensor):
            found = guesses(steps, slots, lengths, *given)
            self.seen["drafted ahead"] += 1
            if self.drafter is None:
                return found
            at = (lengths + given[-1] + 2).tolist()
            for row, (slot, place) in enumerate(zip(slots.tolist(), at, strict=True)):
                s = next(s for s in self.engine.running if s.slot == slot)
                whole = [*s.request.prompt, *self.live[s.id].wanted[0]]
                for i, t in enumerate(whole[place : place + found.shape[1]]):
                    found[row, i] = t if t != POISON and self.drafter.random() < 0.8 else 8
            return found

        return guess

    def _propose(self, tokens: list[int], most: int) -> list[int]:
        """Drafts that are mostly right: what the oracle says next, with a slip now and then; never
        a broken token, whose row would break those before it in the same step.
        """
        if self.drafter is None:
            return propose(tokens, most)
        draw = self.drafter
        for a in self.live.values():
            whole = [*a.request.prompt, *a.wanted[0]]
            if tokens == whole[: len(tokens)]:
                ahead = whole[len(tokens) : len(tokens) + draw.randint(0, most)]
                return [t if t != POISON and draw.random() < 0.8 else 8 for t in ahead]
        return []


def _hurt(files: Items[Path], how: str, pick: int, place: int) -> Path | None:
    """Lose or damage one of the files, as a machine that stops or a disk that lies might; which."""
    if not files:
        return None
    path = files[pick % len(files)]
    data = bytearray(path.read_bytes())
    at = place * len(data) // 100
    if how == "draft":
        # torn in the middle of a write: it has no name yet
        path.with_name(f"{path.stem}-0123abcd.draft").write_bytes(data[:at])
        return None
    if how == "flip":
        data[at] ^= 1
    if how == "lost":
        path.unlink()
        return path
    path.write_bytes(data[:at] if how == "cut" else data + b"more" if how == "longer" else data)
    return path


def run(examples: int, operations: int, start: int | None = None) -> Counter[str]:
    """Run so many sequences of operations; what has happened in them."""
    kind = type("Run", (Machine,), {"seen": Counter()})
    if start is not None:
        kind = seed(start)(kind)
    run_state_machine_as_test(
        kind,
        settings=settings(
            max_examples=examples,
            stateful_step_count=operations,
            derandomize=start is None,
            database=None,
            # explaining traces every line, passing examples' too
            phases=(Phase.generate, Phase.shrink),
            report_multiple_bugs=False,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    return kind.seen


def test_random_operations_give_the_oracles_tokens() -> None:
    seen = run(25, 40)
    usual = ("length", "error", "abort", "from device", "from host", "drafts taken", "parked")
    for what in (*usual, "ran ahead", "a row too many", "drafted ahead", "several at once"):
        assert seen[what], f"{what} never happened: {seen}"


@pytest.mark.soak
@pytest.mark.parametrize("start", range(10))
def test_thousands_of_random_operations(start: int) -> None:
    seen = run(125, 40, start)
    for what in ("stop", "from disk", "drafts refused", "read ahead", "read beside others"):
        assert seen[what], f"{what} never happened: {seen}"


@pytest.mark.soak
def test_random_operations_on_the_embedded_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "on_embedded", True)
    known = (model, remembered, wanted)
    for each in known:
        each.cache_clear()
    try:
        # 200 operations
        assert run(5, 40)["length"]
    finally:
        for each in known:
            each.cache_clear()


def test_a_thousand_aborts_leave_nothing_behind() -> None:
    draw = random.Random(0)
    engine = Engine(model(0), slots=4, pages=12, budget=64, checkpoint_bytes=400_000, drafts=2)
    aborted, live, events = 0, list[int](), list[Event]()
    while aborted < 1000:
        for _ in range(draw.randint(1, 6)):
            stem = draw.choice(STEMS)[: draw.randint(1, 130)]
            how = Sampling(seed=aborted, max_tokens=draw.randint(1, 40))
            live.append(engine.add(Request((*stem, 11), how, priority=draw.randrange(3))))
        for _ in range(draw.choice((0, 0, 1, 3))):
            events += engine.step()
        draw.shuffle(live)
        while len(live) > draw.randrange(4):
            aborted += engine.abort(live.pop())
        check_held(engine)
    for number in live:
        engine.abort(number)
    events += engine.step()
    assert engine.is_idle and not engine.running and not engine.waiting
    ends = [e.id for e in events if e.finish]
    assert sorted(ends) == list(range(engine.number))
    assert sum(e.finish == "abort" for e in events) >= 1000
    check_held(engine)
    engine.room.keeper.clear()
    assert engine.room.pages.free == 12 and len(engine.room.free_slots) == 4
