"""States of Lightning attention in 8 bits, as checkpoints are kept where room is short."""

from __future__ import annotations

import torch
from torch import Tensor

from ..op import op, wide

# the largest number, and what a row's largest entry must reach: smaller rows are zero
MOST, LEAST = 127, 1e-30


@op(cuda=".triton:quantise_state")
def quantise_state(state: Tensor, tail: Tensor, decay: Tensor) -> tuple[Tensor, Tensor]:
    """A slot with its open chunk folded into the state: numbers [L, H, K, V] int8 and of each row
    over V a scale [L, H, K] bfloat16, which multiplies them.

    state [L, H, K, V] float32 (float64 too) before the chunk, tail [L, 2, rows, H, K] the keys and
    values of its rows, none to all of them, decay [L, H] float32. Neither is written to. A row
    that is not finite has a scale that is not.
    """
    s, rows = decay.to(state.device, state.dtype)[..., None, None], tail.shape[2]
    k, v = tail.to(state.dtype).transpose(2, 3).unbind(1)  # [L, H, rows, K]
    back = torch.arange(rows - 1, -1, -1, dtype=s.dtype, device=s.device)[:, None]
    now = state * torch.exp(-s * rows) + k.mT @ (v * torch.exp(-s * back))
    top = now.abs().amax(-1)
    scale = torch.where(top < LEAST, 0, top / MOST).bfloat16()
    parts = scale.to(now.dtype)[..., None]
    numbers = torch.where(parts == 0, 0, now / parts).round().clamp(-MOST, MOST)
    # what an integer makes of NaN is the machine's
    return numbers.nan_to_num().to(torch.int8), scale


@op(cuda=".triton:restore_state")
def restore_state(numbers: Tensor, scale: Tensor, decay: Tensor, rows: int, out: Tensor) -> Tensor:
    """What `quantise_state` made, as a state before an open chunk whose first `rows` rows are zero:
    it is larger by what these fade it. numbers [L, H, K, V] int8, scale [L, H, K] bfloat16, decay
    [L, H] float32 -> `out` [L, H, K, V] float32 (float64 too), which is filled and returned.
    """
    s = decay.to(out.device, out.dtype)
    sizes = wide(scale).to(out.dtype) * torch.exp(s * rows)[..., None]
    return torch.mul(numbers.to(out.dtype), sizes[..., None], out=out)
