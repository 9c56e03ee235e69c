"""What serving a model needs before the first request: kernels compiled, steps recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from copy import deepcopy
from functools import partial
from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .. import ops
from ..batch import Batch
from ..model.ling import Ling
from .cache import PAGE, Cache
from .drafts import guess_head
from .past import Paged
from .request import Request, Sequence, Usage, pages_for
from .steps import SIZES, Steps, laid

if TYPE_CHECKING:
    from .engine import Engine

# rows of a step with prompts: kernels differ by ranges of them, and by whether 16 divides them
ROWS = (2, 4, 5, 9, 16, 17, 32, 33, 48, 64, 65, 96, 100, 128, 129, 200, 256, 500, 512, 1000)
ROWS += (1024, 2048, 3000, 4000, 4096, 8000, 8191, 8192)


def prepare(engine: Engine, progress: Callable[[int, int], None] | None = None) -> float:
    """On a GPU, compile the kernels that an engine runs and record its steps: the seconds that
    took. progress(done, all) is called in kernels, then in steps. As `warm` refuses.
    """
    began = perf_counter()
    warm(engine.model, progress, engine.exact, engine.drafts)
    record(engine, progress)
    return perf_counter() - began


@torch.no_grad()
def record(engine: Engine, progress: Callable[[int, int], None] | None = None) -> float:
    """On a GPU, record an engine's steps: the seconds that took."""
    began = perf_counter()
    if engine.steps is not None:
        with ops.exactly() if engine.exact else nullcontext():
            engine.steps.record(engine.room.cache.spare_slot, progress)
    return perf_counter() - began


def warm(
    model: Ling,
    progress: Callable[[int, int], None] | None = None,
    exact: bool = False,
    drafts: int = 0,
) -> None:
    """On a GPU, compile the kernels that an engine of `model` runs, in exact mode or not, and that
    are not in Triton's cache. progress(done, all) is called in kernels. RuntimeError names those
    that do not compile for this GPU.
    """
    if model.head.device.type != "cuda" or model.dtype != torch.bfloat16:
        return
    # Triton is loaded where it is needed
    from ..ops.warm import compile_kernels

    with ops.exactly() if exact else nullcontext():
        bad = [k for k in compile_kernels(calls(model, drafts), progress) if k.error]
    if bad:
        names = ", ".join(sorted({k.name for k in bad}))
        name = torch.cuda.get_device_name()
        raise RuntimeError(f"{names} do not compile for {name}: {bad[0].error}") from bad[0].error


def calls(model: Ling, drafts: int = 0) -> Iterator[Callable[[], Any]]:
    """Steps of all sizes on a model like `model` that has no numbers, and one layer of each kind:
    what `compile_kernels` takes. With drafts the MTP layer's too, if there is one.
    """
    shadow = _shadow(model)
    is_drafting = drafts > 0 and len(shadow.mtp) > 0
    cache = Cache(shadow.config, max(SIZES), 2 * max(ROWS) // PAGE, shadow.dtype, "meta")
    steps = Steps(shadow, cache, drafts, guess_head(shadow) if is_drafting else None)
    # those whose rows the host draws have no drafts
    widths = (0, drafts) if is_drafting else (0,)
    for count, more, is_cut in product(SIZES, widths, (False, True)):
        given = laid([], count, cache.spare_slot, more).to("meta")
        yield partial(steps.step, given, is_cut)
    for rows in ROWS:
        yield partial(_prompt, shadow, cache, (rows,), is_drafting)
    # two prompts, one of them going on; and a prompt beside a single row
    yield partial(_prompt, shadow, cache, (100, 29), is_drafting)
    yield partial(_prompt, shadow, cache, (100, 1), is_drafting)
    yield lambda: cache.restore(0, cache.quantise(cache.snapshot(0, 0, 1)))


def _shadow(model: Ling) -> Ling:
    """The model on the meta device, with the first of its layers of each kind."""
    plain = [t for m in model.modules() for t in vars(m).values() if isinstance(t, Tensor)]
    memo: dict[int, Any] = {id(t): t.to("meta") for t in (*plain, *model.buffers())}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(p.to("meta"), requires_grad=False)
    layers = {(type(layer.mixer), type(layer.ffn)): layer for layer in reversed(model.layers)}
    shadow = deepcopy(model, memo | {id(model.layers): nn.ModuleList()})
    shadow.layers = nn.ModuleList(deepcopy(layer, memo) for layer in layers.values())
    return shadow.eval()


def _prompt(model: Ling, cache: Cache, counts: tuple[int, ...], is_drafting: bool = False) -> None:
    sequences = []
    for slot, count in enumerate(counts):
        s = Sequence(slot, Request((0,)), slot, slot, Usage(count), [0] * count, slot=slot)
        # an MTP layer's last entry stands one place behind
        s.pages = list(range(pages_for(count + 1)))
        sequences.append(s)
    batch = Batch.pack([s.tokens for s in sequences], device="meta")
    begins = [0] * len(counts)
    hidden = model(batch, Paged(cache, batch, sequences, begins))
    model.logits(hidden[: len(counts)])
    if is_drafting:
        past = Paged(cache, batch, sequences, begins, first=1)
        model.mtp_hidden(hidden, batch, past, following=batch.tokens)
