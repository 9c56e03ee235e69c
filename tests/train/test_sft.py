"""Fine-tuning: conversations to shards to a run that begins from another's weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from flashling.config import TOY
from flashling.model import weights
from flashling.text.tokenizer import train_tokenizer
from flashling.train import Shards, checkpoint, export, recipes, train, write_shard
from flashling.train.finish import merged
from flashling.train.pretrain import pretrain
from flashling.train.sft import rendered, sft

CHATS = [
    {
        "messages": [
            {"role": "system", "content": "Reply with one shell command."},
            {"role": "user", "content": f"list {name}"},
            {"role": "assistant", "content": f"ls {name}"},
        ],
        "tools": None,
    }
    for name in ("src", "docs", "tests", "build")
]


def test_only_the_assistant_is_trained(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([str(c) for c in CHATS], 400)
    documents = list(rendered(CHATS, tokenizer))
    assert len(documents) == 4
    for (tokens, mask), chat in zip(documents, CHATS, strict=True):
        trained = [t for t, m in zip(tokens, mask, strict=True) if m]
        assert tokenizer.decode(trained) == chat["messages"][-1]["content"] + "<|role_end|>"
    longest = max(len(t) for t, _ in documents)
    assert len(list(rendered(CHATS, tokenizer, max_tokens=longest - 1))) < 4
    unanswered = [{"messages": CHATS[0]["messages"][:2], "tools": None}]
    assert not list(rendered(unanswered, tokenizer))


def test_a_run_begins_from_anothers_weights(tmp_path: Path) -> None:
    tokenizer = train_tokenizer([str(c) for c in CHATS], 400)
    config = TOY.with_(vocab_size=tokenizer.vocab_size)
    write_shard(rendered(CHATS, tokenizer), tmp_path / "data", vocab_size=config.vocab_size)
    shards = str(tmp_path / "data")
    options = {"tokens": 300, "device": "cpu", "log_every": 2, "tensorboard": False}
    first = pretrain("first", config, shards, steps=4, out=str(tmp_path / "first"), **options)
    train(first, quiet=True)
    assert len(checkpoint.found(first.folder)) == 4
    begin = checkpoint.found(first.folder)[-1]
    second = sft(
        "second",
        config,
        shards,
        start=str(begin),
        steps=2,
        save_every=1,
        keep=1,
        out=str(tmp_path / "second"),
        **options,
    )
    moved = second.with_(optim=second.optim.__class__(lr=0.0))
    train(moved, quiet=True)
    after = checkpoint.load_weights(checkpoint.found(moved.folder)[-1])
    for name, value in checkpoint.load_weights(begin).items():
        if not name.endswith("ffn.bias"):
            assert torch.equal(value, after[name]), name
    assert Shards(shards).lengths.sum() < 300
    with pytest.raises(ValueError, match="is no checkpoint of a run"):
        train(second.with_(start=str(tmp_path), out=str(tmp_path / "third")), quiet=True)


def test_recipes_are_named_as_they_are_called() -> None:
    assert "toy" in recipes()
    for name, make in recipes().items():
        assert make().name == name


def test_a_run_is_exported_under_the_published_names(tmp_path: Path) -> None:
    r = recipes()["toy"]().with_(out=str(tmp_path), steps=2, tokens=128, log_every=1)
    train(r, quiet=True)
    folder = export(r, dtype=torch.float32)
    found, expected = weights.read(folder, torch.float32), merged(r)
    for name, value in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
