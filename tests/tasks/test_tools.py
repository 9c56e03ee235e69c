"""The tool and talk generators: repeatable, valid against their own schemas, fair to the tests."""

from __future__ import annotations

import json
import re
import time
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from flashling.tasks import talk
from flashling.tasks.tools import HELD_OUT_TOOLS, copy_samples, samples
from flashling.tasks.tools.catalogue import is_held_out
from flashling.tasks.tools.nouns import noun_tool, nouns
from flashling.tasks.tools.spec import base_tools, compile_template

EVALS = Path(__file__).parents[2] / "flashling" / "evals" / "data"
TYPES: dict[str, Any] = {
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "array": list,
    "object": dict,
}


def take(iterator, count):
    return list(islice(iterator, count))


@pytest.fixture(scope="module")
def train():
    return take(samples(7), 3000)


def calls_of(sample):
    return [c["function"] for m in sample["messages"] for c in m.get("tool_calls") or ()]


def problems(value: Any, schema: dict, at: str = "arguments") -> list[str]:
    """What is wrong with a value under a schema of the few forms that we generate."""
    is_flag = type(value) is bool
    if not isinstance(value, TYPES[schema["type"]]) or is_flag != (schema["type"] == "boolean"):
        return [f"{at}: {value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} not in {schema['enum']}")
    if schema.get("format") == "date" and not re.fullmatch(r"\d{4}-\d\d-\d\d", value):
        found.append(f"{at}: {value!r} is no ISO date")
    if schema["type"] == "array":
        for item in value:
            found += problems(item, schema["items"], f"{at}[]")
    if schema["type"] == "object":
        known = schema["properties"]
        found += [f"{at}: unknown {key!r}" for key in value if key not in known]
        found += [
            f"{at}: {key!r} missing" for key in schema.get("required", ()) if key not in value
        ]
        for key in value:
            if key in known:
                found += problems(value[key], known[key], f"{at}.{key}")
    return found


def assert_calls_valid(sample):
    schemas = {t["function"]["name"]: t["function"]["parameters"] for t in sample["tools"]}
    assert len(schemas) == len(sample["tools"])
    for call in calls_of(sample):
        assert call["name"] in schemas
        assert problems(call["arguments"], schemas[call["name"]]) == []


def test_same_seed_same_samples():
    for make in (samples, copy_samples, talk.samples):
        assert take(make(3), 60) == take(make(3), 60)
        assert take(make(3), 60) != take(make(4), 60)


def test_calls_are_valid_and_declared(train):
    for sample in train:
        assert_calls_valid(sample)
        assert (sample["kind"] == "tools") == bool(calls_of(sample))


def test_held_out_split_is_valid():
    for sample in take(samples(1, split="test"), 300):
        assert_calls_valid(sample)


def test_copied_strings_stand_in_the_request(train):
    for sample in [*train, *take(copy_samples(5), 500)]:
        said = "\n".join(m["content"] for m in sample["messages"] if m["role"] == "user")
        for text in sample["copied"]:
            assert text in said


def test_most_strings_are_new(train):
    values = [text for sample in train for text in sample["copied"]]
    counts = {text: 0 for text in values}
    for text in values:
        counts[text] += 1
    assert sum(counts[text] == 1 for text in values) > 0.5 * len(values)


def test_mix(train):
    langs = [sample["lang"] for sample in train]
    share = {lang: langs.count(lang) / len(langs) for lang in ("en", "zh", "mix")}
    assert share["en"] == pytest.approx(0.45, abs=0.04)
    assert share["zh"] == pytest.approx(0.45, abs=0.04)
    assert share["mix"] == pytest.approx(0.10, abs=0.03)
    subs = {sample["sub"] for sample in train}
    assert subs == {"single", "choose", "parallel", "none", "missing", "chat"}


def test_held_out_tools_never_occur(train):
    """Neither by name nor by description; a nonsense or renamed tool never has these words."""
    held = {text for key in HELD_OUT_TOOLS for text in base_tools()[key].about["zh"]}
    for noun in nouns():
        if is_held_out(noun):
            held |= {text for verb in noun.verbs for text in noun_tool(noun, verb, 0).about["zh"]}
    abouts = {t["function"].get("description", "").rstrip("。") for s in train for t in s["tools"]}
    assert not held & abouts
    names = {t["function"]["name"] for sample in train for t in sample["tools"]}
    assert not set(HELD_OUT_TOOLS) & names
    assert 0.1 < len(HELD_OUT_TOOLS) / len(base_tools()) < 0.2


