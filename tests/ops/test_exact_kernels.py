"""Exact mode of the kernels: a row's bits alone are those in any company and after any cut."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.device import KINDS
from flashling.ops.experts import cases as experts
from flashling.ops.lightning import Carry, Grid
from flashling.ops.linear.cases import fp8, int4, int8
from flashling.ops.linear.triton import Stream, choose, quantise, stream
from flashling.ops.mla.cases import _over, _paged
from flashling.ops.mla.heads_triton import by_head
from flashling.ops.op import using
from flashling.sampling import Sampling

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16, C, W = torch.bfloat16, 64, 64
latents = import_module("flashling.ops.mla.exact_triton")
Rows = Callable[[slice], Tensor]


@pytest.fixture(autouse=True)
def forced() -> Iterator[None]:
    """The kernels, also where the interpreter runs them; memory begins as NaN."""
    torch.use_deterministic_algorithms(True)
    with using("cuda"), ops.exactly(), torch.no_grad():
        yield
    torch.use_deterministic_algorithms(False)


def maker() -> Maker:
    return Maker(BF16, DEVICE)


def by_row(count: int) -> dict[str, Rows]:
    """Ops that treat each row by itself, over some of the same `count` rows."""
    m = maker()
    x, plain = m(count, 256), m(96, 256, scale=1 / 16)
    channels, blocks, fours = fp8(m, 96, 256), fp8(m, 256, 256, blocks=True), int4(m, 96, 256)
    eights = int8(m, 96, 256)
    odd, choice = int4(m, 96, 96), ops.Choice(2, 4, 2, True, 2.5)
    router, bias = (m(*shape, dtype=torch.float32) for shape in ((8, 256), (8,)))
    few = experts._fp8(m, count, 2)
    wide = experts._fp8(m, count, 2, blocks=True)
    own = int4(m, 64, 64), int4(m, 64, 32)
    small = (*few[:3], int4(m, 8, 64, 64), int4(m, 8, 64, 32), own)

    def meet(case: tuple, s: slice) -> Tensor:
        rows, weights, chosen, *rest = case
        return ops.experts(rows[s], weights[s], chosen[s], *rest)

    return {
        "linear": lambda s: ops.linear(x[s], plain),
        "linear_channels": lambda s: ops.linear(x[s], channels),
        "linear_blocks": lambda s: ops.linear(x[s], blocks),
        "linear_int4": lambda s: ops.linear(x[s], fours),
        "linear_int8": lambda s: ops.linear(x[s], eights),
        "linear_int4_unpacked": lambda s: ops.linear(x[s, :96], odd),
        "route": lambda s: ops.route(x[s], router, bias, choice)[0],
        "experts": lambda s: meet(few, s),
        "experts_blocks": lambda s: meet(wide, s),
        "experts_int4": lambda s: meet(small, s),
        "by_head": lambda s: by_head(heads(x[s]), heads(plain[:64])).transpose(0, 1),
    }


def heads(x: Tensor) -> Tensor:
    """Rows [n, 256] as four heads [4, n, 64]."""
    return x.unflatten(1, (4, 64)).transpose(0, 1)


# the interpreter's products give the columns of a tile bits of their own: rows that begin at a tile
PLACES = {"route": ((0, 1), (0, 6), (64, 65), (64, 90))}


@pytest.mark.parametrize("name", by_row(1))
def test_rows_do_not_see_their_company(name: str) -> None:
    call = by_row(140)[name]
    want = call(slice(0, 140))
    for a, b in PLACES.get(name, ((0, 1), (3, 5), (90, 140))):
        assert torch.equal(call(slice(a, b)), want[a:b]), (a, b)


def test_the_form_of_a_product_follows_its_weight() -> None:
    weight = fp8(Maker(BF16, torch.device("meta")), 4096, 4096)
    tiles = [choose(rows, weight) for rows in (1, 16, 128, 129, 8192)]
    assert all(isinstance(tile, Stream) and tile.is_swapped for tile in tiles)
    assert len({tile.splits for tile in tiles if isinstance(tile, Stream)}) == 1
    assert [tile.is_joined for tile in tiles if isinstance(tile, Stream)] == [False] * 4 + [True]
    whole = fp8(Maker(BF16, torch.device("meta")), 16384, 4096)
    assert choose(8192, whole) == Stream(128, 128, 1, stages=6)


def test_parts_of_a_product_are_the_same_in_one_program() -> None:
    m = maker()
    rows, weight = quantise(m(70, 1024)), fp8(m, 80, 1024)
    apart = Stream(64, 64, 4)
    tiles = apart, replace(apart, is_joined=True), replace(apart, splits=1)
    want, joined, whole = (stream(*rows, weight, tile, torch.float32) for tile in tiles)
    assert torch.equal(joined, want) and not torch.equal(whole, want)


def carried(heads: int, slots: list[int]) -> Carry:
    state = torch.full((5, heads, W, W), torch.nan, device=DEVICE)
    tail = torch.full((5, 2, C, heads, W), torch.nan, dtype=BF16, device=DEVICE)
    state[slots] = 0
    return Carry(state, tail, torch.tensor(slots, device=DEVICE))


@pytest.mark.parametrize("ends", [(125,), (64, 129), (63, 64, 65, 127), (1, 70, 126)])
def test_lightning_rows_do_not_see_how_they_came(ends: tuple[int, ...]) -> None:
    m = maker()
    q, k, v = (m(140, 2, W, scale=0.5) for _ in range(3))
    decay, whole = ops.slopes(2, 3, 32).to(DEVICE), carried(2, [1])
    want = ops.lightning(q, k, v, decay, Grid((0, 140), (0,), DEVICE), whole)
    # in pieces, beside another that reads the same in one piece, then a step at a time
    carry, outs, at = carried(2, [3, 0]), [], 0
    for end in ends:
        part = [torch.cat([x[at:end], x[:7]]) for x in (q, k, v)]
        tails = (at and (at - 1) % C + 1, 0)
        carry.state[0] = 0
        grid = Grid((0, end - at, end - at + 7), tails, DEVICE)
        outs.append(ops.lightning(*part, decay, grid, carry)[: end - at])
        at = end
    one = Carry(carry.state, carry.tail, carry.slots[:1])
    for i in range(at, 140):
        held = torch.tensor([(i - 1) % C + 1], device=DEVICE)
        row = slice(i, i + 1)
        outs.append(ops.lightning_decode(q[row], k[row], v[row], decay, one, held))
    assert torch.equal(torch.cat(outs), want)
    assert torch.equal(one.state[3], whole.state[1])
    assert torch.equal(one.tail[3, :, :12], whole.tail[1, :, :12])


def test_lightning_drafts_have_the_bits_of_a_prompt() -> None:
    m = maker()
    q, k, v = (m(130, 2, W, scale=0.5) for _ in range(3))
    decay, whole, carry = ops.slopes(2, 3, 32).to(DEVICE), carried(2, [1]), carried(2, [3])
    want = ops.lightning(q, k, v, decay, Grid((0, 130), (0,), DEVICE), whole)
    ops.lightning(q[:61], k[:61], v[:61], decay, Grid((0, 61), (0,), DEVICE), carry)
    # the fourth row of the first step does not fit, and comes again
    for at, held in ((61, 61), (64, 64), (68, 4)):
        tails = torch.tensor([held], device=DEVICE)
        rows, fits = slice(at, at + 4), min(4, C - held % C)
        out = ops.lightning_decode(q[rows], k[rows], v[rows], decay, carry, tails)
        assert torch.equal(out[:fits], want[at : at + fits]) and out.isfinite().all()
    part = Grid((0, 58), (8,), DEVICE)
    ops.lightning(q[72:], k[72:], v[72:], decay, part, carry)
    assert torch.equal(carry.state[3], whole.state[1])
    assert torch.equal(carry.tail[3, :, :2], whole.tail[1, :, :2])


def test_latent_rows_do_not_see_how_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    # two parts of one page, one of two; and rows of a prompt in several launches
    monkeypatch.setattr(latents, "PAGES", 1)
    monkeypatch.setattr(latents, "PARTS", 2)
    monkeypatch.setattr(latents, "JOINED", 2)
    monkeypatch.setattr(latents, "ROW_PARTS", 100)
    m, dims, each = maker(), (16, 16, 16, 32), 2
    q, context, kv_b, value = _over(m, 150, 150, 2, dims)
    want = ops.mla_over(q, context, kv_b, value)
    docs = ops.Documents((0, 66), DEVICE)
    assert torch.equal(ops.mla_expanded(q[:66], context[:66], kv_b, value, docs), want[:66])
    # single rows before, at and after the ends of pages and parts, and several at once
    for a, b in ((0, 1), (62, 66), (63, 64), (126, 130), (127, 128), (149, 150)):
        assert torch.equal(ops.mla_over(q[a:b], context[:b], kv_b, value), want[a:b])
    # as steps read them: pages in any order, beside others, what lies behind the end unknown
    _, pages, table, *_ = _paged(m, [150, 5, 70], 2, dims)
    pages[:] = torch.nan
    for n, page in enumerate(table[0].tolist()):
        part = context[n * 64 : n * 64 + 64]
        pages[page, : len(part)] = part
    pages[table[1, 0].item(), :6], pages[table[2].long(), :] = 1, 1
    last = q[150 - each :], m(2 * each, *q.shape[1:])
    seen = torch.tensor([151 - each, 5, 70], dtype=torch.int32, device=DEVICE)
    got = ops.mla_paged(torch.cat(last), pages, table, seen, kv_b, value)
    assert torch.equal(got[:each], want[-each:]) and got.isfinite().all()


def test_parts_of_a_sequence_follow_each_other() -> None:
    begins = [latents._begin.fn(n, latents.PAGES, latents.PARTS) for n in range(70)]
    sizes = [b - a for a, b in zip(begins, begins[1:], strict=False)]
    assert begins[0] == 0 and sizes[:16] == [8] * 16 and sizes[16:32] == [16] * 16
    assert [latents.parts(n) for n in (0, 1, 8, 9, 128, 129, 4096)] == [0, 1, 1, 2, 16, 17, 81]


@pytest.mark.parametrize(
    ("kind", "wanted"), [(80, {"ONE", "TWO"}), (89, {"LEAST"}), (90, {"ONE", "TWO"})]
)
def test_tiles_that_differ_in_bits_are_not_chosen_beside_each_other(
    kind: int, wanted: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "current", lambda: KINDS[kind])
    chosen = {latents.tile_of(columns) for columns in (1, 4, 16, 17, 32, 33, 64, 262_144)}
    assert chosen == {getattr(latents, name) for name in wanted}


def test_log_probabilities_are_those_of_any_draw() -> None:
    logits = maker()(5, 4200, dtype=torch.float32)
    how = [ops.Draw(Sampling(temperature=t, seed=3), (1, 2), ()) for t in (0.0, 1.0, 2.0)]
    told = ops.draw(logits[:3], how)
    ints = [torch.full((3,), n, device=DEVICE) for n in (3, 0, 2)]
    at = torch.tensor([0.0, 1.0, 2.0], dtype=torch.float64, device=DEVICE)
    tokens, logprobs, _ = ops.pick(logits[:3], at, *ints)
    assert [d.token for d in told] == tokens.tolist()
    assert [d.logprob for d in told] == logprobs.tolist()
