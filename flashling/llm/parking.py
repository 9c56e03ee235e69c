"""Where the past of a model's conversations goes when the device gives it up."""

from __future__ import annotations

from hashlib import blake2b
from pathlib import Path

import torch

from ..engine.store import Store
from ..engine.tiers import Host, Tiers
from ..model.ling import Ling

# seconds unused after which a file goes
MAX_AGE = 30 * 24 * 3600.0
# elements of each tensor that are looked at
LOOKED_AT = 4096


def tiers_for(model: Ling, host_bytes: int, folder: Path | None, disk_bytes: int) -> Tiers:
    """Host memory, and a folder that outlives the process; 0 bytes and None mean without.
    ValueError if the folder cannot be written.
    """
    host = Host(host_bytes) if host_bytes else None
    if folder is None:
        return Tiers(host)
    try:
        return Tiers(host, Store(folder, fingerprint(model), disk_bytes, MAX_AGE))
    except OSError as error:
        raise ValueError(f"nothing can be parked in {folder}: {error.strerror}") from None


def fingerprint(model: Ling) -> bytes:
    """What tells weights apart: configuration, names, dtypes and shapes, and of each tensor up to
    4,096 elements that lie evenly over it, since all of a large model would take minutes.
    """
    found = blake2b(repr(model.config).encode(), digest_size=32)
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().reshape(-1)
        part = flat[:: max(1, -(-len(flat) // LOOKED_AT))].cpu().contiguous()
        found.update(part.view(torch.uint8).numpy().data)
    return found.digest()
