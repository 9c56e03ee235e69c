"""Exact mode: the same tokens with the same log-probabilities, bit for bit, under any schedule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from torch import Tensor

from flashling import nano, ops
from flashling.config import TOY
from flashling.engine import engine as engines
from flashling.engine.bits import check_exact
from flashling.engine.drafts import Guesser
from flashling.engine.engine import Engine
from flashling.engine.request import Event, Request, Usage
from flashling.engine.store import Store
from flashling.engine.tiers import Host, Tiers
from flashling.model import oracle, weights
from flashling.model.ling import Ling
from flashling.model.packed import to_fp8
from flashling.sampling import Sampling

Prompt = tuple[int, ...]
# token, log-probability, the likeliest with theirs
Told = list[tuple[int | None, float, tuple[tuple[int, float], ...]]]

BOTH = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["fp32", "fp64"])
GREEDY = Sampling(temperature=0.0, max_tokens=3, logprobs=3)


@cache
def toy(dtype: torch.dtype) -> Ling:
    config = TOY.with_(initializer_range=0.3, eos_token_ids=(7,))
    return Ling(config).init_weights(0).cast(dtype)


@cache
def embedded(dtype: torch.dtype) -> Ling:
    return weights.read(nano.path(), dtype)


def words(draw: random.Random, count: int) -> Prompt:
    return tuple(draw.randrange(10, 250) for _ in range(count))


def tell(events: Sequence[Event], number: int) -> tuple[Told, Usage]:
    own = [e for e in events if e.id == number]
    assert own[-1].finish in ("stop", "length") and own[-1].usage is not None
    return [(e.token, e.logprob, e.top) for e in own], own[-1].usage


def ask(engine: Engine, prompt: Prompt, sampling: Sampling = GREEDY, **how) -> tuple[Told, Usage]:
    number = engine.add(Request(prompt, sampling, **how))
    return tell(list(engine.run()), number)


def alone(model: Ling, prompt: Prompt, sampling: Sampling = GREEDY, exact: bool = True) -> Told:
    """What an engine that has seen nothing else says, the prompt read in one step."""
    return ask(Engine(model, slots=1, pages=16, budget=1024, exact=exact), prompt, sampling)[0]


def follow_up(model: Ling, n: int, exact: bool = True) -> tuple[Told, Told]:
    """A prompt whose first n tokens were another's, where these are kept and where they are not."""
    draw = random.Random(n)
    first = words(draw, n)
    second = (*first, *words(draw, draw.choice((1, 2, 20))))
    engine = Engine(model, slots=1, pages=32, budget=draw.choice((50, 1024)), exact=exact)
    ask(engine, first, Sampling(max_tokens=1))
    found, usage = ask(engine, second)
    assert usage.cached == n
    return found, alone(model, second, exact=exact)


@BOTH
@pytest.mark.parametrize("n", [*range(1, 300, 29), 63, 64, 65, 128])
def test_cached_is_cold(dtype: torch.dtype, n: int) -> None:
    found, want = follow_up(toy(dtype), n)
    assert found == want


@pytest.mark.soak
@BOTH
def test_cached_is_cold_at_every_length(dtype: torch.dtype) -> None:
    for n in range(1, 301):
        found, want = follow_up(toy(dtype), n)
        assert found == want, n


def test_without_exact_mode_the_bits_differ() -> None:
    pairs = [follow_up(toy(torch.float32), n, exact=False) for n in range(20, 300, 90)]
    assert any(found != want for found, want in pairs)
    # the numbers are close all the same: exact mode changes bits, not the model
    for n in range(20, 300, 90):
        _, plain = follow_up(toy(torch.float32), n, exact=False)
        _, want = follow_up(toy(torch.float32), n)
        assert [t for t, _, _ in plain] == [t for t, _, _ in want]
        assert [p for _, p, _ in plain] == pytest.approx([p for _, p, _ in want], abs=1e-3)


@BOTH
def test_cached_is_cold_at_every_boundary(dtype: torch.dtype) -> None:
    draw = random.Random(5)
    text, ends = words(draw, 200), (1, 40, 64, 66, 127, 150, 192, 199)
    engine = Engine(toy(dtype), slots=1, pages=64, budget=90, exact=True)
    assert ask(engine, text, boundaries=ends)[0] == alone(toy(dtype), text)
    for end in ends:
        prompt = (*text[:end], 251, *words(draw, 4))
        found, usage = ask(engine, prompt)
        assert usage.cached == end
        assert found == alone(toy(dtype), prompt)


