"""The stored forms decoded a second way: with Python's integers, number by number."""

from __future__ import annotations

import numpy as np
import torch


def e4m3(byte: int) -> float:
    """The value of one float8_e4m3fn number."""
    sign, exponent, fraction = -1.0 if byte >> 7 else 1.0, byte >> 3 & 15, byte & 7
    if exponent == 15 and fraction == 7:
        return float("nan")
    if exponent == 0:
        return sign * fraction / 8 * 2.0**-6
    return sign * (1 + fraction / 8) * 2.0 ** (exponent - 7)


def unpacked(words: torch.Tensor, inputs: int, bits: int) -> np.ndarray:
    """Signed integers [out, inputs] of int32 words: the first input in the lowest bits."""
    rows = []
    for row in words.tolist():
        whole = 0
        for i, word in enumerate(row):
            whole |= (word & 0xFFFFFFFF) << (32 * i)
        fields = [whole >> (bits * i) & (2**bits - 1) for i in range(inputs)]
        rows.append([f - 2 ** (bits - 1) for f in fields])
    return np.array(rows, dtype=np.float32)


def weight(tensors: dict[str, torch.Tensor], base: str, size: tuple[int, int]) -> torch.Tensor:
    """The float32 weight of `size` stored under the published name without `.weight`.

    What shares a scale is told by the shape of the scales: blocks are cut as evenly as they go,
    128 rows and columns where both are cut.
    """
    out, inputs = size
    if f"{base}.weight_packed" in tensors:
        words = tensors[f"{base}.weight_packed"]
        numbers = unpacked(words, inputs, 4)
    else:
        stored = tensors[f"{base}.weight"]
        if stored.dtype.is_floating_point and stored.itemsize > 1:
            return stored.float()
        table = [e4m3(b) for b in range(256)]
        if stored.dtype == torch.int8:
            table = [b - 256 if b > 127 else b for b in range(256)]
        numbers = np.array(table, dtype=np.float32)[stored.view(torch.uint8).numpy()]
    scale = tensors.get(f"{base}.weight_scale", tensors.get(f"{base}.weight_scale_inv"))
    assert scale is not None
    s = scale.float().numpy()
    rows = np.arange(out) if s.shape[0] == out else np.arange(out) // 128
    wide = -(-inputs // s.shape[1]) if s.shape[0] == out else 128
    return torch.from_numpy(numbers * s[rows][:, np.arange(inputs) // wide])
