"""One driver for all ops: every case in every dtype against the body in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from flashling.ops.cases import Case, Maker, all_cases
from flashling.ops.op import using

CPU = torch.device("cpu")
CUDA = pytest.param(
    torch.device("cuda"),
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")],
)


def leaves(x: Any) -> list[torch.Tensor]:
    if isinstance(x, torch.Tensor):
        return [x]
    return [t for y in x for t in leaves(y)] if isinstance(x, (tuple, list)) else []


def compare(case: Case, dtype: torch.dtype, device: torch.device) -> None:
    tol = case.tol[0] if dtype == torch.float32 else case.tol[1]
    with using("body"):
        want = leaves(case.op(*case.inputs(Maker(torch.float64, CPU))))
    arguments = case.inputs(Maker(dtype, device))
    got = leaves(case.op(*arguments))
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert g.shape == w.shape
        assert torch.isfinite(g.double()).all()
        error = (g.cpu().double() - w.double()).norm() / (w.double().norm() + 1e-30)
        assert error <= tol, f"{case}: relative error {error:.2e} above {tol:.0e}"


@pytest.mark.parametrize("case", all_cases(), ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
@pytest.mark.parametrize("device", [CPU, CUDA])
def test_case(case: Case, dtype: torch.dtype, device: torch.device) -> None:
    compare(case, dtype, device)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("case", all_cases("full"), ids=str)
def test_full_case(case: Case) -> None:
    compare(case, torch.bfloat16, torch.device("cuda"))


@pytest.mark.parametrize("case", [c for c in all_cases() if c.is_row_invariant], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_rows_do_not_see_their_company(case: Case, dtype: torch.dtype) -> None:
    arguments = case.inputs(Maker(dtype, CPU))
    rows = len(arguments[0])
    first = [
        a[:1] if isinstance(a, torch.Tensor) and a.ndim > 1 and len(a) == rows else a
        for a in arguments
    ]
    got, alone = leaves(case.op(*arguments)), leaves(case.op(*first))
    assert all(torch.equal(a[:1], b) for a, b in zip(got, alone, strict=True))


def test_a_kernel_is_loaded_only_when_chosen() -> None:
    import sys

    from flashling.ops.experts import grouped_matmul

    arguments = (torch.ones(2, 4), torch.ones(2, 3, 4), torch.tensor([1, 1]))
    with using("body"):
        assert grouped_matmul(*arguments).tolist() == [[4.0] * 3] * 2
    assert grouped_matmul(*arguments).tolist() == [[4.0] * 3] * 2
    assert torch.cuda.is_available() or "flashling.ops.experts.grouped" not in sys.modules
