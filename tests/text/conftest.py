"""Tokenizers for the tests of text: one with all special tokens, one with few."""

from __future__ import annotations

import json

import pytest

from flashling.text.tokenizer import Tokenizer, train_tokenizer

TEXTS = [
    '<role>SYSTEM</role>detailed thinking off<|role_end|>{"name": "get_time", "arguments": {}}',
    '<tool_call>\n{"name": "find", "arguments": {"path": "/tmp", "n": 3}}\n</tool_call>',
    "find all pdf files larger than ten megabytes",
    "列出当前目录下所有文件，时间是几点？",
]


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    return train_tokenizer(TEXTS * 20, 500)


@pytest.fixture(scope="session")
def poor(tokenizer: Tokenizer) -> Tokenizer:
    """The same without tokens for calls and thinking: there the text alone marks them."""
    kept = ("<|endoftext|>", "<|role_end|>", "<role>", "</role>")
    source = json.loads(tokenizer.source)
    source["added_tokens"] = [t for t in source["added_tokens"] if t["content"] in kept]
    return Tokenizer(json.dumps(source))
