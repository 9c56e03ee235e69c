"""The engine beside the oracle: whatever the schedule, the same tokens."""

from __future__ import annotations

import random
from functools import cache
from pathlib import Path
from typing import Literal

import pytest
import torch

from flashling.batch import Batch
from flashling.config import TOY
from flashling.engine import engine as engines
from flashling.engine.drafts import propose
from flashling.engine.engine import Engine
from flashling.engine.request import Event, Overloaded, Request
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.model import oracle
from flashling.model.ling import Ling
from flashling.model.past import Fresh
from flashling.sampling import Sampling

GREEDY = Sampling(temperature=0.0, max_tokens=12)


@cache
def model() -> Ling:
    config = TOY.with_(initializer_range=0.3, eos_token_ids=(7,))
    return Ling(config).init_weights(0).double()


@cache
def wanted(prompt: tuple[int, ...], key: tuple) -> tuple[list[int], str]:
    temperature, seed, most = key
    sampling = Sampling(temperature=temperature, seed=seed, max_tokens=most)
    [found] = oracle.generate(model(), [prompt], sampling)
    return found.tokens, found.finish


def gather(events: list[Event]) -> dict[int, list[Event]]:
    found: dict[int, list[Event]] = {}
    for e in events:
        found.setdefault(e.id, []).append(e)
    return found


def check_empty(engine: Engine) -> None:
    """Nothing leaks: all slots are free, and pages are held by checkpoints alone."""
    assert not engine.running and not engine.waiting
    assert sorted(engine.room.free_slots) == list(range(engine.room.cache.spare_slot))
    kept = [p for c in engine.room.keeper.tree for p in c.pages]
    assert engine.room.pages.free == engine.room.pages.count - len(set(kept))
    assert all(engine.room.pages.held(p) == kept.count(p) for p in range(engine.room.pages.count))
    assert engine.room.keeper.bytes_kept == sum(c.snapshot.nbytes for c in engine.room.keeper.tree)


def test_one_request_is_the_oracle() -> None:
    engine = Engine(model(), slots=2, pages=8)
    prompt = tuple(range(10, 30))
    number = engine.add(Request(prompt, GREEDY))
    events = list(engine.run())
    tokens, finish = wanted(prompt, (0.0, 0, 12))
    assert [e.token for e in events] == tokens and events[-1].finish == finish
    assert {e.id for e in events} == {number}
    usage = events[-1].usage
    assert usage is not None and (usage.prompt, usage.cached) == (20, 0)
    assert usage.miss_reason == "never seen"
    check_empty(engine)


@pytest.mark.parametrize("length", [1, 2, 62, 63, 64, 65, 127, 128, 129, 200])
def test_a_second_turn_goes_on_at_the_exact_token(length: int) -> None:
    draw = random.Random(length)
    engine = Engine(model(), slots=2, pages=32, budget=50)
    first = tuple(draw.randrange(10, 250) for _ in range(length))
    engine.add(Request(first, GREEDY))
    said = [e.token for e in engine.run() if e.token is not None]
    second = (*first, *said, 11, 12, 13)
    engine.add(Request(second, GREEDY))
    events = list(engine.run())
    assert [e.token for e in events] == wanted(second, (0.0, 0, 12))[0]
    usage = events[-1].usage
    assert usage is not None and usage.restored_from == "device"
    # all but the answer's last token, which nobody has read
    assert usage.cached == length + len(said) - 1 and usage.recomputed == 0
    check_empty(engine)


def test_branches_share_what_they_have_in_common() -> None:
    engine = Engine(model(), slots=4, pages=64, budget=64)
    common = tuple(range(20, 120))
    for tail in ((1, 2), (3, 4), (5, 6)):
        engine.add(Request((*common, *tail), GREEDY))
        events = list(engine.run())
        assert [e.token for e in events] == wanted((*common, *tail), (0.0, 0, 12))[0]
    # the second run found no checkpoint at the fork and left one there for the third
    usage = events[-1].usage
    assert usage is not None and usage.cached == 100 and usage.recomputed == 0


def clairvoyant(known: dict[int, tuple[tuple[int, ...], tuple]], draw: random.Random):
    """Drafts that are mostly right: what the oracle says next, with a slip now and then."""

    def propose(tokens: list[int], most: int) -> list[int]:
        for prompt, key in known.values():
            whole = [*prompt, *wanted(prompt, key)[0]]
            if tokens == whole[: len(tokens)]:
                ahead = whole[len(tokens) : len(tokens) + draw.randint(0, most)]
                return [t if draw.random() < 0.8 else 9 for t in ahead]
        return []

    return propose


