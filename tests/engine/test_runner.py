"""The plain runner beside the oracle, on a toy model."""

from __future__ import annotations

import pytest
import torch

from flashling.config import TOY
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.engine.runner import Runner
from flashling.engine.steps import Steps, laid
from flashling.model import oracle
from flashling.model.ling import Ling
from flashling.model.packed import to_fp8
from flashling.sampling import Sampling

PROMPTS = [[5, 9, 2], list(range(3, 70)), [7] * 64]


@pytest.mark.parametrize("form", ["plain", "fp8"])
def test_steps_equal_the_oracle(form: str) -> None:
    model = Ling(TOY.with_(initializer_range=0.3, num_nextn_predict_layers=0)).init_weights(0)
    if form == "fp8":
        # activations are quantised by row, so that a step computes what the whole pass computed
        to_fp8(model)
    want = oracle.generate(model, PROMPTS, Sampling(temperature=0.0, max_tokens=70))
    runner = Runner(model, 4, 256)
    # slots in any order, prompts read alone and together
    found = [[int(t)] for t in runner.fill(PROMPTS[:1], [3])]
    found += [[int(t)] for t in runner.fill(PROMPTS[1:], [0, 2])]
    at = torch.tensor([3, 0, 2])
    for _ in range(69):
        runner.step(at)
        for row, token in zip(found, runner.tokens[at].tolist(), strict=True):
            row.append(token)
    for row, one in zip(found, want, strict=True):
        assert row[: len(one.tokens)] == one.tokens


@pytest.mark.parametrize("drafts", [0, 2])
def test_idle_rows_change_nothing(drafts: int) -> None:
    model = Ling(TOY).init_weights(0)
    engine = Engine(model, slots=2, pages=8)
    steps = Steps(model, engine.room.cache)
    engine.add(Request(tuple(range(3, 70)), Sampling(temperature=0.0, max_tokens=5)))
    engine.step()
    cache, s = engine.room.cache, engine.running[0]
    held = [x.clone() for x in (cache.state, cache.tail, cache.pages)]
    found = []
    for size in (1, 3):
        for x, before in zip((cache.state, cache.tail, cache.pages), held, strict=True):
            x.copy_(before)
        given = laid([s], size, cache.spare_slot, drafts)
        before = given.clone()
        with torch.no_grad():
            hidden, drawn = steps.step(given, False)
        # the next step reads what was drawn, one row further; idle rows stay where they are
        assert not drawn[3, 0, 1:].any() and drawn[3, 0, 0]
        assert given[:3, 0].tolist() == [s.slot, s.done + 1, s.done + 1 - s.base]
        read = len(given) - drafts - 1
        assert given[read, 0] == drawn[0, 0, 0] and given[read:, 0].tolist() == drawn[4, 0].tolist()
        assert torch.equal(given[:read, 1:], before[:read, 1:])
        assert torch.equal(given[3:read, 0], before[3:read, 0])
        found.append([hidden[0], drawn[:, 0]])
        # all but what is spare
        found[-1] += [x[:-1].clone() for x in (cache.state, cache.tail, cache.pages)]
    for alone, padded in zip(*found, strict=True):
        torch.testing.assert_close(padded, alone)
    # however long it idles, the spare slot has nothing to fold
    assert not cache.state[cache.spare_slot].any()
