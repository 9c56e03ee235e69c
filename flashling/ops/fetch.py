"""Weights asked for before they are needed: while small kernels leave the memory idle, what the
next products read comes into the last cache.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .linear import Fp8, Int4, Weight

# rows up to which a step waits for memory, and not for the tensor cores
MOST_ROWS = 16
# where the fetching is recorded beside the step, by device, and which of them the record knows
_beside: dict[torch.device, torch.cuda.Stream] = {}
_begun: set[torch.device] = set()


def fetch(x: Tensor, *weights: Weight) -> None:
    """Ask for weights [O, I] that will meet the few rows of x [T, D] or what comes of them. Only a
    step that is being recorded on CUDA does: elsewhere a launch costs more than is gained. The
    fetching begins when what was launched so far has ended, and changes no value.
    """
    if (
        x.device.type != "cuda"
        or len(x) > MOST_ROWS
        or not torch.cuda.is_current_stream_capturing()
    ):
        return
    from .fetch_triton import into_cache

    beside = _beside.setdefault(x.device, torch.cuda.Stream(x.device))
    _begun.add(x.device)
    beside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(beside):
        for weight in weights:
            into_cache(_numbers(weight))


def join() -> None:
    """Let the stream that is being recorded wait for all that is fetched, before its end."""
    while _begun:
        torch.cuda.current_stream().wait_stream(_beside[_begun.pop()])


def _numbers(weight: Weight) -> Tensor:
    if isinstance(weight, Fp8):
        return weight.numbers
    return weight.words if isinstance(weight, Int4) else weight
