"""The counts of a decode step in Triton: the numbers of the bodies, and what they change."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from flashling import ops
from flashling.ops.cases import Case, Maker
from flashling.ops.rope.triton import rotary_table
from flashling.ops.step import cases, triton

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SMALL = [c for c in cases.cases if c.size == "small"]


def tensors(x: object) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for y in x for t in tensors(y)] if isinstance(x, tuple) else []


@pytest.mark.parametrize("case", SMALL, ids=str)
def test_results_and_what_was_given_are_the_bodys(case: Case) -> None:
    found = []
    for call in (vars(case.op)["body"], getattr(triton, case.op.__name__)):
        given = case.inputs(Maker(torch.bfloat16, DEVICE))
        found.append(tensors((call(*given), given)))
    assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(*found, strict=True))


def test_an_idle_row_keeps_its_counts() -> None:
    counts = torch.tensor([7, 3]), torch.tensor([0, 128]), torch.tensor([0, 64])
    counts = tuple(x.to(DEVICE) for x in counts)
    tokens = torch.tensor([[5], [6]], device=DEVICE)
    drawn = tokens + 1, tokens.float(), tokens > 0
    found = triton.advance(tokens, counts, drawn, 7, 64)
    assert tokens.tolist() == [[6], [7]] and found[0].tolist() == [[6], [7]]
    # a full chunk was folded before the row came
    assert counts[1].tolist() == [0, 129] and counts[2].tolist() == [0, 1]


def test_rows_of_another_type_are_refused() -> None:
    pages, at = torch.zeros(2, 4, 8, device=DEVICE), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(ValueError, match="bfloat16"):
        triton.lay(pages, at, at, torch.zeros(1, 8, dtype=torch.bfloat16))


def test_tables_are_the_bodys() -> None:
    positions = torch.tensor([0, 1, 70_000, 262_143], device=DEVICE)
    freqs = ops.frequencies(64, 6e6)
    want = vars(ops.rotary_table)["body"](positions, freqs, 1.25, torch.float64)
    for a, b in zip(rotary_table(positions, freqs, 1.25), want, strict=True):
        # an angle of 262,143 in float32 is known to 1/64
        assert (a.double() - b).abs().max() < 2e-2 and (a[:2].double() - b[:2]).abs().max() < 1e-6
    assert rotary_table(positions[:0], freqs)[0].shape == (0, 32)
