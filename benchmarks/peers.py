"""Public implementations beside ours: the framework's own, and fla's if it can be imported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from flashling.ops.linear import Fp8, Int4, Int8, quantise
from flashling.ops.mla import expand

Peer = tuple[str, Callable[[], Any]]
# compiling a body takes seconds: only at so many rows, where a chain of small steps costs most
COMPILED_ROWS = 8192


def peer(op: Callable[..., Any], args: Sequence[Any]) -> Peer | None:
    """A name and a call that gives what op(*args) does, or None. What differs in the peer's favour
    is made before: rows are quantised, keys expanded.
    """
    make = PEERS.get(op.__name__)
    if make is not None:
        return make(*args)
    if op.__name__ in COMPILED and len(args[0]) == COMPILED_ROWS:
        body = torch.compile(vars(op)["body"])
        return "torch.compile", lambda: body(*args)
    return None


def _norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Peer:
    return "F.rms_norm", lambda: F.rms_norm(x, weight.shape, weight, eps)


def _linear(x: Tensor, weight: Any) -> Peer | None:
    if isinstance(weight, Int4 | Int8):
        plain = weight.unpack(x.dtype)
        return "F.linear, bfloat16", lambda: F.linear(x, plain)
    if not isinstance(weight, Fp8):
        return None
    numbers, scale = quantise(x, weight.group)
    product: Any = torch._scaled_mm  # pyright: ignore[reportPrivateImportUsage]
    if weight.group is None:
        sizes = scale[:, None], weight.scale[None, :]
    else:
        # the library wants the scales of a group of inputs, or of a row of blocks, side by side
        sizes = scale.t().contiguous().t(), weight.scale.t()
    options = {"out_dtype": x.dtype, "use_fast_accum": weight.group is None}
    call = lambda: product(numbers, weight.numbers.t(), *sizes, **options)  # noqa: E731
    return "_scaled_mm, without quantising", call


def _experts(x: Tensor, weights: Tensor, chosen: Tensor, gate_up: Any, *rest: Any) -> Peer | None:
    from flashling.ops.experts.library import experts_library

    if not isinstance(gate_up, Fp8) or gate_up.group is not None:
        return None
    call = lambda: experts_library(x, weights, chosen, gate_up, *rest)  # noqa: E731
    return "_scaled_grouped_mm, our sort and sum", call


def _expanded(q: Tensor, latent: Tensor, kv_b: Tensor, value_dim: int, docs: Any) -> Peer | None:
    if len(docs.starts) != 2:
        return None
    k, v = expand(latent, kv_b, q.shape[1], value_dim)
    a, b, c = (t.transpose(0, 1)[None].contiguous() for t in (q, k, v))

    def call() -> Tensor:
        out = F.scaled_dot_product_attention(a, b, c, is_causal=True)
        return out[0].transpose(0, 1)

    return "SDPA, keys expanded before", call


def _lightning(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, grid: Any, carry: Any = None
) -> Peer | None:
    if carry is not None or len(grid.starts) != 2:
        return None
    try:
        from fla.ops.simple_gla import chunk_simple_gla  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    gamma = -decay.to(q.device)

    def call() -> Tensor:
        return chunk_simple_gla(q[None], k[None], v[None], g_gamma=gamma)[0][0]

    return "fla chunk_simple_gla", call


def _lightning_decode(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, carry: Any, tails: Tensor
) -> Peer | None:
    try:
        from fla.ops.simple_gla import (  # pyright: ignore[reportMissingImports]
            fused_recurrent_simple_gla,
        )
    except ImportError:
        return None
    if len(q) > len(tails):
        # it takes one row
        return None
    # a recurrence reads and writes the state at every step, and no rows; its numbers are others
    state = carry.state[carry.slots].contiguous()
    gamma = -decay.to(q.device)

    def call() -> Any:
        return fused_recurrent_simple_gla(
            *(t[:, None] for t in (q, k, v)),
            g_gamma=gamma,
            initial_state=state,
            output_final_state=True,
        )

    return "fla recurrent, another state", call


PEERS: dict[str, Callable[..., Peer | None]] = {
    "norm": _norm,
    "linear": _linear,
    "experts": _experts,
    "mla_expanded": _expanded,
    "lightning": _lightning,
    "lightning_decode": _lightning_decode,
}
COMPILED = ("add_norm", "group_norm_gate", "queries_keys", "turned_queries")
COMPILED += ("latent_rows", "swiglu", "quantise", "route")
