"""The kernels of the routed experts in Triton's interpreter, beside the op's body."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

import triton
import triton.language as tl

from flashling import ops
from flashling.ops import exact
from flashling.ops.cases import Maker
from flashling.ops.experts import experts as op
from flashling.ops.experts import int4, load
from flashling.ops.experts import swiglu as swiglu_op
from flashling.ops.experts import swiglu_triton as activation
from flashling.ops.experts.int4_triton import Tile4, grouped
from flashling.ops.experts.library import experts_library
from flashling.ops.linear import FLOAT8, Fp8, Int4, quantise
from flashling.ops.linear import triton as dense
from flashling.ops.linear.cases import fp8
from flashling.quant import INT4, INT4_128, Scheme

kernels = import_module("flashling.ops.experts.triton")
row_kernels = import_module("flashling.ops.experts.rows_triton")
Few, Many = kernels.Few, kernels.Many

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
ONE = Few(4, 2, 8, 2)
# beside the body in bfloat16, which rounds at the same places, and beside it in float64
NEAR, TRUE = 4e-3, 4e-2


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Memory that no kernel has written holds NaN, or a place that no tensor has."""

    def poison(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def made(*args: Any, **options: Any) -> Tensor:
            x = make(*args, **options)
            return x.fill_(float("nan") if x.is_floating_point() else 1 << 20)

        return made

    for owner, name in ((torch, "empty"), (torch, "empty_like"), (torch.Tensor, "new_empty")):
        monkeypatch.setattr(owner, name, poison(getattr(owner, name)))
    yield


def inputs(
    tokens: int,
    k: int,
    num: int,
    width: int,
    hidden: int,
    blocks: bool = False,
    shared: bool = True,
) -> tuple[Any, ...]:
    m = Maker(torch.bfloat16, DEVICE, seed=tokens)
    x, weights = m(tokens, width), m(tokens, k, dtype=torch.float32).sigmoid()
    # not all of them chosen, some by many
    chosen = torch.stack([m.integers(num - 1, tokens) for _ in range(k)], 1)
    both = fp8(m, num, 2 * hidden, width, blocks=blocks), fp8(m, num, width, hidden, blocks=blocks)
    own = fp8(m, 2 * hidden, width, blocks=blocks), fp8(m, width, hidden, blocks=blocks)
    return x, weights, chosen, *both, own if shared else None


def error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want.double()).norm() / want.double().norm())


def check(args: tuple[Any, ...], tile: Any) -> Tensor:
    body = vars(op)["body"]
    got = kernels.experts(*args, tile=tile)
    assert got.dtype == torch.bfloat16 and got.shape == args[0].shape
    assert error(got, body(*args)) < NEAR
    wide = [w.double() if isinstance(w, Tensor) else w for w in args[5] or ()]
    assert error(got, body(args[0].double(), *args[1:5], wide or None)) < TRUE
    return got


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("blocks", [False, True])
def test_few_tokens(tokens: int, shared: bool, blocks: bool) -> None:
    width, hidden = (256, 128) if blocks else (64, 32)
    args = inputs(tokens, 2, 4, width, hidden, blocks, shared)
    check(args, ONE)


@pytest.mark.parametrize(
    ("tile", "tokens", "k", "width", "hidden"),
    [
        # tiles that reach past every edge: of the weights, of their rows, of an expert's tokens
        (Many(16, 64, 64, 4, 2), 33, 3, 80, 48),
        (Many(32, 64, 128, 4, 2), 41, 2, 144, 80),
        (Many(64, 64, 128, 4, 2), 70, 2, 128, 32),
        (Many(16, 64, 128, 4, 2), 1, 2, 64, 32),
    ],
)
@pytest.mark.parametrize("shared", [False, True])
def test_many_tokens(tile: Any, tokens: int, k: int, width: int, hidden: int, shared: bool) -> None:
    check(inputs(tokens, k, 5, width, hidden, shared=shared), tile)


@pytest.mark.parametrize(
    ("tile", "width", "hidden"),
    [
        (Many(16, 64, 128, 4, 2), 256, 128),
        (Many(32, 128, 256, 4, 2, is_swapped=False), 256, 384),
        # the second half of the last tile lies past the end
        (Many(16, 128, 256, 4, 2), 384, 128),
    ],
)
def test_many_tokens_and_blocks(tile: Any, width: int, hidden: int) -> None:
    check(inputs(20, 2, 4, width, hidden, blocks=True), tile)


def test_a_token_on_the_left() -> None:
    check(inputs(33, 3, 5, 80, 48), Many(16, 64, 64, 4, 2, is_swapped=False))


