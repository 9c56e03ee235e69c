"""Expanded attention on CUDA: the framework's variable-length flash attention."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, bfloat16
from torch.nn.attention.varlen import varlen_attn

from . import Documents, expand
from . import mla_expanded as op


def mla_expanded(
    q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int, docs: Documents
) -> Tensor:
    """As the op; bfloat16 alone takes the library's kernel, other dtypes the body."""
    if q.dtype != bfloat16:
        return vars(op)["body"](q, latent, kv_b, value_dim, docs)
    k, v = expand(latent, kv_b, q.shape[1], value_dim)
    # the kernel wants one width for q, k and v
    v = F.pad(v, (0, q.shape[-1] - value_dim))
    ends, longest = docs.ends, docs.longest
    out = varlen_attn(q, k, v, ends, ends, longest, longest, window_size=(-1, 0))
    assert isinstance(out, Tensor)
    return out[..., :value_dim]
