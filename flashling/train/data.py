"""Documents -> packed batches with their targets, and a thread that keeps a few ahead."""

from __future__ import annotations

import queue
import threading
from collections import deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import Batch
from ..model.past import Form, Fresh
from .source import Source


@dataclass
class Targets:
    """Which rows of a batch are trained, and the token each is to predict: [R] int64 each."""

    rows: Tensor
    tokens: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(self.rows.to(device), self.tokens.to(device))


@dataclass
class Packed:
    """A batch to train on: `following` predicts the next token, `second` the one after it.

    state: where the loader stands once this batch has been used. past: made by `Prefetch`.
    """

    batch: Batch
    following: Targets
    second: Targets
    state: dict[str, Any] = field(default_factory=dict)
    past: Fresh | None = None
    ready: Any = None


def pack(documents: list[tuple[np.ndarray, np.ndarray]]) -> Packed:
    """Documents (tokens [L], mask [L]) end to end, positions from 0 in each.

    Token t + 1 is a target of row t where the mask holds at t + 1, and of row t - 1 for MTP; a
    document's targets are predicted from its own rows only.
    """
    starts = np.concatenate([[0], np.cumsum([len(t) for t, _ in documents])])
    tokens = np.concatenate([t for t, _ in documents]).astype(np.int64)
    mask = np.concatenate([m for _, m in documents])
    positions = np.arange(len(tokens)) - np.repeat(starts[:-1], np.diff(starts))
    batch = Batch(torch.from_numpy(tokens), torch.from_numpy(positions), tuple(starts.tolist()))

    def ahead(distance: int) -> Targets:
        at = np.flatnonzero(mask & (positions >= distance))
        return Targets(torch.from_numpy(at - distance), torch.from_numpy(tokens[at]))

    return Packed(batch, ahead(1), ahead(2))


class Loader:
    """Packs documents of a source into batches of at most `tokens` tokens, without end.

    Documents are taken in order; once the next does not fit, the longest of the `buffer` waiting
    ones that do. Of every `world` batches this process reads number `rank`; all processes plan
    all of them, so that the state is the same on each.
    """

    def __init__(
        self, source: Source, tokens: int, *, rank: int = 0, world: int = 1, buffer: int = 64
    ) -> None:
        self.source, self.tokens, self.buffer = source, tokens, buffer
        self.rank, self.world = rank, world
        self.waiting: list[Any] = []

    def __iter__(self) -> Loader:
        return self

    def __next__(self) -> Packed:
        items = [self._fill() for _ in range(self.world)][self.rank]
        packed = pack([self.source.read(i) for i in items])
        packed.state = self.state_dict()
        return packed

    def _fill(self) -> list[Any]:
        room, items = self.tokens, []
        while True:
            while len(self.waiting) < self.buffer:
                self.waiting.append(self.source.take())
            at = self._fits(room)
            if at is None:
                return items
            items.append(self.waiting.pop(at))
            room -= self.source.length(items[-1])

    def _fits(self, room: int) -> int | None:
        first = self.source.length(self.waiting[0])
        if first <= room:
            return 0
        if first > self.tokens:
            raise ValueError(
                f"a document has {first} tokens, a batch holds {self.tokens}; raise the recipe's "
                "tokens or cut the document"
            )
        sizes = [self.source.length(item) for item in self.waiting]
        best = max((n for n in sizes if n <= room), default=0)
        return sizes.index(best) if best else None

    def state_dict(self) -> dict[str, Any]:
        """What makes another loader go on with the very next batch."""
        return {"source": self.source.state_dict(), "waiting": list(self.waiting)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken; the number of processes may differ."""
        self.source.load_state_dict(state["source"])
        self.waiting = list(state["waiting"])


class Prefetch:
    """The loader's batches on `device`, with their `Fresh` past, made by a thread ahead of use.

    On CUDA the copies run on a stream of their own, so that they never wait for the model; a
    batch is let go only when the step that used it has run.
    """

    def __init__(
        self, loader: Loader, device: torch.device, form: Form = "expanded", depth: int = 2
    ) -> None:
        self.loader, self.device, self.depth = loader, device, depth
        self.form: Form = form
        self.ahead: queue.Queue[Packed | BaseException] = queue.Queue(depth)
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self.used: deque[tuple[Any, Packed]] = deque()
        self.last: Packed | None = None
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self) -> None:
        try:
            with torch.cuda.stream(self.stream):
                while not self.stopped.is_set():
                    self._put(self._ready(next(self.loader)))
        except BaseException as error:
            self._put(error)

    def _ready(self, packed: Packed) -> Packed:
        batch = packed.batch.to(self.device)
        following, second = packed.following.to(self.device), packed.second.to(self.device)
        past = Fresh(batch, self.form)
        event = self.stream.record_event() if self.stream else None
        return Packed(batch, following, second, packed.state, past, event)

    def _put(self, item: Packed | BaseException) -> None:
        while not self.stopped.is_set():
            try:
                return self.ahead.put(item, timeout=0.2)
            except queue.Full:
                continue

    def __iter__(self) -> Prefetch:
        return self

    def __next__(self) -> Packed:
        item = self.ahead.get()
        if isinstance(item, BaseException):
            raise item
        if self.stream is not None:
            self._hold(item)
        return item

    def _hold(self, item: Packed) -> None:
        now = torch.cuda.current_stream(self.device)
        if self.last is not None:
            self.used.append((now.record_event(), self.last))
        while len(self.used) > self.depth:
            self.used.popleft()[0].synchronize()
        now.wait_event(item.ready)
        self.last = item

    def close(self) -> None:
        """Stop the thread and the source's processes."""
        self.stopped.set()
        self.thread.join()
        self.loader.source.close()
