"""One step and one loop, for pretraining and fine-tuning alike."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from .. import parallel
from . import checkpoint
from .build import Run, build, restore, save_run
from .data import Packed, Prefetch
from .loss import losses
from .recipe import Recipe
from .schedule import factor

Reason = Literal["steps", "seconds", "stopped"]


@dataclass(frozen=True)
class Result:
    """Where a run stands: step, the loss last logged, and why it returned. "stopped" means by a
    signal or by `limit`, with more to do.
    """

    step: int
    loss: float
    reason: Reason


def train(
    recipe: Recipe,
    *,
    resume: bool = False,
    limit: float | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> Result:
    """Run a recipe to its end, or until SIGINT, SIGTERM or `limit` seconds; save, and return.

    resume: go on from the last checkpoint in the recipe's folder (from the start when there is
    none). ValueError when the folder holds a run and resume is not set; RuntimeError when the
    loss has not been finite for recipe.max_bad steps.
    """
    began = checkpoint.found(recipe.folder, full=True)
    if began and not resume:
        raise ValueError(
            f"{recipe.folder} already holds a run (up to {began[-1].name}); resume it with "
            f"`flashling train {recipe.name} --resume`, or move the folder away"
        )
    world = parallel.join(recipe.device)
    run = build(recipe, world, quiet=quiet)
    if began:
        restore(run, began[-1])
    feed = Prefetch(run.loader, world.device, recipe.form)
    try:
        with _signals() as asked:
            reason = _loop(run, feed, asked, limit)
    finally:
        feed.close()
        run.log.close()
    if world.rank == 0 and reason == "stopped":
        say(
            f"stopped and saved after step {run.step}; go on with "
            f"`flashling train {recipe.name} --resume`"
        )
    parallel.leave(world)
    return Result(run.step, run.meter.loss, reason)


def _loop(run: Run, feed: Iterator[Packed], asked: threading.Event, limit: float | None) -> Reason:
    began = time.monotonic()
    before = run.seconds
    run.log.event("start", step=run.step, processes=run.world.size, device=str(run.world.device))
    while True:
        spent = time.monotonic() - began
        is_asked = asked.is_set() or (limit is not None and spent >= limit)
        reason = _why_stop(run, before + spent, is_asked)
        if reason is not None:
            break
        one_step(run, feed)
        _after_step(run)
    if run.meter.steps:
        report(run)
    save_run(run, full=True)
    run.log.event("end", step=run.step, reason=reason, seconds=round(run.seconds, 3))
    return reason


def _why_stop(run: Run, seconds: float, is_asked: bool) -> Reason | None:
    """Whether to stop before the next step. Clocks and signals differ between processes, so many
    agree on them now and then; the schedule reads the agreed clock only.
    """
    r, world = run.recipe, run.world
    if world.size == 1 or run.step % r.log_every == 0:
        run.seconds = world.mean(seconds)
        is_asked = world.any(is_asked)
    elif is_asked:
        is_asked = False
    if r.steps is not None and run.step >= r.steps:
        return "steps"
    if r.seconds is not None and run.seconds >= r.seconds:
        return "seconds"
    return "stopped" if is_asked else None


def _after_step(run: Run) -> None:
    r = run.recipe
    if run.step % r.log_every == 0:
        report(run)
    if run.step % r.save_every == 0:
        save_run(run, full=True)
    elif r.snapshot_every and run.step % r.snapshot_every == 0:
        save_run(run, full=False)
    if r.evaluate and r.evaluate_every and run.step % r.evaluate_every == 0:
        run.model.eval()
        with torch.no_grad():
            run.log.event("evaluate", step=run.step, **r.evaluate(run.model))
        run.model.train()


def one_step(run: Run, feed: Iterator[Packed]) -> None:
    """Gradients of `accumulate` batches, one optimiser step, one move of the expert biases.

    Nothing here waits for the device. The loss is the mean over all targets of the step, on all
    processes together, so the split into batches and processes does not matter.
    """
    r = run.recipe
    packs = [next(feed) for _ in range(r.accumulate)]
    has_mtp = r.mtp_weight > 0 and run.model.config.num_nextn_predict_layers > 0
    scale = _scale(run, sum(len(p.following) for p in packs))
    second = _scale(run, sum(len(p.second) for p in packs)) * r.mtp_weight if has_mtp else None
    for packed in packs:
        found = losses(run.model, packed, scale, second)
        found.total.backward()
        run.optimizer.collect()
        run.meter.add(packed, found)
    rate = r.optim.lr * factor(r.schedule, run.step, run.done())
    norm, ok = run.optimizer.step(rate)
    uneven = run.balance.update(r.balance_rate, ok)
    run.meter.close_step(rate, norm, uneven)
    run.step += 1
    run.loader_state = packs[-1].state


def _scale(run: Run, count: int) -> Tensor:
    # filled on the device: a copy from the host would wait for it
    total = torch.full((), float(count), dtype=torch.float64, device=run.world.device)
    return run.world.size / run.world.total(total).clamp(min=1)


def report(run: Run) -> None:
    """Log the steps since the last report, and stop a run whose loss is no longer finite."""
    facts = run.meter.take(run.world, run.optimizer)
    done = run.done()
    eta = run.seconds * (1 / done - 1) if 0 < done <= 1 else None
    run.log.step({"step": run.step, "seconds": run.seconds, **facts}, done, eta)
    bad = int(run.optimizer.in_row)
    if bad >= run.recipe.max_bad:
        raise RuntimeError(
            f"the loss or its gradient was not finite for {bad} steps in a row (step {run.step}); "
            "lower the learning rate or look at the data, and resume from the last checkpoint in "
            f"{run.recipe.folder}"
        )


@contextmanager
def _signals() -> Iterator[threading.Event]:
    """An event that SIGINT and SIGTERM set; a second SIGINT interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def on(number: int, frame: object) -> None:
        if asked.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        asked.set()

    before = {s: signal.signal(s, on) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
