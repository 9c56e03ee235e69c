"""Checkpoints in int8: where they are made, what they cost, and how near a hit on one is."""

from __future__ import annotations

import random
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from flashling import ops
from flashling.config import TOY
from flashling.engine.cache import Cache, Snapshot
from flashling.engine.costs import Costs
from flashling.engine.engine import Engine
from flashling.engine.request import Request, Usage
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.model.ling import Ling
from flashling.sampling import Sampling

BIG = 1 << 30
FIRST = Sampling(temperature=0.0, max_tokens=1, logprobs=20)
# a float32 state of the toy, and one in int8
STATE = 4 * len(TOY.lightning_layers) * TOY.num_attention_heads * TOY.head_dim**2
SMALL = STATE // 4 + STATE // 2 // TOY.head_dim


@cache
def model(dtype: torch.dtype = torch.bfloat16) -> Ling:
    config = TOY.with_(initializer_range=0.3, eos_token_ids=(7,))
    return Ling(config).init_weights(0).cast(dtype)


def engine(
    checkpoint_bytes: int,
    tiers: Tiers | None = None,
    dtype: torch.dtype = torch.bfloat16,
    exact: bool = False,
) -> Engine:
    return Engine(model(dtype), 2, 64, 256, checkpoint_bytes, tiers=tiers, exact=exact)


def words(draw: random.Random, count: int) -> tuple[int, ...]:
    return tuple(draw.randrange(10, 250) for _ in range(count))


def ask(engine: Engine, prompt: tuple[int, ...], **how) -> tuple[dict[int, float], Usage]:
    """The likeliest first tokens with their log-probabilities, and where the prompt came from."""
    engine.add(Request(prompt, FIRST, **how))
    [event] = engine.run()
    assert event.usage is not None
    return dict(event.top), event.usage


def kept(engine: Engine) -> list[Snapshot]:
    keeper = engine.room.keeper
    found = [c.snapshot for c in keeper.tree]
    assert keeper.bytes_kept == sum(s.nbytes for s in found) <= keeper.state_bytes
    return found


def divergence(found: dict[int, float], want: dict[int, float]) -> float:
    """Kullback-Leibler divergence among the tokens that both name."""
    both = sorted(set(found) & set(want))
    assert len(both) > 10
    p, q = (torch.tensor([x[t] for t in both]).double().log_softmax(0) for x in (want, found))
    return float((p.exp() * (p - q)).sum())


@pytest.mark.parametrize("length", [1, 40, 64, 65, 127, 128])
def test_rows_behind_it_are_those_behind_a_folded_state(length: int) -> None:
    """On the chunk grid of their sequence, which the rows that were folded stand on as zeros."""
    torch.manual_seed(length)
    c, chunk = TOY, ops.CHUNK
    heads, width = c.num_attention_heads, c.head_dim
    cache = Cache(c, 1, 2, torch.float64)
    base = (length - 1) // chunk * chunk
    cache.state[0].normal_()
    cache.tail[0].normal_()
    small = cache.quantise(cache.snapshot(0, base, length - base))
    assert small.scale is not None and small.length == small.base == length
    assert cache.quantise(small) is small
    begin = cache.restore(0, small)
    assert begin == length // chunk * chunk
    # the same numbers as a state behind which a chunk of its own begins
    other = Cache(c, 1, 2, torch.float64)
    other.state[0] = small.state.double() * small.scale.double()[..., None]
    decay = cache.decay[1]
    # single rows, several, and over the ends of two chunks
    at = [length + n for n in (0, 1, 2, 30, 100, 101, 200)]
    for a, b in pairwise(at):
        q, k, v = torch.randn(3, b - a, heads, width, dtype=torch.float64)
        found = []
        for own, first in ((cache, begin), (other, length)):
            done = a - first
            tail = done - max(done - 1, 0) // chunk * chunk
            grid = ops.Grid((0, b - a), (tail,), q.device)
            layer = TOY.lightning_layers[1]
            carry = own.carry(layer, torch.tensor([0]))
            found.append(ops.lightning(q, k, v, decay, grid, carry))
        torch.testing.assert_close(*found, rtol=0, atol=1e-10)


