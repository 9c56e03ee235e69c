"""Lightning attention: the kernels beside the bodies in float64."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Maker
from flashling.ops.lightning import Carry, Grid
from flashling.ops.lightning import triton as kernels
from flashling.ops.lightning.triton import CUT, Cut

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16, C, W = torch.bfloat16, 64, 64
# up to how many sequences the columns of a head are shared out: all of them, or none
SHARED, WHOLE = 99, 0
# spans of so many chunks, and one pass
FORMS = [0, 1, 2, 4]


def rows(count: int, heads: int = 2, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v; v is part of wider rows, as a layer hands it over."""
    m = Maker(BF16, DEVICE, seed)
    q, k = (m(count, heads, W, scale=0.5) for _ in range(2))
    return q, k, m(count, 2 * heads, W, scale=0.5)[:, heads:]


def carried(slots: list[int], tails: list[int], heads: int = 2, room: int = 5) -> Carry:
    """A layer's part of a cache; NaN wherever a kernel must not look."""
    m = Maker(BF16, DEVICE, 7)
    state = torch.full((room, 3, heads, W, W), torch.nan, device=DEVICE)
    tail = torch.full((room, 3, 2, C, heads, W), torch.nan, dtype=BF16, device=DEVICE)
    for slot, held in zip(slots, tails, strict=True):
        state[slot, 1] = m(heads, W, W, dtype=torch.float32)
        tail[slot, 1, :, :held] = m(2, held, heads, W, scale=0.5)
    return Carry(state[:, 1], tail[:, 1], torch.tensor(slots, device=DEVICE))


def doubled(carry: Carry) -> Carry:
    """The same in float64 with empty rows zero, for a body."""
    tail = carry.tail.double().nan_to_num(0)
    return Carry(carry.state.double(), tail, carry.slots)


def error(got: Tensor, want: Tensor) -> float:
    return float((got.double() - want).norm() / want.norm())


def same_carry(got: Carry, want: Carry, left: list[int]) -> None:
    """States to 16 bits, the open chunk's rows exactly, and nothing else touched."""
    for slot, rows in zip(got.slots.tolist(), left, strict=True):
        assert error(got.state[slot], want.state[slot]) < 1e-4
        assert torch.equal(got.tail[slot, :, :rows].double(), want.tail[slot, :, :rows])
    others = [s for s in range(len(got.state)) if s not in got.slots.tolist()]
    assert got.state[others].isnan().all() and got.tail[others].isnan().all()


