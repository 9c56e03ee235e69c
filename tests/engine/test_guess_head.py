"""Drafts guessed with a head in fewer bits."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from flashling import ops
from flashling.config import TOY
from flashling.engine import drafts
from flashling.engine.drafts import guess, guess_bytes, guess_head
from flashling.engine.engine import Engine
from flashling.engine.request import Request
from flashling.model import oracle
from flashling.model.ling import Ling
from flashling.model.packed import HEAD, pack
from flashling.model.packed import replace as put
from flashling.ops.device import KINDS
from flashling.quant import INT8
from flashling.sampling import Sampling

from .test_engine import check_empty, gather, model

HOT = Sampling(temperature=1.0, seed=5, max_tokens=40)


def test_a_plain_head_on_a_gpu_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        far = Ling(TOY).cast(torch.bfloat16)
    copy = guess_head(far)
    assert isinstance(copy, ops.Fp8) and copy.shape == far.head.shape and copy.group is None
    assert guess_bytes(far) == sum(b.nbytes for b in copy.buffers())
    # what has few bits already, what cannot compute with e4m3, and a CPU take the head as it is
    near = Ling(TOY).init_weights().cast(torch.bfloat16)
    assert guess_head(near) is near.head and guess_bytes(near) == 0
    monkeypatch.setattr(drafts, "current", lambda: KINDS[80])
    assert guess_head(far) is far.head
    monkeypatch.undo()
    put(far, lambda _, w: ops.Int8(w.to(torch.int8), w.new_empty(len(w))), (HEAD,))
    assert guess_head(far) is far.head and guess_bytes(far) == 0


def test_a_copy_guesses_nearly_as_the_head() -> None:
    torch.manual_seed(0)
    head, hidden = torch.randn(500, 256).bfloat16(), torch.randn(200, 256).bfloat16()
    want = guess(hidden, head)
    assert torch.equal(want, ops.linear(hidden, head).float().argmax(-1))
    same = (guess(hidden, ops.Fp8(*ops.quantise(head))) == want).float().mean()
    assert 0.8 < same < 1


@pytest.mark.parametrize("recorded", [False, True], ids=["planned", "recorded"])
def test_tokens_do_not_depend_on_it(recorded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step asks the copy, which guesses otherwise; what is drawn is the full head's."""
    rough = pack(model().head.float(), INT8)
    assert isinstance(rough, ops.Int8)
    rough.numbers.div_(32, rounding_mode="floor")
    asked = []

    def told(hidden: torch.Tensor, head: ops.Weight) -> torch.Tensor:
        assert head is rough
        asked.append(not torch.equal(guess(hidden, head), guess(hidden, model().head)))
        return guess(hidden, head)

    monkeypatch.setattr(drafts, "guess_head", lambda _: rough)
    for module in ("drafts", "steps"):
        monkeypatch.setattr(f"flashling.engine.{module}.guess", told)
    engine = Engine(model(), slots=3, pages=32, drafts=2)
    engine.steps = engine._steps() if recorded else None
    prompts = [tuple(range(20, 20 + n)) for n in (30, 61, 3)]
    hows = [replace(HOT, temperature=t) for t in (0.0, 1.0, 0.8)]
    numbers = [engine.add(Request(p, h)) for p, h in zip(prompts, hows, strict=True)]
    found = gather(list(engine.run()))
    for number, prompt, how in zip(numbers, prompts, hows, strict=True):
        [want] = oracle.generate(model(), [prompt], how)
        assert [e.token for e in found[number]] == want.tokens
        assert [e.logprob for e in found[number]] == pytest.approx(want.logprobs, abs=1e-9)
    assert any(asked)
    check_empty(engine)
