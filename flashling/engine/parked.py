"""The file of a parked prefix: a checked header, then raw little-endian tensors.

    magic, version, lengths, fingerprint, namespace, digest of the tensors (of the digests of their
    slices, so that several threads make it), base, dtypes, shapes
    the session's name (UTF-8), the tokens (big-endian uint32), blake2b of all before
    state [L, H, K, V], tail [L, 2, rows, H, K], pages [n, M, 64, R + P], hidden [D], or [0] if
    none, scale [L, H, K] of a state in int8, else [0, 0, 0]

Nothing in a file is believed before it was checked: sizes against the file's own before memory is
taken, then digests, then what the numbers mean.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import blake2b, sha256
from io import BufferedReader
from math import prod
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from .. import ops
from .cache import PAGE, Snapshot
from .records import TOKEN_BYTES
from .request import pages_for

T = TypeVar("T")
U = TypeVar("U")
MAGIC = b"\x89LINGPK\n"
VERSION = 3
DTYPES = torch.float32, torch.float64, torch.bfloat16, torch.int8
# of each the integers of its size, with a sign and without, and what infinity is among them
BITS = {
    torch.float32: (np.int32, np.uint32, 0x7F80_0000),
    torch.float64: (np.int64, np.uint64, 0x7FF0_0000_0000_0000),
    torch.bfloat16: (np.int16, np.uint16, 0x7F80),
}
RANKS = 4, 5, 4, 1, 3
DIGEST_BYTES = 32
# bytes that have a digest of their own, those of them that a core's cache holds between the steps
# of reading, and threads
SLICE, BLOCK, THREADS = 4 << 20, 1 << 20, 16
FIXED = struct.Struct(f"<8sII{DIGEST_BYTES}s{DIGEST_BYTES}s{DIGEST_BYTES}sQQ5B17I")


class Damaged(Exception):
    """A file that is not what this store wrote; `reason` is one or two words."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Head:
    """A header. fingerprint, namespace: blake2b. payload, digest: of the tensors and of itself.
    tokens: packed.
    """

    fingerprint: bytes
    namespace: bytes
    payload: bytes
    base: int
    session: str | None
    tokens: bytes
    dtypes: tuple[torch.dtype, ...]
    shapes: tuple[tuple[int, ...], ...]
    digest: bytes = b""


def hashed(data: bytes | memoryview) -> bytes:
    """blake2b, 32 bytes."""
    return blake2b(data, digest_size=DIGEST_BYTES).digest()


def tensors_of(snapshot: Snapshot, pages: Tensor) -> tuple[Tensor, ...]:
    """What a file holds, in its order."""
    hidden, scale = snapshot.hidden, snapshot.scale
    if hidden is None:
        hidden = torch.empty(0, dtype=snapshot.tail.dtype, device=pages.device)
    if scale is None:
        scale = torch.empty(0, 0, 0, dtype=torch.bfloat16, device=pages.device)
    return snapshot.state, snapshot.tail, pages, hidden, scale


def joined(base: int, tensors: Sequence[Tensor]) -> tuple[Snapshot, Tensor]:
    """The inverse of `tensors_of`."""
    state, tail, pages, hidden, scale = tensors
    more = hidden if len(hidden) else None, scale if len(scale) else None
    return Snapshot(base, state, tail, *more), pages


def size_of(snapshot: Snapshot, pages: Tensor) -> int:
    """Bytes of the tensors of a file."""
    return sum(x.nbytes for x in tensors_of(snapshot, pages))


def check(tokens: int, snapshot: Snapshot, pages: Tensor) -> None:
    """ValueError unless snapshot and pages [n, M, 64, R + P] are those of so many tokens."""
    tensors = tensors_of(snapshot, pages)
    shapes, dtypes = tuple(tuple(x.shape) for x in tensors), [x.dtype for x in tensors]
    if not _fits(snapshot.base, tokens, shapes):
        raise ValueError(
            f"{tokens} tokens do not go with base {snapshot.base} and shapes {shapes}; give the "
            "snapshot at their end and all their pages"
        )
    if not _goes(dtypes, shapes):
        raise ValueError(f"dtypes {dtypes} are not among {DTYPES}, or int8 without a scale")


