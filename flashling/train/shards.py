"""Token shards: documents on disk, written by many processes and read through memory maps."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

# token ids, and which of them are trained on
Document = tuple[Sequence[int], Sequence[bool]]
Make = Callable[[int], Iterable[Document]]


@dataclass(frozen=True)
class Shard:
    """What one folder holds: `tokens.bin`, `mask.bin` (bytes 0 or 1), `starts.npy` [N + 1]."""

    documents: int
    tokens: int
    targets: int
    dtype: str


def write_shard(
    documents: Iterable[Document], folder: str | Path, *, vocab_size: int, max_tokens: float = 1e18
) -> Shard:
    """Write documents to `folder` until they end or `max_tokens` are reached.

    Tokens are uint16 where the vocabulary allows, else uint32. Raises ValueError for an empty
    document, a mask of another length, or an id outside the vocabulary.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    kind = np.dtype("uint16" if vocab_size <= 1 << 16 else "uint32")
    starts, targets = [0], 0
    with (folder / "tokens.bin").open("wb") as tokens_to, (folder / "mask.bin").open("wb") as to:
        for tokens, mask in documents:
            ids, trained = np.asarray(tokens, np.int64), np.asarray(mask, np.bool_)
            _check(ids, trained, vocab_size, len(starts) - 1)
            tokens_to.write(ids.astype(kind).tobytes())
            to.write(trained.tobytes())
            targets += int(trained[1:].sum())
            starts.append(starts[-1] + len(ids))
            if starts[-1] >= max_tokens:
                break
    np.save(folder / "starts.npy", np.asarray(starts, np.int64))
    shard = Shard(len(starts) - 1, starts[-1], targets, kind.name)
    # written last: a folder without it is a shard that was not finished
    (folder / "shard.json").write_text(json.dumps(asdict(shard)) + "\n")
    return shard


def _check(ids: np.ndarray, trained: np.ndarray, vocab_size: int, number: int) -> None:
    if not len(ids) or len(ids) != len(trained):
        raise ValueError(
            f"document {number} has {len(ids)} tokens and a mask of {len(trained)}; "
            "give at least one token and a mask entry for each"
        )
    if ids.min() < 0 or ids.max() >= vocab_size:
        raise ValueError(
            f"document {number} holds a token outside 0..{vocab_size - 1}: "
            f"{ids.min()}..{ids.max()}; was it made with another tokenizer?"
        )


def generate_shards(
    make: Make, folder: str | Path, *, tokens: int, vocab_size: int, workers: int = 1, seed: int = 0
) -> list[Shard]:
    """Fill `folder` with `workers` shards of about `tokens` tokens in all, one process each.

    `make(seed)` yields documents and must be importable by name (worker i gets its own seed, so
    the result depends on seed and workers alone). Shards that are already complete are kept.
    """
    folder = Path(folder)
    jobs = [
        (make, str(folder / f"{i:05d}"), seed * 100_003 + i, vocab_size, tokens / workers)
        for i in range(workers)
    ]
    if workers == 1:
        return [_one(job) for job in jobs]
    # spawned, not forked: the parent may already hold threads or a GPU
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        return list(pool.map(_one, jobs))


def _one(job: tuple[Make, str, int, int, float]) -> Shard:
    make, folder, seed, vocab_size, limit = job
    done = Path(folder) / "shard.json"
    if done.is_file():
        return Shard(**json.loads(done.read_text()))
    return write_shard(make(seed), folder, vocab_size=vocab_size, max_tokens=limit)


class Shards:
    """The documents of one or more shard folders, or folders of them, as one numbered list.

    lengths [N] int64. Nothing is read before it is asked for.
    """

    def __init__(self, *folders: str | Path) -> None:
        self.folders = [found for folder in folders for found in _find(Path(folder))]
        self.tokens, self.masks, starts = [], [], []
        for folder in self.folders:
            shard = Shard(**json.loads((folder / "shard.json").read_text()))
            self.tokens.append(np.memmap(folder / "tokens.bin", shard.dtype, "r"))
            self.masks.append(np.memmap(folder / "mask.bin", np.bool_, "r"))
            starts.append(np.load(folder / "starts.npy"))
        self.lengths = np.concatenate([np.diff(s) for s in starts])
        self.shard_of = np.repeat(np.arange(len(starts)), [len(s) - 1 for s in starts])
        self.begin = np.concatenate([s[:-1] for s in starts])

    def __len__(self) -> int:
        return len(self.lengths)

    def read(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens [L] (unsigned) and mask [L] bool of document `number`."""
        shard, a = self.shard_of[number], self.begin[number]
        b = a + self.lengths[number]
        return self.tokens[shard][a:b], self.masks[shard][a:b]


def _find(folder: Path) -> Iterator[Path]:
    found = [folder] if (folder / "shard.json").is_file() else []
    found = found or sorted(f.parent for f in folder.glob("*/shard.json"))
    if not found:
        raise ValueError(f"{folder} holds no finished shard (shard.json); write the data first")
    yield from found