def test_drafts_are_taken_where_they_are_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(model(), slots=1, pages=16, drafts=4)
    prompt, key = tuple(range(30, 60)), (1.0, 5, 60)
    monkeypatch.setattr(engines, "propose", clairvoyant({0: (prompt, key)}, random.Random(3)))
    engine.add(Request(prompt, Sampling(temperature=1.0, seed=5, max_tokens=60)))
    steps = 0
    events: list[Event] = []
    while not engine.is_idle:
        events += engine.step()
        steps += 1
    assert [e.token for e in events] == wanted(prompt, key)[0]
    usage = events[-1].usage
    assert usage is not None and 0 < usage.accepted < usage.drafted
    # every token was drawn in some step, and accepted ones cost none of their own
    assert steps <= len(events) - usage.accepted + 1


@pytest.mark.parametrize("drafted", [0, 4])
@pytest.mark.parametrize("length", [5, 62, 63, 64, 100])
def test_the_mtp_layer_guesses_what_it_guesses_alone(
    length: int, drafted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = tuple(random.Random(length).randrange(10, 250) for _ in range(length))
    engine = Engine(model(), slots=1, pages=16, budget=40, drafts=4)
    # the first turn leaves a checkpoint, from which the second goes on; its drafts are right
    said, _ = wanted(prompt, (0.0, 0, 5))
    text = [*prompt, *said, 11]
    whole = text[:-1]
    monkeypatch.setattr(engines, "propose", lambda t, most: whole[len(t) :][: min(most, drafted)])
    engine.add(Request(prompt, Sampling(temperature=0.0, max_tokens=5)))
    assert [e.token for e in engine.run()] == said
    engine.add(Request(tuple(text), Sampling(temperature=0.0, max_tokens=9)))
    while not engine.running or engine.running[0].left > 1:
        engine.step()
    [s] = engine.running
    with torch.no_grad():
        batch = Batch.pack([s.tokens])
        past = Fresh(batch)
        hidden = model()(batch, past)
        guess = model().logits(model().mtp_hidden(hidden, batch, past))[-2]
    assert s.usage.cached > 0 and s.drafts[0] == int(guess.argmax())


def test_what_followed_before_is_proposed_again() -> None:
    assert propose([1, 2, 3, 4, 5, 1, 2, 3], 2) == [4, 5]
    assert propose([1, 2, 9, 2, 7, 1, 2], 9) == [9, 2, 7, 1, 2]
    assert propose([1, 2, 3], 4) == [] and propose([1, 1], 0) == []


def test_bad_requests_and_a_full_queue_are_refused() -> None:
    engine = Engine(model(), slots=1, pages=2, queue=1)
    with pytest.raises(ValueError, match="empty"):
        engine.add(Request(()))
    with pytest.raises(ValueError, match="outside of the vocabulary of 256"):
        engine.add(Request((1, 256)))
    with pytest.raises(ValueError, match="no room of 128"):
        engine.add(Request((1,) * 128))
    engine.add(Request((1, 2), GREEDY))
    with pytest.raises(Overloaded, match="1 requests are waiting") as refused:
        engine.add(Request((1, 2), GREEDY))
    assert refused.value.retry_after > 0
    assert [e.token for e in engine.run()] == wanted((1, 2), (0.0, 0, 12))[0]


def test_a_broken_output_ends_its_request_alone() -> None:
    broken = Ling(model().config).init_weights(0).double()
    tokens = wanted((1, 2, 3), (0.0, 0, 12))[0]
    poison = next(t for t in range(10, 256) if t not in tokens)
    with torch.no_grad():
        broken.embed.weight[poison] = torch.nan
    engine = Engine(broken, slots=2, pages=16)
    bad = engine.add(Request((1, poison), GREEDY))
    good = engine.add(Request((1, 2, 3), GREEDY))
    found = gather(list(engine.run()))
    assert found[bad][-1].finish == "error" and "not finite" in found[bad][-1].error
    assert [e.token for e in found[good]] == tokens
    # the slots and pages that held it are clean for the next
    again = [engine.add(Request((1, 2, 3), GREEDY)) for _ in range(2)]
    after = gather(list(engine.run()))
    assert all([e.token for e in after[n]] == tokens for n in again)


@pytest.mark.parametrize("short", [(20,), (20, 21, 22)])
def test_the_next_in_a_broken_slot_is_right_beside_a_longer_one(short: tuple[int, ...]) -> None:
    broken = Ling(model().config).init_weights(0).double()
    with torch.no_grad():
        broken.embed.weight[9] = torch.nan
    engine = Engine(broken, slots=2, pages=16)
    # for the longer prompt, which then begins with a single row too
    engine.add(Request(short, GREEDY))
    list(engine.run())
    long = tuple(range(30, 60))
    engine.add(Request(long, Sampling(temperature=0.0, max_tokens=40)))
    bad = engine.add(Request((*range(40, 50), 9, 10), GREEDY))
    events: list[Event] = []
    while not any(e.id == bad for e in events):
        events += engine.step()
    # the broken rows lie behind those of the next in the slot, and before those of its neighbour
    good = engine.add(Request(short, GREEDY))
    found = gather(events + list(engine.run()))
    assert found[bad][-1].finish == "error"
    assert [e.token for e in found[good]] == wanted(short, (0.0, 0, 12))[0]
    assert [e.token for e in found[bad - 1]] == wanted(long, (0.0, 0, 40))[0]


def test_a_grammar_holds_and_a_broken_one_ends_its_request_alone() -> None:
    class Odd:
        """Odd tokens only, three of them; the second may be none at all."""

        def __init__(self, is_broken: bool = False) -> None:
            self.count, self.is_broken = 0, is_broken

        @property
        def is_done(self) -> bool:
            return self.count == 3

        def mask(self) -> torch.Tensor:
            if self.is_broken and self.count == 1:
                return torch.zeros(256, dtype=torch.bool)
            return torch.arange(256) % 2 == 1

        def accept(self, token: int) -> None:
            self.count += 1

        def draft_masks(self, drafts: list[int]) -> list[torch.Tensor]:
            ahead, masks = Odd(self.is_broken), [self.mask()]
            ahead.count = self.count
            for draft in drafts:
                if not masks[-1][draft]:
                    break
                ahead.accept(draft)
                if ahead.is_done:
                    break
                masks.append(ahead.mask())
            return masks

    sampling = Sampling(temperature=1.0, seed=4, max_tokens=30)
    engine = Engine(model(), slots=2, pages=16, drafts=3)
    held = engine.add(Request((20, 21, 22), sampling, guide=Odd))
    bad = engine.add(Request((20, 21, 23), sampling, guide=lambda: Odd(is_broken=True)))
    found = gather(list(engine.run()))
    [want] = oracle.generate(model(), [(20, 21, 22)], sampling, guide=Odd)
    assert [e.token for e in found[held]] == want.tokens and len(want.tokens) <= 3
    assert found[held][-1].finish == "stop"
    assert found[bad][-1].finish == "error" and "no token may come" in found[bad][-1].error
    check_empty(engine)


def test_a_parked_session_goes_on_in_another_process(tmp_path: Path) -> None:
    def engine() -> Engine:
        return Engine(
            model(), slots=1, pages=16, tiers=Tiers(disk=Store(tmp_path, b"toy", 1 << 30, 3600))
        )

    first, prompt = engine(), tuple(range(30, 130))
    first.add(Request(prompt, GREEDY, namespace="n", session="s"))
    said = [e.token for e in first.run() if e.token is not None]
    first.close()
    text = (*prompt, *said, 11, 12)
    # as after a restart: nothing but the folder is left
    second = engine()
    second.add(Request(text, GREEDY, namespace="n"))
    events = list(second.run())
    assert [e.token for e in events] == wanted(text, (0.0, 0, 12))[0]
    usage = events[-1].usage
    assert usage is not None and usage.restored_from == "disk"
    assert usage.cached == len(prompt) + len(said) - 1 and usage.recomputed == 0
    check_empty(second)
    # others do not see it, and what is deleted is gone
    for namespace, delete in (("m", False), ("n", True)):
        other = engine()
        assert not delete or other.room.tiers.delete("n", "s")
        other.add(Request(text, GREEDY, namespace=namespace))
        [*_, last] = other.run()
        assert last.usage is not None and last.usage.cached == 0
        other.close()


def test_what_the_device_gives_up_comes_back_from_the_host() -> None:
    tiers = Tiers(host=Host(1 << 24))
    engine = Engine(model(), slots=1, pages=4, tiers=tiers)
    prompts = [tuple(range(a, a + 100)) for a in (10, 20, 30)]
    said = []
    for prompt in prompts:
        engine.add(Request(prompt, GREEDY))
        said.append([e.token for e in engine.run() if e.token is not None])
    text = (*prompts[0], *said[0], 9)
    engine.add(Request(text, GREEDY))
    events = list(engine.run())
    assert [e.token for e in events] == wanted(text, (0.0, 0, 12))[0]
    usage = events[-1].usage
    assert usage is not None and usage.restored_from == "host" and usage.cached == len(text) - 2
    check_empty(engine)


def test_a_longer_past_below_needs_the_pages_of_a_shorter_one() -> None:
    engine = Engine(model(), slots=1, pages=3, tiers=Tiers(host=Host(1 << 24)))
    prompt = tuple(range(20, 120))
    engine.add(Request(prompt, GREEDY, boundaries=(70,)))
    said = [e.token for e in engine.run() if e.token is not None]
    # the end of the turn goes to the host; what it went on from stays on the device
    keeper = engine.room.keeper
    keeper._drop(max(keeper._kept.values(), key=lambda c: c.snapshot.length))
    keeper._drop(max(keeper._kept.values(), key=lambda c: c.snapshot.length))
    assert [c.snapshot.length for c in keeper.tree] == [70]
    text = (*prompt, *said, 11)
    sampling = Sampling(temperature=0.0, max_tokens=192 - len(text))
    engine.add(Request(text, sampling))
    events = list(engine.run())
    usage = events[-1].usage
    assert usage is not None and usage.restored_from == "host" and usage.cached == len(text) - 2
    check_empty(engine)


def test_what_a_broken_neighbour_left_is_not_parked(tmp_path: Path) -> None:
    broken = Ling(model().config).init_weights(0).double()
    with torch.no_grad():
        broken.embed.weight[9] = torch.nan
    disk = Store(tmp_path, b"toy", 1 << 30, 3600)
    tiers = Tiers(disk=disk)
    engine = Engine(broken, slots=1, pages=2, checkpoint_bytes=0, drafts=2, tiers=tiers)
    # in the first place of a page, which an MTP layer leaves as it is in a first page
    engine.add(Request((*range(20, 84), 9), GREEDY))
    assert [e.finish for e in engine.run()] == ["error"]
    for name in "ab":
        engine.add(Request(tuple(range(20, 84)), Sampling(max_tokens=1), session=name))
    list(engine.run())
    engine.close()
    assert disk.session("", "a") and disk.session("", "b") and set(disk.stats) == {"stored"}


def begun(engine: Engine, prompt: tuple[int, ...]) -> tuple[int, int, list[Event]]:
    """One request that was overtaken after its first token, one that overtook it; what was told."""
    events: list[Event] = []
    low = engine.add(Request(prompt, GREEDY))
    while not (engine.running and engine.running[0].out):
        events += engine.step()
    high = engine.add(Request(prompt, GREEDY, priority=1))
    while any(s.id == low for s in engine.running):
        events += engine.step()
    return low, high, events


@pytest.mark.parametrize("as_asked", ["finish", "restart"])
def test_new_weights_come_between_requests(as_asked: Literal["finish", "restart"]) -> None:
    other = Ling(model().config).init_weights(1).double()
    engine = Engine(model(), slots=1, pages=16)
    prompt = tuple(range(10, 30))
    low, high, events = begun(engine, prompt)
    new = engine.add(Request(prompt, GREEDY))
    engine.update_weights(other, begun=as_asked)
    events += engine.run()
    [old], [want] = (oracle.generate(m, [prompt], GREEDY) for m in (model(), other))
    for number in (low, high, new):
        told = [e for e in events if e.id == number]
        restarts = [i for i, e in enumerate(told) if e.is_restart]
        assert len(restarts) == (as_asked == "restart" and number != new)
        kept = told[restarts[-1] + 1 :] if restarts else told
        with_new = as_asked == "restart" or number == new
        assert [e.token for e in kept] == (want if with_new else old).tokens
    # nothing of the old weights was gone on from
    first = next(e for e in events if e.id == (high if as_asked == "restart" else new) and e.usage)
    assert first.usage is not None and first.usage.cached == 0
    check_empty(engine)
    with pytest.raises(ValueError, match="'finish' or 'restart'"):
        engine.update_weights(other, begun="now")  # type: ignore[arg-type]
