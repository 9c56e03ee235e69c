"""Sources: endless documents in a fixed order that can be left and taken up again exactly."""

from __future__ import annotations

import multiprocessing
import queue
import signal
import traceback
from collections.abc import Sequence
from itertools import islice
from typing import Any, Protocol

import numpy as np

from .shards import Document, Make

# tokens (int32) and mask (bool) as bytes: cheap to hand from process to process
Packed = tuple[bytes, bytes]


class Source(Protocol):
    """An endless sequence of items, each standing for one document."""

    def take(self) -> Any:
        """The next item: what a checkpoint can hold (numbers, bytes and lists of them)."""
        ...

    def length(self, item: Any) -> int:
        """Tokens of the item's document."""
        ...

    def read(self, item: Any) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [L] and mask [L] bool of the item's document."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where the source stands."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Stand where `state` was taken."""
        ...

    def close(self) -> None:
        """Let go of processes."""
        ...


class Store(Protocol):
    """Numbered documents of known lengths [N], such as `Shards`."""

    lengths: np.ndarray

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [L] and mask [L] bool of one document."""
        ...


class Held:
    """A store in memory, for small data."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self.documents = [(np.asarray(t, np.int64), np.asarray(m, np.bool_)) for t, m in documents]
        self.lengths = np.asarray([len(t) for t, _ in self.documents])

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Store.read`."""
        return self.documents[number]


class Shuffled:
    """Epochs over a store without end, each in an order of its own drawn from the seed."""

    def __init__(self, store: Store, seed: int = 0) -> None:
        if not len(store.lengths):
            raise ValueError("the data holds no documents")
        self.store, self.seed = store, seed
        self._turn(0, 0)

    def _turn(self, epoch: int, at: int) -> None:
        self.epoch, self.at = epoch, at
        self.order = np.random.default_rng([self.seed, epoch]).permutation(len(self.store.lengths))

    def take(self) -> int:
        """The next document's number."""
        if self.at == len(self.order):
            self._turn(self.epoch + 1, 0)
        self.at += 1
        return int(self.order[self.at - 1])

    def length(self, item: int) -> int:
        """As `Source.length`."""
        return int(self.store.lengths[item])

    def read(self, item: int) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.read`."""
        return self.store.read(item)

    def state_dict(self) -> dict[str, Any]:
        """Seed, epoch, place in it, and the number of documents it counts on."""
        size = len(self.order)
        return {"seed": self.seed, "epoch": self.epoch, "at": self.at, "documents": size}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Source.load_state_dict`; ValueError if the data has changed size since."""
        if state["documents"] != len(self.order):
            raise ValueError(
                f"the checkpoint was trained on {state['documents']} documents, the data now "
                f"holds {len(self.order)}; give the same data or start anew"
            )
        self.seed = state["seed"]
        self._turn(state["epoch"], state["at"])

    def close(self) -> None:
        """Nothing to let go of."""


class Stream:
    """Documents made while training by `workers` processes, taken from them in turn.

    `make(seed)` yields documents without end and must be importable by name. A worker begins anew
    with another seed every `block` documents, so that resuming makes at most so many again.
    """

    def __init__(self, make: Make, seed: int = 0, workers: int = 1, block: int = 4096) -> None:
        self.make, self.seed, self.workers, self.block = make, seed, workers, block
        self.taken = 0
        self.context = multiprocessing.get_context("spawn")
        self.running: list[tuple[Any, Any]] = []
        self.chunks: list[list[Packed]] = []

    def _start(self) -> None:
        for i in range(self.workers):
            made = self.context.Queue(4)
            skip = self.taken // self.workers + (i < self.taken % self.workers)
            job = (self.make, self.seed * 100_003 + i, skip, self.block, made)
            process = self.context.Process(target=_work, args=job, daemon=True)
            process.start()
            self.running.append((process, made))
            self.chunks.append([])

    def take(self) -> Packed:
        """The next document itself."""
        if not self.running:
            self._start()
        i = self.taken % self.workers
        if not self.chunks[i]:
            got = self._receive(i)
            if isinstance(got, str):
                raise RuntimeError(f"data worker {i} failed:\n{got}")
            self.chunks[i] = got
        self.taken += 1
        return self.chunks[i].pop()

    def _receive(self, worker: int) -> list[Packed] | str:
        process, made = self.running[worker]
        while True:
            try:
                return made.get(timeout=5)
            except queue.Empty:
                if not process.is_alive():
                    return f"it ended with exit code {process.exitcode}"

    def length(self, item: Packed) -> int:
        """As `Source.length`."""
        return len(item[1])

    def read(self, item: Packed) -> tuple[np.ndarray, np.ndarray]:
        """As `Source.read`."""
        return np.frombuffer(item[0], np.int32), np.frombuffer(item[1], np.bool_)

    def state_dict(self) -> dict[str, Any]:
        """Seed, workers, documents a block, and documents taken."""
        kept = ("seed", "workers", "block", "taken")
        return {name: getattr(self, name) for name in kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """As `Source.load_state_dict`; ValueError for another number of workers."""
        if state["workers"] != self.workers:
            raise ValueError(
                f"the checkpoint's data came from {state['workers']} workers, not {self.workers}; "
                "use as many to resume exactly"
            )
        self.close()
        self.seed, self.taken, self.block = state["seed"], state["taken"], state["block"]

    def close(self) -> None:
        """End the worker processes."""
        for process, made in self.running:
            process.terminate()
            process.join()
            made.close()
        self.running, self.chunks = [], []


def _packed(document: Document) -> Packed:
    tokens, mask = document
    return np.asarray(tokens, np.int32).tobytes(), np.asarray(mask, np.bool_).tobytes()


def _work(make: Make, seed: int, skip: int, block: int, made: Any) -> None:
    # an interrupt at the terminal reaches every process; the trainer ends its workers itself
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        number, skip = divmod(skip, block)
        # documents handed over at once
        size = max(1, block // 64)
        while True:
            documents = islice(iter(make(seed + number * 10_007)), skip, block)
            count = skip
            while chunk := [_packed(d) for d in islice(documents, size)]:
                count += len(chunk)
                # reversed, so that the reader pops from the end
                made.put(chunk[::-1])
            if count < block:
                raise ValueError("the documents ended; `make` must yield without end")
            number, skip = number + 1, 0
    except Exception:
        made.put(traceback.format_exc())