def test_states_are_small_where_room_is_short() -> None:
    draw = random.Random(0)
    found = engine(6 * Costs.of(TOY).slot)
    prompts = [words(draw, n) for n in (50, 70, 100, 64, 33, 129, 80, 90, 110, 45, 78, 122)]
    large, most = [], 0.8 * found.room.keeper.state_bytes
    for prompt in prompts:
        ask(found, prompt)
        large.append(sum(s.scale is None for s in kept(found)))
        # the newest keeps every bit
        assert large[-1] == 1 or found.room.keeper.bytes_kept <= most
    # none before room was short
    assert large[:3] == [2, 4, 6]
    smalls = [s for s in kept(found) if s.scale is not None]
    assert all(s.state.nbytes + s.scale.nbytes == SMALL for s in smalls if s.scale is not None)
    for exact in (
        engine(6 * Costs.of(TOY).slot, exact=True),
        engine(6 * Costs.of(TOY).slot, dtype=torch.float32),
    ):
        for prompt in prompts:
            ask(exact, prompt)
        assert kept(exact) and all(s.scale is None for s in kept(exact))
    # none had to go, though as many in float32 have no room
    assert len(smalls) > 8 and len(kept(found)) == 2 * len(prompts) > len(kept(exact))


@pytest.mark.parametrize("length", [20, 64, 65, 127, 130])
@pytest.mark.parametrize("more", [1, 2, 90])
def test_a_hit_is_near_a_cold_run(length: int, more: int) -> None:
    draw = random.Random(length)
    prompt, tail = words(draw, length), words(draw, more)
    # in float32 nothing else differs; such an engine would not make them small by itself
    want, usage = ask(engine(BIG, dtype=torch.float32), prompt + tail)
    assert usage.cached == 0
    warm = engine(BIG, dtype=torch.float32)
    ask(warm, prompt)
    plain, usage = ask(warm, prompt + tail)
    assert usage.cached == length and divergence(plain, want) < 1e-9
    tight = engine(BIG, dtype=torch.float32)
    ask(tight, prompt)
    for checkpoint in tight.room.keeper.tree:
        checkpoint.snapshot = tight.room.cache.quantise(checkpoint.snapshot)
    found, usage = ask(tight, prompt + tail)
    assert (usage.cached, usage.restored_from) == (length, "device")
    assert 1e-9 < divergence(found, want) < 3e-3


@pytest.mark.parametrize("place", ["host", "disk"])
@pytest.mark.parametrize("exact", [False, True])
def test_the_lower_tiers_get_it_once(place: str, exact: bool, tmp_path: Path) -> None:
    draw = random.Random(3)
    prompt, tail = words(draw, 100), words(draw, 9)
    store = Store(tmp_path, b"", BIG, 1e9) if place == "disk" else None
    host = Host(BIG) if place == "host" else None
    tiers = Tiers(host, store)
    found = engine(BIG, tiers, exact=exact)
    ask(found, prompt, session="s")
    tiers.flush()

    def parked() -> Snapshot:
        held = tiers.session("", "s")
        assert held is not None
        loaded = held[0].load(held[1])
        assert loaded is not None
        return loaded[0]

    first = parked()
    assert (first.scale is None) == exact and first.length == 100
    found.room.keeper.clear()
    want, _ = ask(engine(BIG, exact=exact), prompt + tail)
    near, usage = ask(found, prompt + tail)
    assert (usage.cached, usage.restored_from) == (100, place)
    assert near == want if exact else 0 < divergence(near, want) < 2e-2
    # what came from below stands on the device as it is, and goes back as it is
    [back] = [s for s in kept(found) if s.length == 100]
    assert back.state.equal(first.state) and back.state.dtype == first.state.dtype
    again = tiers.delete("", "s")
    assert again
    found.room.keeper.make_room(found.room.pages.count)
    tiers.flush()
    below = tiers.match("", (*prompt, 0), 100)
    assert below is not None and below[1].length == 100
    loaded = below[0].load(below[1])
    assert loaded is not None and loaded[0].state.equal(first.state)