def mix(model: Ling, seed: int) -> None:
    """Requests with common stems come at random to an engine of random size and budget."""
    draw = random.Random(seed)
    engine = Engine(
        model,
        slots=draw.choice((2, 4, 8)),
        pages=64,
        budget=draw.choice((5, 17, 40, 130)),
        drafts=draw.choice((0, 3)),
        exact=True,
    )
    stems = [words(draw, draw.choice((3, 63, 90))) for _ in range(2)]
    asked: dict[int, tuple[Prompt, Sampling]] = {}
    events: list[Event] = []
    for _ in range(6):
        prompt = draw.choice(stems) + words(draw, draw.randrange(40))
        sampling = Sampling(
            temperature=draw.choice((0.0, 1.0)),
            seed=draw.randrange(3),
            max_tokens=draw.randint(1, 10),
            logprobs=3,
        )
        asked[engine.add(Request(prompt, sampling))] = prompt, sampling
        for _ in range(draw.randrange(4)):
            events += engine.step()
    events += engine.run()
    for number, (prompt, sampling) in asked.items():
        assert tell(events, number)[0] == alone(model, prompt, sampling)


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_alone_is_among_others(dtype: torch.dtype, seed: int) -> None:
    mix(toy(dtype), seed)


@pytest.mark.soak
@BOTH
def test_alone_is_among_others_at_length(dtype: torch.dtype) -> None:
    for seed in range(100, 200):
        mix(toy(dtype), seed)


def guesses(whole: list[int], is_right: bool) -> Callable[[Sequence[int], int], list[int]]:
    """Drafts of a text that is known: mostly what comes, or mostly not."""
    draw = random.Random(1)

    def propose(tokens: Sequence[int], most: int) -> list[int]:
        ahead = whole[len(tokens) : len(tokens) + draw.randint(0, most)]
        return [t if (draw.random() < 0.95) == is_right else 9 for t in ahead]

    return propose


