"""What exact mode asks of a model."""

from __future__ import annotations

import torch
from torch import Tensor

from ..model.ling import Ling
from ..model.moe import Moe


def check_exact(model: Ling) -> None:
    """ValueError where exact mode would not keep the bits of a model. On the CPU it does for all,
    on CUDA where kernels serve every layer: in bfloat16, heads of a power of two from 64 on, and
    routed experts in few bits, since the library's grouped product promises no bits.
    """
    device, width = model.head.device, model.config.head_dim
    if device.type == "cpu":
        return
    if device.type != "cuda":
        raise ValueError(f"exact mode runs on the CPU and on CUDA; the model is on {device}")
    if model.dtype != torch.bfloat16:
        raise ValueError(f"exact mode on CUDA is for bfloat16, not {model.dtype}; cast the model")
    if width < 64 or width & (width - 1):
        raise ValueError(
            f"exact mode on CUDA wants heads of 64, 128, 256 ..., not {width}; run it on the CPU"
        )
    if any(isinstance(m, Moe) and isinstance(m.gate_up, Tensor) for m in model.modules()):
        raise ValueError(
            "exact mode on CUDA wants routed experts in fp8 or int4; quantize the model, or run it"
            " on the CPU"
        )
