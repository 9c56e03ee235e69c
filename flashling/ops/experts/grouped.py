"""The grouped product on CUDA: the framework's own grouped matrix multiply."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, bfloat16, int32

from . import grouped_matmul as op


def grouped_matmul(x: Tensor, weight: Tensor, counts: Tensor) -> Tensor:
    """As the op; bfloat16 alone takes the library's kernel, other dtypes the body."""
    if x.dtype != bfloat16:
        return vars(op)["body"](x, weight, counts)
    return F.grouped_mm(x, weight.mT, offs=counts.cumsum(0).to(int32))
