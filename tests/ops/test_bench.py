"""The bench's own checks: they see what is wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks import ops as bench
from benchmarks.check import Poison, fewer, meaning
from benchmarks.work import leaves
from flashling.ops import norm
from flashling.ops.cases import Case, Maker, all_cases

CPU = torch.device("cpu")
CEILINGS = {
    "read_tb_per_s": 4.0,
    "copy_tb_per_s": 4.0,
    "bf16_tflop_per_s": 700.0,
    "fp8_tflop_per_s": 1400.0,
    "launch_us": 1.0,
}


@pytest.fixture(autouse=True)
def one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing to time here."""

    def timed(calls: Any) -> tuple[list[float], str]:
        for call in calls:
            call()
        return [10.0], "once"

    monkeypatch.setattr(bench, "_timed", timed)
    monkeypatch.setattr(bench, "MOST_COPIES", 2)
    # a compiled body is no faster here
    monkeypatch.setattr("benchmarks.peers.COMPILED", ())


@pytest.mark.parametrize("case", all_cases(), ids=str)
def test_a_gpus_row_of_every_op(case: Case) -> None:
    row = bench.on_gpu(CPU, CEILINGS, case)
    assert "wrong" not in row and row["us"] == 10.0
    assert row["limit"] in ("bytes", "products", "launch") and 0 < row["of_limit"] < 1
    # peers of e4m3 weights run on a GPU alone
    assert "wrong" not in row.get("peer", {})


def case_of(op: Any) -> Case:
    [found] = [c for c in all_cases() if c.op is norm and c.name == "hidden"]

    def run(x: Tensor, weight: Tensor) -> Tensor:
        # what it means is right
        return (norm if x.dtype == torch.float64 else op)(x, weight)

    run.__name__, run.kernels = "norm", {"cuda": ".triton:norm"}
    return replace(found, op=run)


@pytest.mark.parametrize(
    ("op", "said"),
    [
        (lambda x, w: norm(x, w) * 1.1, "relative error 1"),
        (
            lambda x, w: torch.cat([norm(x[:-1], w), x.new_empty(1, x.shape[1])]),
            "relative error nan",
        ),
        (lambda x, w: norm(x[:-1], w), "shapes"),
        (lambda x, w: norm(x, w) + 1e-2 * (len(x) == 17), "bits depend on its company"),
        (lambda x, w: norm(x, w) * (1 + (len(x) == 17)), "17 rows alone"),
    ],
    ids=["wrong", "unwritten", "short", "company", "odd"],
)
def test_what_is_wrong_has_no_speed(op: Any, said: str) -> None:
    row = bench.on_gpu(CPU, CEILINGS, case_of(op))
    assert said in row["wrong"] and "us" not in row


def test_what_is_empty_is_no_number() -> None:
    with Poison():
        x = torch.empty(3)
        found: list[Tensor] = [x, x.new_empty(2, dtype=torch.bfloat16), torch.empty_like(x)]
        eight = torch.empty(4, dtype=torch.float8_e4m3fn)
    assert all(bool(t.isnan().all()) for t in (*found, eight.float()))


@pytest.mark.parametrize("name", ["linear-plain", "mla_expanded-packed"])
def test_a_sample_of_rows_is_the_rows(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.check.MOST", 2)
    monkeypatch.setattr("benchmarks.check.SAMPLE", 2)
    monkeypatch.setattr("benchmarks.check.SPAN", 8)
    [case] = [c for c in all_cases() if str(c) == name]
    if name.startswith("mla"):
        from flashling.ops.mla.cases import TOY, _expanded

        case = replace(case, inputs=lambda m: _expanded(m, [40], 4, TOY))
    args = case.inputs(Maker(torch.float64, CPU))
    [want], at, _ = meaning(case, args)
    assert at is not None and len(at) < len(args[0])
    torch.testing.assert_close(leaves(case.op(*args))[0][at], want)
    assert not name.startswith("linear") or not fewer(case, args, leaves(case.op(*args)), 1e-6)[0]
