"""Cross entropy fused with the head, and the losses of a batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from flashling.config import TOY
from flashling.model.ling import Ling
from flashling.model.past import Fresh
from flashling.train import loss
from flashling.train.data import Packed, pack


@pytest.mark.parametrize("block", [1, 3, 100])
def test_equals_plain_cross_entropy(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "LOGITS", block * 11)
    torch.manual_seed(0)
    hidden = torch.randn(7, 5, dtype=torch.float64, requires_grad=True)
    head = torch.randn(11, 5, dtype=torch.float64, requires_grad=True)
    targets = torch.randint(11, (7,))
    total, right = loss.cross_entropy(hidden, head, targets)
    logits = hidden @ head.T
    plain = F.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(total, plain)
    assert int(right) == int((logits.argmax(-1) == targets).sum())
    found = torch.autograd.grad(total * 0.3, (hidden, head))
    for a, b in zip(found, torch.autograd.grad(plain * 0.3, (hidden, head)), strict=True):
        torch.testing.assert_close(a, b)


def test_bfloat16_sums_in_float32() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(64, 32).bfloat16().requires_grad_()
    head = (torch.randn(40, 32) * 0.3).bfloat16().requires_grad_()
    targets = torch.randint(40, (64,))
    total, _ = loss.cross_entropy(hidden, head, targets)
    assert total.dtype == torch.float32
    wide_h, wide_w = (x.detach().float().requires_grad_() for x in (hidden, head))
    plain = F.cross_entropy(wide_h @ wide_w.T, targets, reduction="sum")
    torch.testing.assert_close(total, plain)
    total.backward()
    plain.backward()
    for narrow, wide in ((hidden, wide_h), (head, wide_w)):
        assert narrow.grad is not None and wide.grad is not None
        assert narrow.grad.dtype == torch.bfloat16
        torch.testing.assert_close(narrow.grad.float(), wide.grad, rtol=2e-2, atol=2e-2)


def test_no_target_is_no_loss() -> None:
    hidden, head = torch.randn(0, 4, requires_grad=True), torch.randn(6, 4, requires_grad=True)
    total, right = loss.cross_entropy(hidden, head, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert float(total.detach()) == 0 and int(right) == 0
    assert head.grad is not None and not head.grad.any()


def batch(seed: int = 0) -> Packed:
    draw = np.random.default_rng(seed)
    documents = [(draw.integers(0, 256, n), draw.random(n) < 0.6) for n in (9, 1, 17, 4)]
    packed = pack(documents)
    packed.past = Fresh(packed.batch)
    return packed


def test_losses_read_only_what_they_should() -> None:
    """Next-token and MTP losses against a loop over documents and tokens."""
    model = Ling(TOY).init_weights(1).double()
    packed = batch()
    one = torch.tensor(1.0, dtype=torch.float64)
    found = loss.losses(model, packed, one, one * 0.1)
    past = packed.past
    assert past is not None
    hidden = model(packed.batch, past)
    second = model.mtp_hidden(hidden, packed.batch, past)
    first_sum = second_sum = torch.zeros((), dtype=torch.float64)
    for n, (rows, guess) in enumerate(((packed.following, hidden), (packed.second, second))):
        for row, token in zip(rows.rows.tolist(), rows.tokens.tolist(), strict=True):
            assert int(packed.batch.tokens[row + n + 1]) == token
            logprob = model.logits(guess[row]).log_softmax(-1)[token]
            first_sum, second_sum = (
                (first_sum - logprob, second_sum) if n == 0 else (first_sum, second_sum - logprob)
            )
    torch.testing.assert_close(found.following, first_sum.detach())
    torch.testing.assert_close(found.second, second_sum.detach())
    torch.testing.assert_close(found.total, first_sum + 0.1 * second_sum)
    assert found.num_following == len(packed.following)
    assert not found.following.requires_grad and found.total.requires_grad


def test_without_mtp_its_layer_gets_no_gradient() -> None:
    model = Ling(TOY).init_weights(1)
    found = loss.losses(model, batch(), torch.tensor(0.1))
    found.total.backward()
    assert all(p.grad is None for p in model.mtp.parameters())
    assert float(found.second) == 0
