"""The GPU that kernels choose their tiles for, as far as they ask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import torch


@dataclass(frozen=True)
class Device:
    """A GPU: its name, compute capability and multiprocessors; bytes of shared memory that one
    program can have, and all programs of a multiprocessor together.
    """

    name: str
    capability: tuple[int, int]
    multiprocessors: int
    program_bytes: int
    shared_bytes: int

    @property
    def has_e4m3(self) -> bool:
        """Whether it computes with e4m3 numbers; without, such weights are unpacked."""
        return self.capability >= (8, 9)

    def stages(self, step_bytes: int, most: int, programs: int = 1) -> int:
        """How many steps of so many bytes can be on their way in each of `programs` programs of a
        multiprocessor: at most `most`, and two even where fewer programs fit then.
        """
        room = min(self.shared_bytes // programs, self.program_bytes)
        return min(max(room // step_bytes, 2), most)


KIB = 1024
# one of each kind that kernels are compiled for; the numbers are those of its data sheet
KINDS = {
    80: Device("NVIDIA A100-SXM4-80GB", (8, 0), 108, 163 * KIB, 164 * KIB),
    89: Device("NVIDIA L40S", (8, 9), 142, 99 * KIB, 100 * KIB),
    90: Device("NVIDIA H200", (9, 0), 132, 227 * KIB, 228 * KIB),
    100: Device("NVIDIA B200", (10, 0), 148, 227 * KIB, 228 * KIB),
    120: Device("NVIDIA GeForce RTX 5090", (12, 0), 170, 99 * KIB, 100 * KIB),
    121: Device("NVIDIA GB10", (12, 1), 48, 99 * KIB, 100 * KIB),
}

_pretended: Device | None = None


def current() -> Device:
    """The GPU at hand; without one, an H200, so that choices can be tested."""
    return _pretended or _found()


def pretend(device: Device) -> None:
    """Let kernels choose as for `device` from now on. Before the first kernel is imported, since
    what a kernel may use is settled there.
    """
    global _pretended
    _pretended = device


def slug(name: str) -> str:
    """A name for a file: lower case, words joined by dashes."""
    return "-".join(re.findall(r"[a-z0-9]+", name.lower()))


@cache
def _found() -> Device:
    if not torch.cuda.is_available():
        return KINDS[90]
    p = torch.cuda.get_device_properties()
    return Device(
        p.name,
        (p.major, p.minor),
        p.multi_processor_count,
        p.shared_memory_per_block_optin,
        p.shared_memory_per_multiprocessor,
    )
