"""Many weights read at once, each thread on its own way from the files to the device."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import nullcontext
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor

from .files import CheckpointError, Place

T = TypeVar("T")
Progress = Callable[[int, int], None]
# where the tensors that one weight is stored in stand, by their last names
Parts = dict[str, Place]
# bytes that are brought to the device at once, and read at once on their way there
JOB, PIECE = 64 << 20, 16 << 20
# pieces of a thread on their way; and threads, since one reads at the speed of one core
RING, THREADS = 2, 16
# runs of bytes begin at such places; runs that lie nearer than GAP are one
ALIGN, GAP = 64, 4096


@dataclass
class Spent:
    """What reading weights took: seconds until the headers were known, until there was room for
    the weights, and for all that is done to them; their bytes, and of the threads' time the
    seconds in which they waited for files.
    """

    headers: float = 0.0
    room: float = 0.0
    weights: float = 0.0
    nbytes: int = 0
    files: float = 0.0
    threads: int = 0

    def __str__(self) -> str:
        said = f"headers {self.headers:.1f} s, room {self.room:.1f} s"
        if not self.nbytes:
            return said
        rate = self.nbytes / max(self.weights, 1e-9) / 1e9
        waited = self.files / max(self.weights * self.threads, 1e-9)
        return (
            f"{said}, weights {self.weights:.1f} s ({self.nbytes / 1e9:.1f} GB at {rate:.1f} GB/s, "
            f"{waited:.0%} of it in reading files)"
        )


class Stage:
    """One thread's way from files to a device: on CUDA through pinned memory and a stream of its
    own, so that a piece is read while the one before it is copied. seconds: spent in reading.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, 0.0
        self.stream: torch.cuda.Stream | None = None
        if device.type == "cuda":
            self.stream = torch.cuda.Stream(device)
            # whoever began has made the room that is written to
            self.stream.wait_stream(torch.cuda.default_stream(device))
            pinned = torch.empty(RING, PIECE, dtype=torch.uint8, pin_memory=True)
            self._ring = [(piece, torch.cuda.Event()) for piece in pinned]
        self._turn = 0

    def read(self, weights: Sequence[Parts]) -> list[dict[str, Tensor]]:
        """The tensors of some weights on the device, by their last names. CheckpointError naming
        the file.
        """
        runs = _runs(weights)
        whole = torch.empty(runs[-1].to + runs[-1].size, dtype=torch.uint8, device=self.device)
        at: dict[Place, int] = {}
        for run in runs:
            self._read(run, whole[run.to : run.to + run.size])
            at |= {p: run.to + p.begin - run.begin for p in run.places}
        return [{n: _tensor(whole, at[p], p) for n, p in parts.items()} for parts in weights]

    def wait(self) -> None:
        """Until all that was begun is on the device."""
        if self.stream is not None:
            self.stream.synchronize()

    def _read(self, run: Run, room: Tensor) -> None:
        with _opened(run.file) as file:
            for start in range(0, run.size, PIECE):
                part = room[start : start + PIECE]
                if self.stream is None:
                    self._fill(file.fileno(), run, start, part)
                    continue
                piece, copied = self._ring[self._turn]
                self._turn = (self._turn + 1) % RING
                copied.synchronize()
                piece = piece[: len(part)]
                self._fill(file.fileno(), run, start, piece)
                part.copy_(piece, non_blocking=True)
                copied.record(self.stream)

    def _fill(self, number: int, run: Run, start: int, part: Tensor) -> None:
        view, done, began = part.numpy().data, 0, time.perf_counter()
        while done < len(view):
            try:
                count = os.preadv(number, [view[done:]], run.begin + start + done)
            except OSError as error:
                raise CheckpointError(f"{run.file} cannot be read: {error}") from None
            if count == 0:
                raise CheckpointError(f"{run.file} is damaged or truncated: fetch it again")
            done += count
        self.seconds += time.perf_counter() - began


