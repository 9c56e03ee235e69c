"""The parts, one after another."""

from __future__ import annotations

import gc
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property

import torch

from ...model.ling import Ling
from ..engine.ready import ready
from . import loading, many, mixed, serving, sessions
from .plan import Plan, Report, Row, read


class Full:
    """A run of a plan: its report, and the model that some parts share."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.report = Report(plan, self.device)

    @cached_property
    def model(self) -> Ling:
        """The model of the plan's recipe. ValueError if it does not fit."""
        model, took = ready(self.plan.config, self.device, self.plan.recipe)
        self.report.rows["runs"][-1] |= took
        return model

    def drop(self) -> None:
        """Give the model's memory to what comes next."""
        vars(self).pop("model", None)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()


def _load(full: Full) -> Iterable[Row]:
    full.drop()
    return loading.measure(full.plan, full.device)


def _serve(full: Full) -> Iterable[Row]:
    full.drop()
    return serving.measure(full.plan)


PARTS: dict[str, Callable[[Full], Iterable[Row]]] = {
    "load": _load,
    "sessions": lambda full: sessions.measure(full.model, full.plan),
    "mixed": lambda full: mixed.measure(full.model, full.plan),
    "many": lambda full: many.measure(full.model, full.plan),
    "serve": _serve,
}


def run(plan: Plan) -> int:
    """Measure the parts of the plan in its order, all if it names none; 1 if one failed.
    ValueError for a part that there is not.
    """
    if unknown := [p for p in plan.parts if p not in PARTS]:
        raise ValueError(f"no part {unknown[0]!r}; there are: {', '.join(PARTS)}")
    full, errors = Full(plan), 0
    for name in plan.parts or PARTS:
        if full.report.is_over():
            print(f"the time is over: {name} is left out", flush=True)
            continue
        try:
            for row in PARTS[name](full):
                full.report.add(name, row)
        except Exception as error:
            errors += 1
            traceback.print_exc()
            full.report.add(name, {"error": f"{type(error).__name__}: {error}"[:500]})
    print(f"written: {full.report.path}")
    return int(errors > 0)


def main(arguments: Sequence[str]) -> int:
    """Read a plan and run it; 1 if a part failed, 2 with a line that names what is wrong."""
    try:
        return run(read(arguments))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
