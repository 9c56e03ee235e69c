"""Exact mode of the kernels, through the engine: the interpreter runs what CUDA would."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

import random

from flashling.config import TOY
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.engine.steps import Steps
from flashling.model.ling import Ling
from flashling.model.packed import to_fp8
from flashling.ops.op import using
from flashling.sampling import Sampling

from ..engine.test_exact import Told, tell, words

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SIZES = {"num_hidden_layers": 2, "head_dim": 64, "num_attention_heads": 2, "num_experts": 4}
CONFIG = TOY.with_(**SIZES, n_group=2, topk_group=1, num_nextn_predict_layers=0)


def engine(model: Ling, budget: int, slots: int = 3, drafts: int = 0) -> Engine:
    made = Engine(model, slots=slots, pages=12, budget=budget, drafts=drafts, exact=True)
    # what it has on CUDA
    made.steps = made.steps or made._steps()
    return made


@pytest.mark.soak
def test_alone_is_among_others_in_pieces_and_after_a_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    # so that a sequence has more than one part
    monkeypatch.setattr("flashling.ops.mla.exact_triton.PAGES", 1)
    model = to_fp8(Ling(CONFIG).init_weights(0).cast(torch.bfloat16)).to(DEVICE)
    draw = random.Random(3)
    prompt, other = words(draw, 70), words(draw, 9)
    how = Sampling(temperature=1.0, seed=2, max_tokens=3)

    def ask(e: Engine, *prompts: tuple[int, ...]) -> tuple[Told, int]:
        number = e.add(Request(prompts[0], how))
        for p in prompts[1:]:
            e.add(Request(p, Sampling(temperature=0.0, max_tokens=4)))
        told, usage = tell(list(e.run()), number)
        return told, usage.cached

    with using("cuda"):
        want, _ = ask(engine(model, 128), prompt)
        assert ask(engine(model, 40), prompt, other)[0] == want
        after = engine(model, 128, slots=1)
        ask(after, prompt[:66])
        assert ask(after, prompt) == (want, 65)


@pytest.mark.soak
def test_drafts_change_no_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flashling.ops.mla.exact_triton.PAGES", 1)
    drafted = CONFIG.with_(num_nextn_predict_layers=1)
    model = to_fp8(Ling(drafted).init_weights(0).cast(torch.bfloat16)).to(DEVICE)
    prompt, how = words(random.Random(4), 60), Sampling(temperature=1.0, seed=2, max_tokens=7)
    own, taken = Steps.guesses, list[int]()

    def ask(e: Engine) -> Told:
        number = e.add(Request(prompt, how))
        told, usage = tell(list(e.run()), number)
        taken.append(usage.accepted)
        return told

    with using("cuda"):
        want = ask(engine(model, 128))
        text = [*prompt, *(t for t, *_ in want)]

        def guesses(steps: Steps, slots: Tensor, lengths: Tensor, *given: Tensor) -> Tensor:
            found = own(steps, slots, lengths, *given)
            at = int(lengths[0] + given[-1][0]) + 2
            ahead = torch.tensor(text[at : at + found.shape[1]], device=found.device)
            found[0, : len(ahead)] = ahead
            return found

        monkeypatch.setattr(Steps, "guesses", guesses)
        assert ask(engine(model, 128, drafts=2)) == want
    assert taken[0] == 0 and taken[1] > 2