def test_enough_tools():
    assert len(base_tools()) >= 200
    assert sum(len(noun.verbs) for noun in nouns()) > 1000
    for noun in nouns()[::20]:
        for verb in noun.verbs:
            assert noun_tool(noun, verb, 2).asks["zh"]


def test_bad_template_is_named():
    with pytest.raises(ValueError, match="balance"):
        compile_template("turn on {device}]")


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="choose train or test"):
        next(samples(0, split="dev"))


def test_missing_data_dir_is_skipped(tmp_path):
    assert all(s["sub"] != "public" for s in take(samples(1, data_dir=str(tmp_path)), 50))


def test_unseen_tools_are_unseen(train):
    """Neither the name nor the description of a held-out item's own tools comes in training."""
    functions = [tool["function"] for sample in train for tool in sample["tools"]]
    names = {function["name"].replace(".", "_") for function in functions}
    abouts = {function.get("description", "").rstrip(".。").lower() for function in functions}
    for line in (EVALS / "tools.jsonl").read_text("utf-8").splitlines():
        item = json.loads(line)
        wanted = {call["name"] for call in item["expected"]}
        for function in (tool["function"] for tool in item["tools"]):
            if item["unseen"] and (function["name"] in wanted or not wanted):
                assert function["name"] not in names
                assert function["description"].rstrip(".。").lower() not in abouts


def test_no_title_holds_and(train):
    """`delete a and b` is two calls, so no name said without quotes may hold the word."""
    for sample in train:
        for call in calls_of(sample):
            for key, value in call["arguments"].items():
                if key in ("name", "title", "label") and isinstance(value, str):
                    assert " and " not in value


def test_full_dates_become_iso(train):
    said = 0
    for sample in train:
        for call in calls_of(sample):
            for value in call["arguments"].values():
                is_iso = isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\d", value)
                said += bool(is_iso) and value not in sample["copied"]
    assert said > 10


def test_chinese_is_written_with_its_own_punctuation(train):
    turns = [m for s in train if s["lang"] == "zh" for m in s["messages"]]
    asked = [m["content"] for m in turns if m["role"] == "user"]
    wide = sum(bool(re.search("[，？：！]", text)) for text in asked)
    narrow = sum(bool(re.search("[\u4e00-\u9fff][,?:!]", text)) for text in asked)
    assert wide > 3 * narrow > 0


def test_speed():
    """Half of what is asked for, since other tests may share the core."""
    stream = samples(11)
    take(stream, 1500)
    begin = time.process_time()
    take(stream, 1500)
    assert 1500 / (time.process_time() - begin) > 1000


def test_talk_is_varied_and_in_the_users_language():
    asked = {"en": set(), "zh": set()}
    for sample in take(talk.samples(2), 3000):
        for message in sample["messages"]:
            if message["role"] == "user":
                asked[sample["lang"]].add(message["content"].lower())
            else:
                has_hanzi = re.search(r"[\u4e00-\u9fff]", message["content"])
                assert bool(has_hanzi) == (sample["lang"] == "zh")
    assert min(len(texts) for texts in asked.values()) > 600


def test_talk_takes_shell_samples():
    line = {"role": "assistant", "content": "ls"}
    shell = iter(lambda: {"messages": [{"role": "user", "content": "list files"}, line]}, None)
    made = take(talk.samples(1, shell), 60)
    assert any(sample["messages"][-1]["content"] == "ls" for sample in made)


def test_eval_sets_are_valid():
    for file, count in (("tools.jsonl", 300), ("copy.jsonl", 120)):
        items = [json.loads(line) for line in (EVALS / file).read_text("utf-8").splitlines()]
        assert len(items) == count == len({item["id"] for item in items})
        for item in items:
            schemas = {t["function"]["name"]: t["function"]["parameters"] for t in item["tools"]}
            for call in item["expected"]:
                assert problems(call["arguments"], schemas[call["name"]]) == []
            assert bool(item["expected"]) == (item["kind"] not in ("irrelevance", "missing"))
            if item["unseen"] and item["expected"]:
                names = {call["name"] for call in item["expected"]}
                assert names & HELD_OUT_TOOLS or not names <= set(base_tools())