@dataclass
class Run:
    """Bytes of a file that are read in one go, and where they go to."""

    file: Path
    begin: int
    size: int
    to: int
    places: list[Place]


def _runs(weights: Sequence[Parts]) -> list[Run]:
    """What holds all tensors of some weights, in file order; each tensor keeps its alignment."""
    runs: list[Run] = []
    places = sorted((p for parts in weights for p in parts.values()), key=_order)
    for place in places:
        last = runs[-1] if runs else None
        if last and last.file == place.file and place.begin - last.begin - last.size <= GAP:
            last.size = max(last.size, place.end - last.begin)
            last.places.append(place)
            continue
        end = last.to + last.size if last else 0
        to = -(-end // ALIGN) * ALIGN + place.begin % ALIGN
        runs.append(Run(place.file, place.begin, place.end - place.begin, to, [place]))
    return runs


def _opened(path: Path) -> FileIO:
    try:
        return open(path, "rb", buffering=0)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror}") from None


def _order(place: Place) -> tuple[str, int]:
    return str(place.file), place.begin


def _tensor(whole: Tensor, at: int, place: Place) -> Tensor:
    data = whole[at : at + place.end - place.begin]
    # files of other writers need not align what they hold
    data = data.clone() if at % place.dtype.itemsize else data
    return data.view(place.dtype).view(place.shape)


def each(
    table: Sequence[tuple[T, Parts]],
    do: Callable[[T, dict[str, Tensor]], None],
    device: torch.device,
    progress: Progress | None = None,
    spent: Spent | None = None,
) -> None:
    """Call do(weight, tensors) for every weight of the table with the tensors that it is stored
    in, on `device`: from several threads, in any order. Errors of `do` and of files end it.
    progress(done, all) is called in weights; `spent` is added to.
    """
    own, stages = threading.local(), list[Stage]()
    began, done = time.perf_counter(), 0

    @torch.no_grad()
    def one(job: list[tuple[T, Parts]]) -> int:
        if not hasattr(own, "stage"):
            own.stage = Stage(device)
            stages.append(own.stage)
        stage: Stage = own.stage
        with torch.cuda.stream(stage.stream) if stage.stream else nullcontext():
            found = stage.read([parts for _, parts in job])
            for (weight, _), tensors in zip(job, found, strict=True):
                do(weight, tensors)
            stage.wait()
        return len(job)

    count = min(THREADS, os.cpu_count() or 1)
    with ThreadPoolExecutor(count, "flashling-load") as pool:
        jobs = [pool.submit(one, job) for job in _jobs(table)]
        try:
            for job in as_completed(jobs):
                for _ in range(job.result()):
                    done += 1
                    if progress:
                        progress(done, len(table))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if device.type == "cuda":
        # what streams of their own have used is of no use to others
        torch.cuda.empty_cache()
    if spent is not None:
        spent.weights += time.perf_counter() - began
        spent.nbytes += sum(p.end - p.begin for _, parts in table for p in parts.values())
        spent.files += sum(stage.seconds for stage in stages)
        spent.threads = count


def _jobs(table: Sequence[tuple[T, Parts]]) -> list[list[tuple[T, Parts]]]:
    """Weights that lie side by side, together until they are JOB bytes; the largest jobs first,
    since at the end all threads should have work.
    """
    found: list[tuple[int, list[tuple[T, Parts]]]] = []
    room = 0
    for item in sorted(table, key=lambda item: _order(_main(item[1]))):
        size = sum(p.end - p.begin for p in item[1].values())
        if size > room:
            found.append((0, []))
            room = max(JOB, size)
        before, job = found[-1]
        job.append(item)
        found[-1], room = (before + size, job), room - size
    found.sort(key=lambda job: job[0] // JOB, reverse=True)
    return [job for _, job in found]


def _main(parts: Parts) -> Place:
    """The largest tensor of a weight: where it lies matters most."""
    return max(parts.values(), key=lambda p: p.end - p.begin)