@BOTH
@pytest.mark.parametrize("is_right", [True, False], ids=["right", "wrong"])
@pytest.mark.parametrize("source", ["ngram", "mtp"])
def test_drafts_change_nothing(
    dtype: torch.dtype, source: str, is_right: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompt = words(random.Random(8), 50)
    sampling = Sampling(temperature=1.0, seed=5, max_tokens=60, logprobs=3)
    want = alone(toy(dtype), prompt, sampling)
    guess = guesses([*prompt, *[t for t, _, _ in want if t is not None]], is_right)
    read = Guesser.read

    def told(self: Guesser, sequences, rows, most: int) -> None:
        # the layer runs, and its guesses are then made better or worse
        read(self, sequences, rows, most)
        for s in sequences:
            s.drafts = guess(s.tokens, len(s.drafts))

    if source == "mtp":
        monkeypatch.setattr(Guesser, "read", told)
    lookup = guess if source == "ngram" else lambda tokens, most: []
    monkeypatch.setattr(engines, "propose", lookup)
    engine = Engine(toy(dtype), slots=2, pages=32, drafts=4, exact=True)
    found, usage = ask(engine, prompt, sampling)
    assert found == want
    assert usage.drafted > 9 and (usage.accepted > usage.drafted / 2) == is_right


@BOTH
def test_the_engines_own_drafts_change_nothing(dtype: torch.dtype) -> None:
    prompt = words(random.Random(2), 9) * 8
    sampling = Sampling(temperature=0.0, max_tokens=40, logprobs=3)
    engine = Engine(toy(dtype), slots=1, pages=32, drafts=4, exact=True)
    found, usage = ask(engine, prompt, sampling)
    assert found == alone(toy(dtype), prompt, sampling) and usage.drafted > 0


@BOTH
@pytest.mark.parametrize("steps", [1, 2, 4, 9])
def test_preempted_is_never_stopped(dtype: torch.dtype, steps: int) -> None:
    draw = random.Random(steps)
    low, high = words(draw, 100), words(draw, 30)
    sampling = Sampling(temperature=1.0, seed=3, max_tokens=8, logprobs=3)
    engine = Engine(toy(dtype), slots=1, pages=16, budget=40, exact=True)
    first = engine.add(Request(low, sampling))
    events = [e for _ in range(steps) for e in engine.step()]
    second = engine.add(Request(high, sampling, priority=1))
    events += engine.step()
    assert [s.id for s in engine.waiting] == [first]
    events += engine.run()
    assert tell(events, first)[0] == alone(toy(dtype), low, sampling)
    assert tell(events, second)[0] == alone(toy(dtype), high, sampling)


@BOTH
@pytest.mark.parametrize("source", ["host", "disk"])
def test_parked_is_never_parked(dtype: torch.dtype, source: str, tmp_path: Path) -> None:
    def engine() -> Engine:
        store = Store(tmp_path, b"toy", 1 << 30, 3600)
        tiers = Tiers(host=Host(1 << 24)) if source == "host" else Tiers(disk=store)
        return Engine(toy(dtype), slots=1, pages=4, tiers=tiers, exact=True)

    prompt = words(random.Random(4), 100)
    before = engine()
    said = [t for t, _, _ in ask(before, prompt, session="s")[0] if t is not None]
    if source == "host":
        # others need all pages
        ask(before, words(random.Random(6), 200))
    else:
        before.close()
        before = engine()
    text = (*prompt, *said, 11, 12)
    found, usage = ask(before, text)
    assert usage.restored_from == source and usage.cached == len(text) - 3
    assert found == alone(toy(dtype), text)


@BOTH
@pytest.mark.parametrize("form", ["absorbed", "expanded"])
def test_the_oracle_has_the_same_bits(dtype: torch.dtype, form: str) -> None:
    prompt, sampling = words(random.Random(3), 130), Sampling(max_tokens=4, logprobs=3)
    with ops.exactly():
        [want] = oracle.generate(toy(dtype), [prompt], sampling, form=form)
    found = alone(toy(dtype), prompt, sampling)
    assert [t for t, _, _ in found] == want.tokens
    assert [p for _, p, _ in found] == want.logprobs
    assert [list(top) for _, _, top in found] == want.top


def row_ops(dtype: torch.dtype) -> dict[str, Callable[[slice], Tensor]]:
    """Ops that treat each row by itself, over some of the same 37 rows."""
    g = torch.Generator().manual_seed(0)

    def r(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g).to(dtype)

    x, y, w, freqs = r(37, 64), r(37, 64), r(64), ops.frequencies(8, 1e4)
    router, up, down, shared = r(8, 64), r(8, 64, 64), r(8, 64, 32), (r(64, 64), r(64, 32))
    choice, bias, positions = ops.Choice(2, 4, 2, True, 2.5), r(8), torch.arange(990, 1027)
    cos, sin = ops.rotary_table(positions, freqs, 1.0, dtype)
    gates, chosen = ops.route(x, router, bias, choice)
    heads = x.unflatten(-1, (4, 16))
    return {
        "linear": lambda s: ops.linear(x[s], router),
        "route": lambda s: ops.route(x[s], router, bias, choice)[0],
        "experts": lambda s: ops.experts(x[s], gates[s], chosen[s], up, down, shared),
        "swiglu": lambda s: ops.swiglu(x[s]),
        "norm": lambda s: ops.norm(x[s, 8:40], w[8:40]),
        "add_norm": lambda s: ops.add_norm(x[s], y[s], w)[1],
        "group_norm_gate": lambda s: ops.group_norm_gate(x[s], w, y[s], 2),
        "rotary_table": lambda s: ops.rotary_table(positions[s], freqs, 1.0, dtype)[0],
        "rotate_half": lambda s: ops.rotate_half(heads[s], cos[s], sin[s]),
        "rotate_pairs": lambda s: ops.rotate_pairs(heads[s, :, :8], cos[s], sin[s]),
        "queries_keys": lambda s: ops.queries_keys(heads[s], w[:16], w[:16], cos[s], sin[s])[0],
        "logprobs_of": lambda s: ops.logprobs_of(x[s]),
    }


@BOTH
@pytest.mark.parametrize("name", row_ops(torch.float32))
def test_rows_do_not_see_their_company(dtype: torch.dtype, name: str) -> None:
    with ops.exactly():
        call = row_ops(dtype)[name]
        want = call(slice(0, 37))
        for a in range(0, 37, 5):
            for b in range(a + 1, 38):
                assert torch.equal(call(slice(a, b)), want[a:b]), (a, b)


@BOTH
def test_rows_do_not_see_where_threads_share_them(dtype: torch.dtype) -> None:
    g = torch.Generator().manual_seed(0)
    x, gate = (torch.randn(501, 96, generator=g).to(dtype) for _ in range(2))
    calls: list[Callable[[slice], Tensor]] = [
        lambda s: ops.swiglu(torch.cat([gate[s], x[s]], -1)),
        lambda s: ops.group_norm_gate(x[s], x[0], gate[s], 3),
    ]
    threads = torch.get_num_threads()
    # three share a tensor in the middle of rows
    torch.set_num_threads(3)
    try:
        with ops.exactly():
            for call in calls:
                alone = torch.cat([call(slice(i, i + 1)) for i in range(501)])
                for count in range(401, 502, 5):
                    assert torch.equal(call(slice(0, count)), alone[:count])
    finally:
        torch.set_num_threads(threads)


def test_exact_mode_names_what_it_does_not_hold() -> None:
    with torch.device("meta"):
        model = Ling(TOY)
    with pytest.raises(ValueError, match="on the CPU and on CUDA; the model is on meta"):
        Engine(model, slots=1, pages=2, exact=True)
    with pytest.raises(ValueError, match="for bfloat16, not torch.float32"):
        check_exact(elsewhere(model))
    with pytest.raises(ValueError, match="heads of 64, 128, 256 ..., not 16"):
        check_exact(elsewhere(model.cast(torch.bfloat16)))
    wide = Ling(TOY.with_(head_dim=64)).init_weights(0).cast(torch.bfloat16)
    with pytest.raises(ValueError, match="routed experts in fp8 or int4"):
        check_exact(elsewhere(wide))
    check_exact(elsewhere(to_fp8(wide)))


def elsewhere(model: Ling) -> Ling:
    """The model as it would look on a GPU, as far as `check_exact` looks."""
    facts = {"config": model.config, "dtype": model.dtype, "modules": model.modules}
    return cast(Ling, SimpleNamespace(head=SimpleNamespace(device=torch.device("cuda")), **facts))


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10))
def test_the_embedded_model_keeps_its_bits(seed: int) -> None:
    model = embedded(torch.float32)
    found, want = follow_up(model, random.Random(seed).randrange(1, 300))
    assert found == want
    mix(model, seed)