def test_many_tokens_leave_the_shared_expert_to_the_library(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    args = inputs(5, 2, 4, 64, 32)
    inside = check(args, Many(16, 64, 64, 4, 2))
    monkeypatch.setattr(kernels, "SHARED_TOKENS", 4)
    asked: list[int] = []

    def product(*given: Any) -> Tensor:
        asked.append(len(given[0]))
        return dense.product(*given)

    monkeypatch.setattr(kernels, "product", product)
    apart = check(args, Many(16, 64, 64, 4, 2))
    assert asked == [5, 5] and error(inside, apart) < NEAR
    with exact.exactly():
        kernels.experts(*args)
    assert asked == [5, 5]


def test_all_tokens_choose_one_expert() -> None:
    x, weights, chosen, *rest = inputs(40, 2, 5, 64, 32)
    check((x, weights, torch.full_like(chosen, 4), *rest), Many(16, 64, 64, 4, 2))


def test_a_plain_shared_expert_and_one_of_its_own_width() -> None:
    x, weights, chosen, gate_up, down, _ = inputs(2, 2, 4, 64, 32)
    m = Maker(torch.bfloat16, DEVICE)
    for own in (
        (m(64, 64, scale=0.1), m(64, 32, scale=0.2)),
        (fp8(m, 128, 64), fp8(m, 64, 64)),
    ):
        assert not kernels._fits(ONE, gate_up, down, own)
        check((x, weights, chosen, gate_up, down, own), None)


@pytest.mark.parametrize("tile", [ONE, Many(16, 64, 64, 4, 2)])
def test_rows_do_not_see_their_company(tile: Any) -> None:
    x, weights, chosen, *rest = inputs(5, 2, 4, 64, 32)
    all_ = kernels.experts(x, weights, chosen, *rest, tile=tile)
    for t in (0, 4):
        one = slice(t, t + 1)
        assert torch.equal(
            kernels.experts(x[one], weights[one], chosen[one], *rest, tile=tile), all_[one]
        )


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_the_device_no_tile_changes_a_bit() -> None:
    for blocks in (False, True):
        args = inputs(300, 4, 16, 1024, 512, blocks)
        tiles = [tile for _, tile in kernels.MANY]
        # a token on the left is promised no bits
        tiles += [tile for tile in [kernels.MOST[128 if blocks else None]] if tile.is_swapped]
        first, *others = (kernels.experts(*args, tile=tile) for tile in tiles)
        assert all(torch.equal(first, other) for other in others)


def test_the_library_gets_what_it_expects(monkeypatch: pytest.MonkeyPatch) -> None:
    def product(
        rows: Tensor, weight: Tensor, scale: Tensor, weight_scale: Tensor, *, offs: Tensor, **_: Any
    ) -> Tensor:
        assert weight.stride(-2) == 1 and offs.dtype == torch.int32
        outs, start = [], 0
        for e, end in enumerate(offs.tolist()):
            found = rows[start:end].float() @ weight[e].float()
            outs.append(found * scale[start:end, None] * weight_scale[e])
            start = end
        return torch.cat(outs).bfloat16()

    if DEVICE.type == "cpu":
        monkeypatch.setattr(torch, "_scaled_grouped_mm", product)
    args = inputs(33, 3, 5, 64, 32)
    assert error(experts_library(*args), vars(op)["body"](*args)) < NEAR


def test_no_tokens() -> None:
    args = inputs(1, 2, 4, 64, 32)
    none = [a[:0] for a in args[:3]]
    assert kernels.experts(*none, *args[3:]).shape == (0, 64)


def test_what_the_kernels_do_not_serve_goes_to_the_body() -> None:
    x, weights, chosen, gate_up, down, _ = inputs(3, 2, 4, 64, 32)
    body = vars(op)["body"]
    plain = gate_up.unpack(torch.bfloat16), down.unpack(torch.bfloat16)
    for first, second in (plain, (gate_up, plain[1])):
        got = kernels.experts(x, weights, chosen, first, second)
        assert torch.equal(got, body(x, weights, chosen, first, second))
    wide = x.double(), weights, chosen, gate_up, down
    assert torch.equal(kernels.experts(*wide), body(*wide))
    x.requires_grad_()
    kernels.experts(x, weights, chosen, *plain).sum().backward()
    assert x.grad is not None and torch.isfinite(x.grad).all()


def test_the_tile_follows_the_rows_of_an_expert() -> None:
    gate_up, down = (
        Fp8(torch.ones(256, *s, dtype=FLOAT8, device="meta"), torch.ones(256, s[0]))
        for s in ((2048, 4096), (4096, 1024))
    )
    found = [kernels._tile(t, 8, gate_up, down, None) for t in (1, 2, 64, 256, 512, 1024, 8192)]
    assert [type(t) for t in found[:3]] == [Few, Few, Many]
    assert [t.tokens for t in found[2:]] == [16, 16, 32, 64, 128]


@pytest.mark.parametrize(("tokens", "k", "num"), [(1, 8, 16), (37, 3, 7), (2100, 2, 3)])
def test_sort(tokens: int, k: int, num: int) -> None:
    chosen = Maker(torch.bfloat16, DEVICE).integers(num, tokens, k)
    for sort in (row_kernels.sort, row_kernels.sort_many):
        order, counts = sort(chosen, num)
        assert torch.equal(order.long(), chosen.flatten().argsort(stable=True))
    assert torch.equal(counts.long(), load(chosen, num))


@pytest.mark.parametrize("group", [None, 128])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("tokens", "k"), [(1, 8), (37, 3)])
def test_rows_are_sorted_and_quantised_in_one_launch(
    tokens: int, k: int, shared: bool, group: int | None
) -> None:
    m = Maker(torch.bfloat16, DEVICE)
    x, chosen = m(tokens, 384), m.integers(7, tokens, k)
    order, counts, *quantised = row_kernels.prepare(x, chosen, 7, group, shared)
    want = chosen.flatten().argsort(stable=True)
    if shared:
        own = torch.arange(tokens, device=DEVICE) * (k + 1) + k
        want = torch.cat((want // k * (k + 1) + want % k, own))
    assert torch.equal(order.long(), want) and torch.equal(counts.long(), load(chosen, 7))
    for got, body in zip(quantised, quantise(x, group), strict=True):
        assert torch.equal(got.float(), body.float())


def test_combine_is_in_slot_order() -> None:
    m = Maker(torch.bfloat16, DEVICE)
    found, weights, own = m(5, 3, 40), m(5, 3, dtype=torch.float32), m(5, 40)
    total = found[:, 0].float() * weights[:, 0, None]
    for i in (1, 2):
        total = total + found[:, i].float() * weights[:, i, None]
    got = row_kernels.combine(found, weights, None)
    assert error(got, total) < 2e-3
    assert error(row_kernels.combine(found, weights, own), total + own.float()) < 2e-3
    if DEVICE.type == "cpu":
        # the interpreter has no fused multiply-add
        assert torch.equal(got, total.bfloat16())


@pytest.mark.parametrize("shape", [(33, 64), (2, 3, 48), (1, 2560), (0, 64)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_swiglu(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = Maker(dtype, DEVICE)(*shape, scale=2)
    got, want = activation.swiglu(x), vars(swiglu_op)["body"](x)
    assert got.shape == want.shape and got.dtype == dtype
    torch.testing.assert_close(got, want, rtol=1e-2 if dtype == torch.bfloat16 else 1e-5, atol=1e-6)


@triton.jit
def _quantised_kernel(x, numbers, scale, K: tl.constexpr, G: tl.constexpr):
    row, size = kernels._quantised(tl.load(x + tl.arange(0, K)), G > 1)
    tl.store(numbers + tl.arange(0, K), row)
    tl.store(scale + tl.arange(0, G), size)


@pytest.mark.parametrize("group", [None, 128])
def test_a_row_in_registers_is_quantised_as_the_op_does(group: int | None) -> None:
    m = Maker(torch.bfloat16, DEVICE)
    for row in (m(256), m(256) * torch.logspace(-6, 3, 256, device=DEVICE).bfloat16(), m(256) * 0):
        want, want_scale = quantise(row[None].contiguous(), group)
        numbers = torch.zeros(256, device=DEVICE)
        scale = torch.zeros(want_scale.numel(), device=DEVICE)
        _quantised_kernel[(1,)](row, numbers, scale, 256, len(scale))
        assert torch.equal(scale, want_scale.flatten())
        assert torch.equal(numbers, want[0].float())


def test_the_short_division_rounds_as_the_long_one() -> None:
    """Every pair of bfloat16 mantissas, down to numbers that vanish, and a reciprocal that is off
    by up to 2 units in the last place, as the hardware's may be.
    """
    mantissas = torch.arange(128, 256).double()
    top, x = mantissas[:, None, None], mantissas[None, :, None]
    x = x * torch.exp2(-torch.arange(20).double())
    # nothing is larger than the largest
    x = torch.where(x <= top, x, x / 2)
    scale = (top.float() / 448).double()
    want = (x.float() / scale.float()).to(FLOAT8).float()
    for units in (-2, -1, 0, 1, 2):
        inverse = (1 / scale).float()
        inverse = (inverse.view(torch.int32) + units).view(torch.float32).double()
        # float64 holds a product of two float32 numbers, so that this is a fused multiply-add
        q = (x * inverse).float().double()
        rest = (x - q * scale).float().double()
        got = (q + rest * inverse).float().to(FLOAT8).float()
        assert torch.equal(got, want)
        # which the product alone does not
        assert not torch.equal(q.float().to(FLOAT8).float(), want)


def fours(
    tokens: int, k: int, num: int, width: int, hidden: int, scheme: Scheme = INT4
) -> tuple[Any, ...]:
    """As `inputs`, with weights of four bits and a plain shared expert."""
    x, weights, chosen, *_ = inputs(tokens, k, num, width, hidden)
    m = Maker(torch.bfloat16, DEVICE, seed=width)

    def four(rows: int, columns: int) -> Int4:
        stored = scheme.pack(m(rows * num, columns, scale=columns**-0.5).float())
        packed = Int4.pack(stored["weight_packed"], stored["weight_scale"])
        return Int4(packed.words.unflatten(0, (num, -1)), packed.scale.unflatten(0, (num, -1)))

    own = m(2 * hidden, width, scale=width**-0.5), m(width, hidden, scale=hidden**-0.5)
    return x, weights, chosen, four(2 * hidden, width), four(width, hidden), own


@pytest.mark.parametrize("few", [pytest.param(True, marks=pytest.mark.soak), False])
@pytest.mark.parametrize(("scheme", "hidden"), [(INT4, 64), (INT4_128, 128)], ids=str)
def test_weights_of_four_bits(
    scheme: Scheme, hidden: int, few: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    *args, shared = fours(5, 2, 6, 128, hidden, scheme)
    monkeypatch.setattr(int4, "FEW_TOKENS", 5 if few else 0)
    alike = tuple(Int4(w.words[0], w.scale[0]) for w in args[3:])
    for own in (None, shared, alike):
        got, want = kernels.experts(*args, own), vars(op)["body"](*args, own)
        assert error(got, want) < NEAR


@pytest.mark.parametrize(
    ("together", "heights", "rest", "tokens", "k", "width", "hidden", "scheme"),
    [
        # tiles that reach past every edge: of the weights, of a step, of an expert's tokens
        (16, (64, 64), (128, 4, 3), 33, 3, 96, 160, INT4),
        (8, (32, 64), (128, 2, 3), 33, 3, 96, 160, INT4),
        (32, (64, 128), (256, 4, 3), 41, 2, 288, 64, INT4),
        (64, (128, 128), (128, 8, 3), 70, 2, 128, 32, INT4),
        (16, (64, 128), (256, 4, 3), 1, 2, 256, 256, INT4),
        pytest.param(8, (64, 64), (256, 2, 3), 33, 3, 384, 128, INT4_128, marks=pytest.mark.soak),
        (16, (64, 128), (128, 4, 3), 7, 2, 128, 256, INT4_128),
    ],
)
def test_four_bits_grouped(
    together: int,
    heights: tuple[int, int],
    rest: tuple[int, int, int],
    tokens: int,
    k: int,
    width: int,
    hidden: int,
    scheme: Scheme,
) -> None:
    tiles = Tile4(together, heights[0], *rest), Tile4(together, heights[1], *rest)
    x, _, chosen, gate_up, down, _ = fours(tokens, k, 5, width, hidden, scheme)
    for picked in (chosen, torch.full_like(chosen, 4)):
        got = grouped(x, picked, gate_up, down, tiles)
        rows = torch.einsum("tkod,td->tko", gate_up.unpack()[picked], x.float())
        middle = vars(swiglu_op)["body"](rows.bfloat16()).float()
        assert error(got, torch.einsum("tkdf,tkf->tkd", down.unpack()[picked], middle)) < NEAR
        # nor do rows see their company
        assert torch.equal(grouped(x[-1:], picked[-1:], gate_up, down, tiles), got[-1:])


def test_the_tile_of_four_bits_follows_the_rows_of_an_expert() -> None:
    means = (0.5, 4, 8, 16, 32, 64, 256)
    assert [int4.choose(m)[0].tokens for m in means] == [8, 8, 16, 64, 64, 128, 128]
    # another instruction of the tensor cores has other bits
    with ops.exactly():
        assert {t.near for m in means for t in int4.choose(m)} == {2}


@pytest.mark.parametrize("group", [None, 128])
def test_swiglu_quantised_on_the_way(group: int | None) -> None:
    x = Maker(torch.bfloat16, DEVICE)(5, 2 * 384)
    numbers, scale = activation.swiglu_quantised(x, group)
    want, sizes = dense.quantise(activation.swiglu(x), group)
    assert torch.equal(numbers.float(), want.float()) and torch.equal(scale, sizes)
