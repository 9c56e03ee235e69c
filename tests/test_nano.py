"""The embedded model as it is shipped."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from flashling import LLM, nano, parallel
from flashling.model import oracle, weights
from flashling.sampling import Sampling
from flashling.train import recipes
from flashling.train.build import build
from flashling.train.source import Held, Shuffled


@pytest.fixture(scope="module")
def llm() -> LLM:
    return LLM()


def test_it_is_small_and_loads_fast(llm: LLM) -> None:
    parts = list(nano.path().glob("*.safetensors"))
    assert sum(p.stat().st_size for p in parts) < 25e6
    assert all(p.stat().st_size <= 15e6 for p in parts)
    times = []
    for _ in range(3):
        began = time.perf_counter()
        LLM()
        times.append(time.perf_counter() - began)
    assert min(times) < 2.0
    assert llm.model.config.max_position_embeddings >= 65_536
    assert len(llm.model.mtp) == 1


def test_every_type_sees_the_same_weights() -> None:
    narrow = weights.read(nano.path(), torch.float32).state_dict()
    wide = weights.read(nano.path(), torch.float64).state_dict()
    assert all(torch.equal(narrow[n].double(), wide[n]) for n in narrow)


def test_special_tokens_are_single_tokens(llm: LLM) -> None:
    for text in ("<role>", "</role>", "<|role_end|>", "<tool_call>", "</tool_call>", "<think>"):
        assert llm.tokenizer.has(text), text
    # as text they are ordinary
    assert llm.tokenizer.id("<role>") not in llm.tokenizer.encode("<role>SYSTEM</role>")


@pytest.mark.parametrize(
    ("request_", "command"),
    [
        ("find all the python files", "find . -name '*.py'"),
        ("show the last 5 lines of server.log", "tail -n 5 server.log"),
        ("查看git状态", "git status"),
    ],
)
def test_it_writes_commands(llm: LLM, request_: str, command: str) -> None:
    assert llm.commands(request_)[0].command == command


def test_a_chat_equals_the_oracle(llm: LLM) -> None:
    messages = [{"role": "user", "content": "你好"}]
    prompt = llm.prompt(messages)
    sampling = Sampling(temperature=0.0, max_tokens=24, stop_ids=llm.tokenizer.eos_ids)
    [told] = oracle.generate(llm.model, [prompt], sampling)
    assert llm.chat(messages, stream=False).tokens == told.tokens


def test_calls_are_held_to_what_is_declared(llm: LLM) -> None:
    pytest.importorskip("llguidance")
    unit = {"type": "string", "enum": ["celsius", "fahrenheit"]}
    given = {"city": {"type": "string"}, "unit": unit}
    schema = {"type": "object", "properties": given, "required": ["city", "unit"]}
    f = {"name": "get_weather", "description": "Weather of a city", "parameters": schema}
    asked = [{"role": "user", "content": "Will it rain in Bergen? And play some jazz."}]
    made = 0
    for seed in range(6):
        # hot enough that the model alone would make things up
        sampling = Sampling(temperature=1.7, seed=seed, max_tokens=120)
        answer = llm.chat(asked, [{"type": "function", "function": f}], sampling, stream=False)
        assert not answer.broken or answer.finish == "length"
        for call in answer.calls:
            arguments = json.loads(call["function"]["arguments"])
            assert call["function"]["name"] == "get_weather"
            assert set(arguments) == {"city", "unit"} and arguments["unit"] in unit["enum"]
            made += 1
    assert made


def test_it_can_be_trained_on(tmp_path: Path) -> None:
    recipe = recipes()["nano"]().with_(
        out=str(tmp_path),
        start=str(nano.path()),
        device="cpu",
        tensorboard=False,
        data=lambda: Shuffled(Held([([1, 2, 3], [True] * 3)])),
    )
    run = build(recipe, parallel.join("cpu"), quiet=True)
    shipped = weights.read(nano.path(), torch.float32)
    assert torch.equal(run.model.head.float(), shipped.head)
    run.log.close()


def test_a_cold_suggestion_takes_under_four_seconds() -> None:
    ask = [sys.executable, "-m", "flashling", "suggest", "list the files here"]
    took = []
    for _ in range(2):
        began = time.perf_counter()
        done = subprocess.run(ask, capture_output=True, text=True, check=True)
        took.append(time.perf_counter() - began)
    assert done.stdout.startswith("ls")
    assert min(took) < 4.0
