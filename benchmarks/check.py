"""Whether a call gives what its op means: against the body, with nothing left unwritten, and with
other numbers of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from flashling.ops import mla_over
from flashling.ops.cases import Case
from flashling.ops.lightning import Carry, Grid
from flashling.ops.op import using

from .work import leaves

# the arguments of an op that have a row for each row of its results
ROWS: dict[str, tuple[int, ...]] = {
    "norm": (0,),
    "add_norm": (0, 1),
    "group_norm_gate": (0, 2),
    "queries_keys": (0, 3, 4),
    "rotate_half": (0, 1, 2),
    "rotate_pairs": (0, 1, 2),
    "turned_queries": (0, 1, 2),
    "latent_rows": (0, 3, 4),
    "quantise": (0,),
    "linear": (0,),
    "swiglu": (0,),
    "route": (0,),
    "experts": (0, 1, 2),
    "mla_paged": (0, 2, 3),
}
# of more rows so many are compared, from the first to the last
MOST, SAMPLE = 2048, 512
# causal attention of more rows is compared on blocks of this many
SPAN = 64
# how many rows are also given alone
FEWER = (1, 5, 17, 129)


class Poison(TorchDispatchMode):
    """Memory that is asked for without a value holds NaN, or ones where it is for integers."""

    EMPTY = {
        torch.ops.aten.empty,
        torch.ops.aten.new_empty,
        torch.ops.aten.empty_like,
        torch.ops.aten.empty_strided,
        torch.ops.aten.new_empty_strided,
    }

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and fill what it leaves empty."""
        out = func(*args, **(kwargs or {}))
        if func.overloadpacket in self.EMPTY:
            if out.dtype.is_floating_point and out.element_size() == 1:
                out.view(torch.uint8).fill_(0x7F)
            else:
                out.fill_(torch.nan if out.dtype.is_floating_point else 1)
        return out


def meaning(case: Case, args: Sequence[Any]) -> tuple[list[Tensor], Tensor | None, str]:
    """What args in float64 mean: the body's results and what it leaves in a carry; the rows that
    they are, None for all; and how that was found, in words.
    """
    name, rows = case.op.__name__, len(args[0])
    with using("body"), torch.no_grad():
        if name in ROWS and rows > MOST:
            at = torch.linspace(0, rows - 1, SAMPLE, device=args[0].device).long()
            return leaves(case.op(*taken(name, args, at))), at, f"{SAMPLE} rows of the float64 body"
        if name == "mla_expanded" and rows > MOST:
            q, latent, kv_b, value_dim, docs = args
            assert len(docs.starts) == 2
            firsts = (0, rows // 2, rows - SPAN)
            spans = [slice(a, a + SPAN) for a in firsts]
            found = [mla_over(q[s], latent[: s.stop], kv_b, value_dim) for s in spans]
            at = torch.cat([torch.arange(a, a + SPAN, device=q.device) for a in firsts])
            return [torch.cat(found)], at, f"{len(at)} rows of the float64 body"
        return leaves(case.op(*args)) + kept(args), None, "the float64 body"


def kept(args: Sequence[Any]) -> list[Tensor]:
    """What a call changes in place: states, and the rows of open chunks that are left."""
    grid = next((a for a in args if isinstance(a, Grid)), None)
    found = []
    for carry in (a for a in args if isinstance(a, Carry)):
        tail = carry.tail
        if grid is not None:
            tail = tail.clone()
            counts = (b - a for a, b in pairwise(grid.starts))
            for slot, held, n in zip(carry.slots.tolist(), grid.tails, counts, strict=True):
                # what lies beyond them means nothing
                tail[slot, :, (held + n - 1) % grid.chunk + 1 :] = 0
        found += [carry.state, tail]
    return found


def taken(name: str, args: Sequence[Any], at: Any) -> list[Any]:
    """The arguments of some rows alone."""
    return [a[at] if i in ROWS[name] else a for i, a in enumerate(args)]


def mistake(got: Sequence[Tensor], want: Sequence[Tensor], tol: float) -> str | None:
    """What is wrong with results beside those wanted, if anything is."""
    if [g.shape for g in got] != [w.shape for w in want]:
        return f"shapes {[tuple(g.shape) for g in got]}, not {[tuple(w.shape) for w in want]}"
    for g, w in zip(got, want, strict=True):
        x, y = g.double(), w.double()
        error = float((x - y).norm() / (y.norm() + 1e-30))
        # a NaN is not below anything
        if not error <= tol:
            return f"relative error {error:.1e}, allowed {tol:.0e}"
    return None


def fewer(case: Case, args: Sequence[Any], out: Sequence[Tensor], tol: float) -> tuple[str, bool]:
    """What is wrong where the first rows are alone, and whether they had the same bits."""
    name, same = case.op.__name__, True
    count = len(args[ROWS[name][-1]])
    # several rows of one sequence stay together
    each = len(args[0]) // count
    for n in FEWER:
        if n >= count:
            break
        alone = leaves(case.op(args[0][: n * each], *taken(name, args, slice(n))[1:]))
        first = [t[: n * each] for t in out]
        same &= all(torch.equal(a, b) for a, b in zip(alone, first, strict=True))
        # both may be off by as much
        if wrong := mistake(alone, first, 2 * tol):
            return f"{n} rows alone: {wrong}", same
    if case.is_row_invariant and not same:
        return "a row's bits depend on its company", same
    return "", same
