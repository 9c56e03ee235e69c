"""Kernels written for Hopper alone: what leads to them in the interpreter, they on such a GPU."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
import torch

pytest.importorskip("triton")

from flashling import ops
from flashling.ops import Fp8
from flashling.ops.cases import Maker
from flashling.ops.linear import quantise
from flashling.ops.linear.cases import fp8
from flashling.ops.mla import Documents, mla_expanded, mla_over

experts: Any = import_module("flashling.ops.experts.triton")
rows: Any = import_module("flashling.ops.experts.rows_triton")
spread: Any = import_module("flashling.ops.experts.spread_triton")
hopper: Any = import_module("flashling.ops.experts.hopper_triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16 = torch.bfloat16
on_hopper = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9,
    reason="no Hopper GPU",
)


def cut(count: int, extra: int) -> list[int]:
    """Pairs of each tile of an expert: as few tiles as can be, and of those as few wide ones."""
    num = -(-count // (spread.TOKENS + extra))
    sizes = [spread.TOKENS] * num
    while sum(sizes) < count:
        sizes[sizes.index(spread.TOKENS)] += extra
    starts = [sum(sizes[:i]) for i in range(num)]
    return [min(size, count - start) for size, start in zip(sizes, starts, strict=True)]


@pytest.mark.parametrize("extra", [0, 32])
@pytest.mark.parametrize("tokens", [1, 40, 330, 700, 1500])
def test_tiles_cover_the_pairs_of_each_expert(tokens: int, extra: int) -> None:
    chosen = Maker(BF16, DEVICE).integers(5, tokens, 2)
    order, counts = rows.sort(chosen, 5)
    table, places = spread.tiles(order, counts, extra)
    (total, *taken), rest = table[: spread.HEAD].tolist(), table[spread.HEAD :].tolist()
    want, first = [], 0
    for expert, count in enumerate(counts.tolist()):
        for size in cut(count, extra):
            want.append((expert, first, size))
            first += size
    found = list(zip(rest[::3], rest[1::3], rest[2::3], strict=True))
    assert total == len(want) and taken == [0, 0] and found[:total] == want
    assert torch.equal(places[order.long()].long(), torch.arange(2 * tokens, device=DEVICE))


@pytest.mark.parametrize("group", [None, 128])
def test_rows_are_quantised_to_the_places_of_their_pairs(group: int | None) -> None:
    m = Maker(BF16, DEVICE)
    x, order = m(11, 256), torch.randperm(22, device=DEVICE)
    want, want_scale = quantise(x, group)
    (numbers, scale), own = spread.spread(x, order.argsort().int(), 2, group)
    assert torch.equal(own[0].float(), want.float()) and torch.equal(own[1], want_scale)
    assert torch.equal(numbers.float(), want[order // 2].float())
    assert torch.equal(scale[:, :22].T.squeeze(1), want_scale[order // 2])
    numbers, scale = spread.by_group(x, group)
    assert torch.equal(numbers.float(), want.float())
    assert torch.equal(scale[:, :11].T.squeeze(1), want_scale)
    numbers, laid = spread.turned((want, want_scale))
    assert numbers is want and laid.shape == scale.shape
    assert torch.equal(laid[:, :11], scale[:, :11])


@pytest.mark.gpu
@on_hopper
@pytest.mark.parametrize("blocks", [False, True])
@pytest.mark.parametrize("tokens", [1, 37, 200, 500, 1000])
def test_experts_have_the_bits_of_the_other_kernels(tokens: int, blocks: bool) -> None:
    m = Maker(BF16, DEVICE, seed=tokens)
    gate_up, down = fp8(m, 8, 512, 512, blocks=blocks), fp8(m, 8, 512, 256, blocks=blocks)
    assert isinstance(gate_up, Fp8) and hopper.fits(gate_up, down)
    x, chosen = m(tokens, 512), torch.rand(tokens, 8, device=DEVICE).topk(2, 1).indices
    weights = torch.rand(tokens, 2, device=DEVICE)
    order, counts = rows.sort(chosen, 8)
    found, _ = hopper.products(x, order, counts, 2, gate_up, down)
    tile = experts.Many(64, 64, 128, 4, 3)
    want = experts.experts(x, weights, chosen, gate_up, down, tile=tile)
    assert torch.equal(rows.combine(found, weights, None), want)


@pytest.mark.gpu
@on_hopper
@pytest.mark.parametrize("blocks", [False, True])
def test_in_exact_mode_experts_have_the_bits_of_few_tokens(blocks: bool) -> None:
    m = Maker(BF16, DEVICE)
    routed = fp8(m, 8, 512, 512, blocks=blocks), fp8(m, 8, 512, 256, blocks=blocks)
    own = fp8(m, 512, 512, blocks=blocks), fp8(m, 512, 256, blocks=blocks)
    x, chosen = m(500, 512), torch.rand(500, 8, device=DEVICE).topk(2, 1).indices
    weights = torch.rand(500, 2, device=DEVICE)
    with ops.exactly():
        want = ops.experts(x, weights, chosen, *routed, own)
        for s in (slice(0, 1), slice(7, 40), slice(100, 230)):
            got = ops.experts(x[s], weights[s], chosen[s], *routed, own)
            assert torch.equal(got, want[s])


@pytest.mark.gpu
@on_hopper
def test_attention_is_the_bodys() -> None:
    m = Maker(BF16, DEVICE)
    kv_b = m(4 * 256, 512) * 512**-0.5
    for starts in ((0, 1), (0, 300), (0, 64, 190, 1000), (0, 128, 256)):
        q, latent, docs = m(starts[-1], 4, 192), m(starts[-1], 576), Documents(starts, DEVICE)
        wide = q.double(), latent.double(), kv_b.double()
        want = vars(mla_expanded)["body"](*wide, 128, docs)
        got = mla_expanded(q, latent, kv_b, 128, docs)
        assert float((got - want).norm() / want.norm()) < 5e-3
    q, latent = m(130, 4, 192), m(1031, 576)
    want = vars(mla_over)["body"](q.double(), latent.double(), kv_b.double(), 128)
    got = mla_over(q, latent, kv_b, 128)
    assert float((got - want).norm() / want.norm()) < 5e-3
    # another document's numbers are no concern
    latent[500:] = float("nan")
    q = m(1031, 4, 192)
    got = mla_expanded(q, latent, kv_b, 128, Documents((0, 500, 1031), DEVICE))
    assert got[:500].isfinite().all()
