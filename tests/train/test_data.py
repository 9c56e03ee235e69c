"""Documents to batches: shards, sources, packing, and going on where one left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from flashling.train.data import Loader, Prefetch, pack
from flashling.train.shards import Shards, generate_shards, write_shard
from flashling.train.source import Held, Shuffled, Stream

from .documents import broken, made, some


def test_pack_targets_stay_in_their_document() -> None:
    documents = [
        ([10, 11, 12, 13], [True, False, True, True]),
        ([20], [True]),
        ([30, 31], [True, True]),
    ]
    packed = pack([(np.asarray(t), np.asarray(m)) for t, m in documents])
    assert packed.batch.tokens.tolist() == [10, 11, 12, 13, 20, 30, 31]
    assert packed.batch.positions.tolist() == [0, 1, 2, 3, 0, 0, 1]
    assert packed.batch.starts == (0, 4, 5, 7)
    # first tokens are never targets, whatever the mask says
    assert packed.following.rows.tolist() == [1, 2, 5]
    assert packed.following.tokens.tolist() == [12, 13, 31]
    assert packed.second.rows.tolist() == [0, 1]
    assert packed.second.tokens.tolist() == [12, 13]


def test_shards_hold_what_was_written(tmp_path: Path) -> None:
    first, second = some(40), some(25, 1)
    info = write_shard(first, tmp_path / "a", vocab_size=200)
    write_shard(second, tmp_path / "b", vocab_size=70_000)
    assert info.dtype == "uint16" and info.documents == 40
    assert info.targets == sum(sum(m[1:]) for _, m in first)
    shards = Shards(tmp_path)
    assert len(shards) == 65
    for number, (tokens, mask) in enumerate(first + second):
        found = shards.read(number)
        assert found[0].tolist() == tokens and found[1].tolist() == mask
        assert shards.lengths[number] == len(tokens)


def test_shards_refuse_what_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="document 0 holds a token outside 0..9"):
        write_shard([([3, 10], [True, True])], tmp_path / "a", vocab_size=10)
    with pytest.raises(ValueError, match="2 tokens and a mask of 1"):
        write_shard([([3, 4], [True])], tmp_path / "a", vocab_size=10)
    with pytest.raises(ValueError, match="no finished shard"):
        Shards(tmp_path / "a")


def test_workers_write_the_same_shards_again(tmp_path: Path) -> None:
    options = {"tokens": 400, "vocab_size": 200, "workers": 2, "seed": 3}
    generate_shards(made, tmp_path / "a", **options)
    once = Shards(tmp_path / "a")
    assert 400 <= once.lengths.sum() < 500
    alone = write_shard(made(3 * 100_003 + 1), tmp_path / "b" / "0", vocab_size=200, max_tokens=200)
    assert alone.documents == (once.shard_of == 1).sum()
    assert (Shards(tmp_path / "b").tokens[0] == once.tokens[1]).all()


def test_an_epoch_reads_every_document_once_and_wastes_little() -> None:
    documents = some(300)
    loader = Loader(Shuffled(Held(documents), seed=1), 128)
    total = sum(len(t) for t, _ in documents)
    seen, tokens, batches = 0, 0, 0
    while seen < 300:
        packed = next(loader)
        seen += len(packed.batch.starts) - 1
        tokens += len(packed.batch.tokens)
        batches += 1
    assert tokens / (batches * 128) > 0.99
    assert seen < 320 and tokens >= total * 0.98


def test_the_longest_document_must_fit() -> None:
    loader = Loader(Shuffled(Held([([1] * 50, [True] * 50)])), 32)
    with pytest.raises(ValueError, match="a document has 50 tokens, a batch holds 32"):
        next(loader)


def same(a: Loader, b: Loader, count: int = 8) -> None:
    for _ in range(count):
        one, two = next(a), next(b)
        assert torch.equal(one.batch.tokens, two.batch.tokens)
        assert torch.equal(one.following.rows, two.following.rows)
        assert one.batch.starts == two.batch.starts


def test_a_shuffled_loader_goes_on_exactly() -> None:
    def loader(seed: int) -> Loader:
        return Loader(Shuffled(Held(some(60)), seed), 100)

    first = loader(5)
    # far enough to be in the second epoch
    states = [next(first).state for _ in range(12)]
    assert states[-1]["source"]["epoch"] >= 1
    second = loader(0)
    second.load_state_dict(states[-1])
    same(first, second)
    other = Loader(Shuffled(Held(some(61))), 100)
    with pytest.raises(ValueError, match="trained on 60 documents"):
        other.load_state_dict(states[-1])


def test_a_stream_of_workers_goes_on_exactly() -> None:
    first = Loader(Stream(made, seed=2, workers=2, block=16), 100, buffer=8)
    state = [next(first).state for _ in range(5)][-1]
    second = Loader(Stream(made, workers=2, block=16), 100, buffer=8)
    second.load_state_dict(state)
    same(first, second, 5)
    first.source.close()
    second.source.close()


def test_a_stream_takes_from_workers_in_turn_and_tells_their_errors() -> None:
    stream = Stream(made, seed=2, workers=2)
    each = [made(2 * 100_003), made(2 * 100_003 + 1)]
    for n in range(6):
        assert stream.read(stream.take())[0].tolist() == list(next(each[n % 2])[0])
    stream.close()
    stream = Stream(broken, block=4)
    assert stream.read(stream.take())[0].tolist() == [1, 2]
    with pytest.raises(RuntimeError, match="data worker 0 failed:(.|\n)*no such verb"):
        stream.take()
    stream.close()


def test_processes_share_the_batches_of_one() -> None:
    def loader(rank: int, world: int) -> Loader:
        return Loader(Shuffled(Held(some(60))), 100, rank=rank, world=world)

    alone, pair = loader(0, 1), [loader(0, 2), loader(1, 2)]
    for _ in range(4):
        a, b = next(alone), next(alone)
        x, y = (next(one) for one in pair)
        assert torch.equal(a.batch.tokens, x.batch.tokens)
        assert torch.equal(b.batch.tokens, y.batch.tokens)
        assert b.state == x.state == y.state


def test_prefetch_keeps_order_and_passes_errors_on() -> None:
    documents = some(60)
    plain = Loader(Shuffled(Held(documents)), 100)
    feed = Prefetch(Loader(Shuffled(Held(documents)), 100), torch.device("cpu"))
    for _ in range(6):
        expected, got = next(plain), next(feed)
        assert torch.equal(expected.batch.tokens, got.batch.tokens)
        assert expected.state == got.state
        assert got.past is not None and got.past.starts == got.batch.starts
    feed.close()
    failing = Prefetch(Loader(Shuffled(Held([([1] * 9, [True] * 9)])), 4), torch.device("cpu"))
    with pytest.raises(ValueError, match="9 tokens"):
        next(failing)
    failing.close()