def _goes(dtypes: Sequence[torch.dtype], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether these are types of a file: the state alone may be in int8, and has scales then."""
    state, *others = dtypes
    is_small = state == torch.int8
    return set(dtypes) <= set(DTYPES) and torch.int8 not in others and is_small == all(shapes[4])


def _fits(base: int, tokens: int, shapes: Sequence[tuple[int, ...]]) -> bool:
    if tuple(map(len, shapes)) != RANKS or not all(map(all, (shapes[0], shapes[2]))):
        return False
    (layers, heads, keys, _), tail, pages, _, scale = shapes
    rows = tail[2]
    return (
        scale in ((0, 0, 0), (layers, heads, keys))
        and not (any(scale) and rows)
        and tail == (layers, 2, rows, heads, keys)
        and rows <= ops.CHUNK
        and base + rows == tokens > 0
        and pages[0] == pages_for(tokens)
        and pages[2] == PAGE
    )


def is_finite(snapshot: Snapshot, pages: Tensor) -> bool:
    """Whether no tensor holds NaN or an infinity."""
    return all(bool(x.isfinite().all()) for x in tensors_of(snapshot, pages))


def clear_rest(pages: Tensor, tokens: int) -> None:
    """Zero pages [n, M, 64, W] after the last token, in place: a page that is not full still holds
    what its former owner wrote.
    """
    if tokens % PAGE:
        pages[-1, :, tokens % PAGE :] = 0


def encode(
    head_of: tuple[bytes, bytes], tokens: bytes, session: str | None, tensors: Sequence[Tensor]
) -> tuple[bytes, list[memoryview]]:
    """The bytes of a header (its digest last) and of the tensors (on the CPU).

    head_of: the hashed fingerprint and namespace.
    """
    chunks = [x.contiguous().view(-1).view(torch.uint8).numpy().data for x in tensors]
    payload = digest_of(chunks)
    name = (session or "").encode("utf-8", "surrogatepass")
    count = len(tokens) // TOKEN_BYTES
    fixed = FIXED.pack(
        *(MAGIC, VERSION, len(name), *head_of, payload),
        *(count - tensors[1].shape[2], count),
        *(DTYPES.index(x.dtype) for x in tensors),
        *(n for x in tensors for n in x.shape),
    )
    head = fixed + name + tokens
    return head + hashed(head), chunks


def digest_of(chunks: Sequence[memoryview]) -> bytes:
    """The digest of tensors: of the digests of their slices. These are SHA-256, for which
    processors have instructions: more than twice as fast.
    """
    slices = [chunk[at : at + SLICE] for chunk in chunks for at in range(0, len(chunk), SLICE)]
    found = _each(lambda s: sha256(s).digest(), slices, sum(map(len, chunks)))
    return hashed(b"".join(found))


def read_head(file: BufferedReader, size: int) -> Head:
    """The header of a file of so many bytes; the file stands at its tensors then. Damaged."""
    fixed = file.read(FIXED.size)
    if len(fixed) < FIXED.size:
        raise Damaged("size")
    magic, version, name_bytes, fingerprint, namespace, payload, base, count, *rest = FIXED.unpack(
        fixed
    )
    if magic != MAGIC:
        raise Damaged("magic")
    if version != VERSION:
        raise Damaged("version")
    codes, sizes = rest[: len(RANKS)], iter(rest[len(RANKS) :])
    if max(codes) >= len(DTYPES):
        raise Damaged("dtype")
    dtypes = tuple(DTYPES[c] for c in codes)
    shapes = tuple(tuple(next(sizes) for _ in range(rank)) for rank in RANKS)
    tensor_bytes = sum(prod(s) * d.itemsize for s, d in zip(shapes, dtypes, strict=True))
    token_bytes = count * TOKEN_BYTES
    if size != FIXED.size + name_bytes + token_bytes + DIGEST_BYTES + tensor_bytes:
        raise Damaged("size")
    name, tokens = file.read(name_bytes), file.read(token_bytes)
    digest = file.read(DIGEST_BYTES)
    if hashed(fixed + name + tokens) != digest:
        raise Damaged("digest")
    if not _fits(base, count, shapes):
        raise Damaged("shape")
    if not _goes(dtypes, shapes):
        raise Damaged("dtype")
    try:
        session = name.decode("utf-8", "surrogatepass") or None
    except UnicodeDecodeError:
        raise Damaged("session") from None
    return Head(fingerprint, namespace, payload, base, session, tokens, dtypes, shapes, digest)


def read_tensors(file: BufferedReader, head: Head) -> tuple[Snapshot, Tensor]:
    """What follows the header: a snapshot and pages on the CPU, in pinned memory where there is
    CUDA. Damaged.
    """
    tensors, slices, at = [], list[tuple[int, Tensor, torch.dtype]](), file.tell()
    for shape, dtype in zip(head.shapes, head.dtypes, strict=True):
        # each in memory of its own, so that it is aligned and goes when it is no longer wanted
        size, is_pinned = prod(shape) * dtype.itemsize, torch.cuda.is_available()
        data = torch.empty(size, dtype=torch.uint8, pin_memory=is_pinned)
        tensors.append(data.view(dtype).view(shape))
        slices += [(at + i, data[i : i + SLICE], dtype) for i in range(0, size, SLICE)]
        at += size
    found = _each(lambda s: _read_slice(file.fileno(), *s), slices, at - file.tell())
    if hashed(b"".join(digest for digest, _ in found)) != head.payload:
        raise Damaged("digest")
    if not all(is_finite for _, is_finite in found):
        raise Damaged("not finite")
    return joined(head.base, tensors)


def _each(call: Callable[[T], U], slices: Sequence[T], nbytes: int) -> list[U]:
    """What comes of slices of so many bytes in all: by threads where that is much."""
    if nbytes <= SLICE:
        return list(map(call, slices))
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(call, slices))


def _read_slice(number: int, at: int, part: Tensor, dtype: torch.dtype) -> tuple[bytes, bool]:
    """Fill a part of a tensor from a file: its digest, and whether all its numbers are finite.
    Damaged if the file ends before.
    """
    array, digest, is_finite = part.numpy(), sha256(), True
    for begin in range(0, len(array), BLOCK):
        block, done = array[begin : begin + BLOCK], 0
        while done < len(block):
            count = os.preadv(number, [block.data[done:]], at + begin + done)
            if not count:
                raise Damaged("size")
            done += count
        digest.update(block.data)
        is_finite = is_finite and _is_finite(block, dtype)
    return digest.digest(), is_finite


def _is_finite(block: np.ndarray, dtype: torch.dtype) -> bool:
    """Whether bytes are finite numbers, in this thread alone: what is not is the largest integer
    among the positive ones, and with the sign's bit among the negative ones.
    """
    if dtype not in BITS:
        return True
    signed, unsigned, most = BITS[dtype]
    sign = 1 << (8 * dtype.itemsize - 1)
    return block.view(signed).max() < most and block.view(unsigned).max() < most + sign