def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the kernels allocate begins as NaN."""
    make = Tensor.new_empty

    def poisoned(*shape: Any, **options: Any) -> Tensor:
        x = make(*shape, **options)
        return x.fill_(torch.nan) if x.is_floating_point() else x

    monkeypatch.setattr(Tensor, "new_empty", poisoned)


def force(monkeypatch: pytest.MonkeyPatch, chunks: int) -> Cut:
    """Prompts in two passes with spans of so many chunks, in one with 0."""
    monkeypatch.setattr(kernels, "WALKED", 1 if chunks else 1 << 30)
    return replace(CUT, chunks=max(chunks, 1))


@pytest.mark.parametrize("few", [SHARED, WHOLE], ids=["shared", "whole"])
def test_decode(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FEW", few)
    tails, slots, heads = [0, 17, 63, 64], [3, 1, 4, 2], 3
    decay = ops.slopes(heads, 3, 32)
    q, k, v = rows(len(tails), heads)
    carry = carried(slots, tails, heads)
    want_carry, at = doubled(carry), torch.tensor(tails, dtype=torch.int32, device=DEVICE)
    wide = (x.double() for x in (q, k, v))
    want = vars(ops.lightning_decode)["body"](*wide, decay, want_carry, at)
    poison(monkeypatch)
    got = kernels.lightning_decode(q, k, v, decay, carry, at)
    assert got.dtype == torch.float32
    # the interpreter cuts bfloat16 off instead of rounding it
    assert error(got, want) < 1e-2
    same_carry(carry, want_carry, [t % C + 1 for t in tails])


@pytest.mark.parametrize(("width", "rows_each"), [(128, 1), (128, 2)])
def test_decode_of_states_with_more_rows_than_a_chunk(width: int, rows_each: int) -> None:
    tails = torch.tensor([0, 64, 33], dtype=torch.int32, device=DEVICE)
    m, slots = Maker(BF16, DEVICE), torch.tensor([1, 2, 0], device=DEVICE)
    q, k, v = (m(3 * rows_each, 2, width, scale=0.3) for _ in range(3))
    state, tail = m(4, 2, width, width, dtype=torch.float32), m(4, 2, C, 2, width, scale=0.3)
    carry, decay = Carry(state, tail, slots), ops.slopes(2, 3, 32)
    other = doubled(carry)
    got = kernels.lightning_decode(q, k, v, decay, carry, tails)
    wide = (x.double() for x in (q, k, v))
    want = vars(ops.lightning_decode)["body"](*wide, decay, other, tails)
    assert error(got, want) < 1e-2 and error(carry.state, other.state) < 1e-4


@pytest.mark.parametrize("count", [2, 4])
def test_decode_of_several_rows(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # the last sequence has room for two rows
    tails, slots, heads = [0, 17, 64, 62], [3, 1, 4, 2], 2
    decay = ops.slopes(heads, 3, 32)
    q, k, v = rows(len(tails) * count, heads)
    carry = carried(slots, tails, heads)
    want_carry, at = doubled(carry), torch.tensor(tails, dtype=torch.int32, device=DEVICE)
    wide = [x.double() for x in (q, k, v)]
    want = vars(ops.lightning_decode)["body"](*wide, decay, want_carry, at)
    single, first = carried(slots, tails, heads), slice(None, None, count)
    alone = kernels.lightning_decode(q[first], k[first], v[first], decay, single, at)
    poison(monkeypatch)
    got = kernels.lightning_decode(q, k, v, decay, carry, at)
    assert got.isfinite().all() and want.isfinite().all()
    fits = [n * count + i for n, t in enumerate(tails) for i in range(min(count, C - t % C))]
    assert error(got[fits], want[fits]) < 1e-2
    # the rows of a chunk after their step, as a step for each leaves it
    same_carry(carry, want_carry, [min(t % C + count, C) for t in tails])
    assert torch.equal(got[first], alone)
    # what the body means by it: one step after the other
    other = doubled(carried(slots, tails, heads))
    for r, held in enumerate((at, at % C + 1)):
        row = (x[r::count] for x in wide)
        step = vars(ops.lightning_decode)["body"](*row, decay, other, held)
        torch.testing.assert_close(want[r::count], step, rtol=0, atol=1e-12)


@pytest.mark.parametrize("few", [SHARED, WHOLE], ids=["shared", "whole"])
def test_decode_rows_do_not_see_their_company(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "FEW", few)
    tails, slots = [5, 64, 30], [0, 1, 2]
    decay = ops.slopes(2, 3, 32)
    q, k, v = rows(3)
    at = torch.tensor(tails, device=DEVICE)
    together = carried(slots, tails)
    out = kernels.lightning_decode(q, k, v, decay, together, at)
    alone = carried(slots, tails)
    for n in range(3):
        one, a = Carry(alone.state, alone.tail, alone.slots[n : n + 1]), slice(n, n + 1)
        row = kernels.lightning_decode(q[a], k[a], v[a], decay, one, at[a])
        assert torch.equal(row, out[a])
    assert torch.equal(alone.state[slots], together.state[slots])


def test_decode_is_the_body_of_the_step_that_the_host_plans() -> None:
    tails = [0, 17, 64]
    q, k, v = (x.double() for x in rows(3))
    decay, carry = ops.slopes(2, 3, 32), doubled(carried([2, 0, 1], tails))
    other = Carry(carry.state.clone(), carry.tail.clone(), carry.slots)
    with ops.using("body"):
        a = ops.lightning(q, k, v, decay, Grid((0, 1, 2, 3), tuple(tails), DEVICE), carry)
        b = ops.lightning_decode(q, k, v, decay, other, torch.tensor(tails, device=DEVICE))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    torch.testing.assert_close(carry.state, other.state, rtol=0, atol=1e-12, equal_nan=True)
    assert torch.equal(carry.tail, other.tail)


@pytest.mark.parametrize(("terms", "chunks"), [(2, 0), *((1, n) for n in FORMS)])
def test_prompts(terms: int, chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = (0, *accumulate([1, 64, 65, 200]))
    plan, grid = (Grid(starts, (0,) * 4, DEVICE) for _ in range(2))
    q, k, v = rows(starts[-1])
    decay = ops.slopes(2, 3, 32)
    with ops.using("body"):
        want = ops.lightning(*(x.double() for x in (q, k, v)), decay, plan)
    cut = force(monkeypatch, chunks)
    poison(monkeypatch)
    got = kernels.lightning(q, k, v, decay, grid, cut=cut, terms=terms)
    assert got.dtype == torch.float32 and error(got, want) < 1e-2
    # a long prompt need not wait for what only the body reads
    assert not {"new_at", "tail_at", "_plan"} & set(vars(grid))


@pytest.mark.parametrize("chunks", FORMS)
def test_steps_that_go_on(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # no chunk closes, one does from the tail alone, ends meet, several do
    lengths, tails, slots = [3, 1, 128, 7, 330], [62, 64, 0, 5, 5], [4, 0, 1, 5, 2]
    starts = (0, *accumulate(lengths))
    grid, decay = Grid(starts, tuple(tails), DEVICE), ops.slopes(2, 3, 32)
    q, k, v = rows(starts[-1])
    carry = carried(slots, tails, room=7)
    want_carry = doubled(carry)
    with ops.using("body"):
        want = ops.lightning(*(x.double() for x in (q, k, v)), decay, grid, want_carry)
    cut = force(monkeypatch, chunks)
    poison(monkeypatch)
    got = kernels.lightning(q, k, v, decay, grid, carry, cut=cut)
    assert error(got, want) < 1e-2
    same_carry(carry, want_carry, grid.left)


@pytest.mark.parametrize("tails", [(0, 0), (0, 64), (30, 63)])
def test_two_passes_are_one(tails: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    grid, decay = Grid((0, 200, 500), tails, DEVICE), ops.slopes(2, 3, 32)
    q, k, v = rows(500)
    found = []
    for chunks in FORMS:
        carry = carried([1, 2], list(tails))
        out = kernels.lightning(q, k, v, decay, grid, carry, cut=force(monkeypatch, chunks))
        found.append((out, carry.state[1:3]))
    (out, state), *others = found
    assert all(torch.equal(other, state) for _, other in others)
    # spans of one chunk sum as one pass does
    assert torch.equal(others[0][0], out)
    assert all(error(other, out.double()) < 1e-2 for other, _ in others)


def test_two_passes_are_for_walks_that_leave_multiprocessors_idle() -> None:
    def is_cut(*lengths: int) -> bool:
        starts = (0, *accumulate(lengths))
        values = torch.empty(starts[-1], 32, 128, device="meta")
        return kernels._is_cut(Grid(starts, (0,) * len(lengths), DEVICE), values, kernels.PREFILL)

    assert is_cut(8192) and is_cut(2048) and is_cut(8192, *[1] * 32)
    assert not is_cut(512) and not is_cut(*[128] * 64)


def test_a_prompt_in_pieces_is_the_prompt() -> None:
    decay = ops.slopes(2, 3, 32)
    q, k, v = rows(200)
    whole = carried([1], [0])
    want = kernels.lightning(q, k, v, decay, Grid((0, 200), (0,), DEVICE), whole)
    carry, tail, outs = carried([1], [0]), 0, []
    for a, b in ((0, 30), (30, 64), (64, 190), (190, 200)):
        grid = Grid((0, b - a), (tail,), DEVICE)
        outs.append(kernels.lightning(q[a:b], k[a:b], v[a:b], decay, grid, carry))
        [tail] = grid.left
    assert torch.equal(torch.cat(outs), want)
    assert torch.equal(carry.state[1], whole.state[1])
    assert torch.equal(carry.tail[1, :, :tail], whole.tail[1, :, :tail])


def test_what_the_kernels_do_not_serve_takes_the_body() -> None:
    decay, grid = ops.slopes(2, 3, 32), Grid((0, 70), (0,), DEVICE)
    q, k, v = (x.float() for x in rows(70))
    with ops.using("body"):
        want = ops.lightning(q, k, v, decay, grid)
    assert torch.equal(kernels.lightning(q, k, v, decay, grid), want)
    q, k, v = rows(70)
    assert kernels.lightning(q.requires_grad_(), k, v, decay, grid).requires_grad
