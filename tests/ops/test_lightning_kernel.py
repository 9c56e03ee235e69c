"""Lightning attention: the kernels beside the bodies in float64."""

from __future__ import annotations

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
from flashling.ops.lightning.triton import Tile

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
BF16, C, W = torch.bfloat16, 64, 64
# every part of a head its own program, and all parts in one
PARTED, WHOLE = Tile(32, 4, programs=1 << 20), Tile(32, 4, programs=1)


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


@pytest.mark.parametrize("tile", [PARTED, WHOLE], ids=["parted", "whole"])
def test_decode(tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    tails, slots, heads = [0, 17, 63, 64], [3, 1, 4, 2], 3
    decay = ops.slopes(heads, 3, 32)
    q, k, v = rows(len(tails), heads)
    carry = carried(slots, tails, heads)
    want_carry, at = doubled(carry), torch.tensor(tails, dtype=torch.int32, device=DEVICE)
    wide = (x.double() for x in (q, k, v))
    want = vars(ops.lightning_decode)["body"](*wide, decay, want_carry, at)
    poison(monkeypatch)
    got = kernels.lightning_decode(q, k, v, decay, carry, at, tile=tile)
    assert got.dtype == torch.float32
    # the interpreter cuts bfloat16 off instead of rounding it
    assert error(got, want) < 1e-2
    same_carry(carry, want_carry, [t % C + 1 for t in tails])


@pytest.mark.parametrize("tile", [PARTED, WHOLE], ids=["parted", "whole"])
@pytest.mark.parametrize("count", [2, 4])
def test_decode_of_several_rows(count: int, tile: Tile, monkeypatch: pytest.MonkeyPatch) -> None:
    # the last sequence has room for two rows
    tails, slots, heads = [0, 17, 64, 62], [3, 1, 4, 2], 2
    decay = ops.slopes(heads, 3, 32)
    q, k, v = rows(len(tails) * count, heads)
    carry = carried(slots, tails, heads)
    want_carry, at = doubled(carry), torch.tensor(tails, dtype=torch.int32, device=DEVICE)
    wide = [x.double() for x in (q, k, v)]
    want = vars(ops.lightning_decode)["body"](*wide, decay, want_carry, at)
    single, first = carried(slots, tails, heads), slice(None, None, count)
    alone = kernels.lightning_decode(q[first], k[first], v[first], decay, single, at, tile=tile)
    poison(monkeypatch)
    got = kernels.lightning_decode(q, k, v, decay, carry, at, tile=tile)
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


def test_decode_rows_do_not_see_their_company() -> None:
    tails, slots = [5, 64, 30], [0, 1, 2]
    decay = ops.slopes(2, 3, 32)
    q, k, v = rows(3)
    at = torch.tensor(tails, device=DEVICE)
    together = carried(slots, tails)
    out = kernels.lightning_decode(q, k, v, decay, together, at, tile=WHOLE)
    alone = carried(slots, tails)
    for n in range(3):
        one, a = Carry(alone.state, alone.tail, alone.slots[n : n + 1]), slice(n, n + 1)
        row = kernels.lightning_decode(q[a], k[a], v[a], decay, one, at[a], tile=PARTED)
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


@pytest.mark.parametrize("terms", [1, 2])
def test_prompts(terms: int, monkeypatch: pytest.MonkeyPatch) -> None:
    starts = (0, *accumulate([1, 64, 65, 200]))
    plan, grid = (Grid(starts, (0,) * 4, DEVICE) for _ in range(2))
    q, k, v = rows(starts[-1])
    decay = ops.slopes(2, 3, 32)
    with ops.using("body"):
        want = ops.lightning(*(x.double() for x in (q, k, v)), decay, plan)
    poison(monkeypatch)
    got = kernels.lightning(q, k, v, decay, grid, terms=terms)
    assert got.dtype == torch.float32 and error(got, want) < 1e-2
    # a long prompt need not wait for what only the body reads
    assert not {"new_at", "tail_at", "_plan"} & set(vars(grid))


def test_steps_that_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    lengths, tails, slots = [3, 1, 128, 70], [62, 64, 0, 5], [4, 0, 1, 2]
    starts = (0, *accumulate(lengths))
    grid, decay = Grid(starts, tuple(tails), DEVICE), ops.slopes(2, 3, 32)
    q, k, v = rows(starts[-1])
    carry = carried(slots, tails)
    want_carry = doubled(carry)
    with ops.using("body"):
        want = ops.lightning(*(x.double() for x in (q, k, v)), decay, grid, want_carry)
    poison(monkeypatch)
    got = kernels.lightning(q, k, v, decay, grid, carry)
    assert error(got, want) < 1e-2
    same_carry(carry, want_carry, grid.left)


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
