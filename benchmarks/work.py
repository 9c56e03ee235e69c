"""The least that an op must do: bytes moved and floating-point operations of one call.

Bytes are what must cross the memory once, inputs in and results out, whatever a kernel moves on
top. Operations are those of the products alone, without what a mask hides. So two kernels of an
op are compared by the same measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from flashling.ops.lightning import flops
from flashling.ops.linear import Weight

Work = tuple[float, float | None]


def work(op: Callable[..., Any], args: Sequence[Any], out: Any) -> Work:
    """Bytes and operations (None where an op has no products) of op(*args) -> out."""
    return WORK.get(op.__name__, _plain)(args, out)


def leaves(x: Any) -> list[Tensor]:
    """The tensors in a tensor or in nested sequences of them, in order."""
    if isinstance(x, Tensor):
        return [x]
    return [t for y in x for t in leaves(y)] if isinstance(x, (tuple, list)) else []


def _bytes(*found: Any) -> float:
    return float(sum(t.nbytes for t in leaves(found)))


def _stored(weight: Weight) -> int:
    """Bytes of a weight, with its scales if it is packed."""
    if isinstance(weight, Tensor):
        return weight.nbytes
    return sum(b.nbytes for b in weight.buffers())


def _plain(args: Sequence[Any], out: Any) -> Work:
    return _bytes(*args, out), None


def _grouped(args: Sequence[Any], out: Tensor) -> Work:
    x, weight, counts = args
    used = int((counts > 0).sum()) * weight[0].nbytes
    return _bytes(x, counts, out) + used, 2.0 * x.numel() * weight.shape[1]


def _experts(args: Sequence[Any], out: Any) -> Work:
    x, weights, chosen, gate_up, down, *rest = args
    shared = [w for pair in rest if pair for w in pair]
    distinct, num = chosen.unique().numel(), gate_up.shape[0]
    used = distinct * (_stored(gate_up) + _stored(down)) / num + sum(map(_stored, shared))
    # each pair meets an expert, each token the shared one
    products = chosen.numel() * (gate_up.shape.numel() + down.shape.numel()) / num
    products += len(x) * sum(w.shape.numel() for w in shared)
    return _bytes(x, weights, chosen, out) + used, 2.0 * products


def _route(args: Sequence[Any], out: Any) -> Work:
    return _bytes(*args, out), 2.0 * args[0].numel() * len(args[1])


def _lightning(args: Sequence[Any], out: Tensor) -> Work:
    q, k, v, decay, grid, *rest = args
    moved, (_, heads, width) = _bytes(q, k, v, decay, out), q.shape
    if not rest:
        return moved, flops(len(q), heads, width, grid.chunk)
    new = [b - a for a, b in zip(grid.starts, grid.starts[1:], strict=False)]
    kept = list(zip(grid.tails, new, strict=True))
    # a state is read by every step, and written by one that closes a chunk
    closed = sum(tail + n > grid.chunk for tail, n in kept)
    row = 2 * heads * width * rest[0].tail.element_size()
    rows = sum(grid.tails) + sum(min(n, left) for n, left in zip(new, grid.left, strict=True))
    moved += (len(kept) + closed) * rest[0].state[0].nbytes + rows * row
    if len(q) > len(kept):
        return moved, flops(len(q), heads, width, grid.chunk)
    # each row meets those of its chunk and the state; a full chunk is folded into the state
    seen = sum(tail % grid.chunk + 1 for tail in grid.tails)
    met = 2 * seen + width * (len(q) + closed * grid.chunk)
    return moved, 2.0 * heads * width * met


def _pairs(rows: int, seen: int) -> int:
    """How many (query, key) pairs the last `rows` of a context of `seen` rows have."""
    return rows * seen - rows * (rows - 1) // 2


def _expanded(args: Sequence[Any], out: Tensor) -> Work:
    q, latent, kv_b, value, docs = args
    pairs = sum(_pairs(b - a, b - a) for a, b in zip(docs.starts, docs.starts[1:], strict=False))
    return _bytes(q, latent, kv_b, out), _attention(q, latent, kv_b, value, pairs)


def _over(args: Sequence[Any], out: Tensor) -> Work:
    q, context, kv_b, value = args
    pairs = _pairs(len(q), len(context))
    return _bytes(*args, out), _attention(q, context, kv_b, value, pairs)


def _attention(q: Tensor, latent: Tensor, kv_b: Tensor, value: int, pairs: int) -> float:
    expansion = 2.0 * len(latent) * kv_b.numel()
    return expansion + 2.0 * pairs * q.shape[1] * (q.shape[2] + value)


def _absorbed(args: Sequence[Any], out: Tensor) -> Work:
    q, contexts, kv_b, _, starts = args
    new = [b - a for a, b in zip(starts, starts[1:], strict=False)]
    pairs = sum(_pairs(n, len(c)) for n, c in zip(new, contexts, strict=True))
    both = contexts[0].shape[1] + kv_b.shape[1]
    products = 2.0 * len(q) * kv_b.numel() + 2.0 * pairs * q.shape[1] * both
    return _bytes(q, contexts, kv_b, out), products


def _lightning_decode(args: Sequence[Any], out: Tensor) -> Work:
    q, k, v, _, carry, tails = args
    (rows, heads, width), chunk = q.shape, carry.tail.shape[2]
    held = tails.tolist()
    closed, each = held.count(chunk), rows // len(held)
    seen = sum(t % chunk for t in held)
    row = 2 * heads * width * carry.tail.element_size()
    moved = _bytes(q, k, v, out) + (len(held) + closed) * carry.state[0].nbytes
    # a row meets the kept ones, the new ones up to itself, and the state
    pairs = seen * each + len(held) * _pairs(each, each)
    met = 2 * pairs + width * (rows + closed * chunk)
    return moved + (seen + closed * chunk) * row, 2.0 * heads * width * met


def _paged(args: Sequence[Any], out: Tensor) -> Work:
    q, pages, _, lengths, kv_b, *_ = args
    num, width, rank = len(lengths), pages.shape[-1], kv_b.shape[1]
    each = len(q) // num
    # the last of a sequence's rows sees what all of them see
    seen = int(lengths.sum()) + num * (each - 1)
    pairs = each * int(lengths.sum()) + num * each * (each - 1) / 2
    moved = _bytes(q, kv_b, out) + seen * width * pages.element_size()
    return moved, 2.0 * len(q) * kv_b.numel() + 2.0 * pairs * q.shape[1] * (width + rank)


def _restore_state(args: Sequence[Any], out: Tensor) -> Work:
    # the last argument is the result
    return _bytes(*args), None


def _linear(args: Sequence[Any], out: Tensor) -> Work:
    x, weight = args
    return _bytes(x, out) + _stored(weight), 2.0 * x.numel() * weight.shape[0]


# an op that is not here has no products, and moves its arguments and results
def _lay(args: Sequence[Any], out: Any) -> Work:
    _, page, place, rows = args
    # read, and written to their places; other rows of the pages are left alone
    return _bytes(page, place, rows, rows), None


WORK: dict[str, Callable[[Sequence[Any], Any], Work]] = {
    "grouped_matmul": _grouped,
    "experts": _experts,
    "route": _route,
    "lightning": _lightning,
    "lightning_decode": _lightning_decode,
    "linear": _linear,
    "lay": _lay,
    "mla_expanded": _expanded,
    "mla_over": _over,
    "mla_absorbed": _absorbed,
    "mla_paged": _paged,
    "restore_state": _restore_state,
}
