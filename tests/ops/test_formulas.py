"""Bodies against formulas that share nothing with them."""

from __future__ import annotations

import math

import pytest
import torch

from flashling import ops
from flashling.config import Yarn


def test_lightning_is_the_recurrence() -> None:
    g = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(150, 2, 8, generator=g, dtype=torch.float64) for _ in range(3))
    decay = torch.tensor([0.8, 0.01])
    grid = ops.Grid((0, 20, 150), (0, 0), q.device)
    got = ops.lightning(q, k, v, decay, grid)
    for a, b in ((0, 20), (20, 150)):
        state = torch.zeros(2, 8, 8, dtype=torch.float64)
        for t in range(a, b):
            kv = torch.einsum("hk,hv->hkv", k[t], v[t])
            state = torch.exp(-decay.double())[:, None, None] * state + kv
            want = torch.einsum("hk,hkv->hv", q[t], state) / math.sqrt(8)
            torch.testing.assert_close(got[t], want, rtol=0, atol=1e-12)


def test_fast_decay_does_not_overflow() -> None:
    q = torch.ones(256, 1, 8)
    out = ops.lightning(q, q, q, torch.tensor([5.0]), ops.Grid((0, 256), (0,), q.device))
    assert torch.isfinite(out).all()


def test_the_decay_of_a_partial_chunk_counts_its_real_rows() -> None:
    # one chunk and six rows, then one more: the state must be that of 64 rows, not of 128
    g = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(71, 1, 4, generator=g, dtype=torch.float64) for _ in range(3))
    decay = torch.tensor([0.05])
    whole = ops.lightning(q, k, v, decay, ops.Grid((0, 71), (0,), q.device))
    state = torch.zeros(1, 1, 4, 4, dtype=torch.float64)
    carry = ops.Carry(state, torch.zeros(1, 2, 64, 1, 4).double(), torch.tensor([0]))
    tail = 0
    for a, b in ((0, 64), (64, 70), (70, 71)):
        grid = ops.Grid((0, b - a), (tail,), q.device)
        out = ops.lightning(q[a:b], k[a:b], v[a:b], decay, grid, carry)
        torch.testing.assert_close(out, whole[a:b], rtol=0, atol=1e-12)
        [tail] = grid.left
    assert tail == 7


def test_router_ties_go_to_the_lowest_index() -> None:
    x, router = torch.ones(1, 4), torch.zeros(8, 4)
    weights, chosen = ops.route(x, router, torch.zeros(8), ops.Choice(3, 4, 2, True, 2.5))
    assert chosen.tolist() == [[0, 1, 2]]
    torch.testing.assert_close(weights, torch.full((1, 3), 2.5 / 3))


def test_router_bias_selects_but_does_not_weigh_and_masked_groups_stay_out() -> None:
    router = torch.zeros(8, 4)
    # every biased score is negative: a mask of zero instead of minus infinity would win
    bias = torch.tensor([-1.0, -1.1, -2, -2, -2, -2, -0.9, -3.0])
    weights, chosen = ops.route(torch.ones(1, 4), router, bias, ops.Choice(4, 4, 2, False, 1.0))
    # the groups' sums of two: -2.1 + 1, -4 + 1, -4 + 1, -3.9 + 1
    assert sorted(chosen[0].tolist()) == [0, 1, 6, 7]
    assert weights.tolist() == [[0.5] * 4]


def test_rotations() -> None:
    x = torch.arange(8.0).view(1, 1, 8)
    cos, sin = torch.tensor([[0.6, 1.0]]), torch.tensor([[0.8, 0.0]])
    half = ops.rotate_half(x, cos, sin)[0, 0]
    torch.testing.assert_close(half[[0, 2]], torch.tensor([0 * 0.6 - 2 * 0.8, 2 * 0.6 + 0 * 0.8]))
    assert half[4:].tolist() == [4, 5, 6, 7]
    pairs = ops.rotate_pairs(x[..., :4], cos, sin)[0, 0]
    torch.testing.assert_close(pairs, torch.tensor([-0.8, 0.6, 2.0, 3.0]))


def test_yarn_ramp_of_the_published_override() -> None:
    plain = ops.frequencies(64, 6e6)
    longer = ops.frequencies(64, 6e6, Yarn(2.0, 131072))
    ratio = plain / longer
    assert torch.equal(ratio[:14], torch.ones(14))
    assert torch.equal(ratio[21:], torch.full((11,), 2.0))
    assert (ratio[14:21] > 1).all() and (ratio[14:21] < 2).all()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_group_norm_counts_groups(groups: int) -> None:
    g = torch.Generator().manual_seed(0)
    x, w, gate = torch.randn(3, 16, generator=g), torch.rand(16, generator=g), torch.zeros(3, 16)
    parts = x.chunk(groups, -1)
    want = torch.cat([p / (p.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() for p in parts], -1)
    torch.testing.assert_close(ops.group_norm_gate(x, w, gate, groups), want * w * 0.5)
