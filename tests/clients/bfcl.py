"""BFCL's cases and its own client and scorer, for an interpreter that has `bfcl-eval`.

python bfcl.py gold FILE: its single-turn Python cases with gold calls, as JSON.
python bfcl.py play FILE URL FOLDER once|stream: ask a server all of them, score the answers into
FOLDER, and print by category how many there are, the score, and what is said of those lost.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

# before the package is imported: it makes folders there
if len(sys.argv) > 4:
    os.environ |= {"BFCL_PROJECT_ROOT": sys.argv[4], "OPENAI_BASE_URL": sys.argv[3]}
    os.environ["OPENAI_API_KEY"] = "none"

from bfcl_eval._llm_response_generation import main as generate
from bfcl_eval.constants.enums import ModelStyle
from bfcl_eval.constants.eval_config import RESULT_PATH, SCORE_PATH
from bfcl_eval.constants.model_config import MODEL_CONFIG_MAPPING, ModelConfig
from bfcl_eval.constants.type_mappings import GORILLA_TO_OPENAPI
from bfcl_eval.eval_checker.eval_runner import main as evaluate
from bfcl_eval.model_handler.api_inference.openai_completion import OpenAICompletionsHandler
from bfcl_eval.model_handler.utils import convert_to_tool
from bfcl_eval.utils import load_dataset_entry, load_ground_truth_entry
from jsonschema import Draft202012Validator

CATEGORIES = (
    "simple_python multiple parallel parallel_multiple irrelevance "
    "live_simple live_multiple live_parallel live_parallel_multiple"
).split()


def cases() -> list[dict[str, Any]]:
    """All cases: id, tools as the client declares them, gold calls."""
    found = []
    for category in CATEGORIES:
        entries = load_dataset_entry(category)
        is_free = "irrelevance" in category
        truths = (
            [{"ground_truth": []}] * len(entries) if is_free else load_ground_truth_entry(category)
        )
        for entry, truth in zip(entries, truths, strict=True):
            style = ModelStyle.OPENAI_COMPLETIONS
            tools = convert_to_tool(entry["function"], GORILLA_TO_OPENAPI, style)
            calls = [gold(call, tools) for call in truth["ground_truth"]]
            found.append({"id": entry["id"], "tools": tools, "calls": calls})
    return found


def gold(call: dict[str, Any], tools: list[dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    """A call with an allowed value of each argument, in the order of the declaration."""
    [(name, allowed)] = call.items()
    name = name.replace(".", "_")
    functions = [t["function"] for t in tools if t["function"]["name"] == name]
    return name, chosen(allowed, functions[0]["parameters"])


def chosen(allowed: dict[str, list[Any]], schema: dict[str, Any]) -> dict[str, Any]:
    """An object with the first of the allowed values of each member that is valid as declared; ""
    among them says that it may be left out, as it is where no other is valid and it need not be.
    """
    declared, found = schema.get("properties", {}), {}
    for name in sorted(allowed, key=[*declared, *allowed].index):
        own, needed = declared.get(name), name in schema.get("required", [])
        stated = [resolved(v, own or {}) for v in allowed[name] if v != ""]
        # only an empty value is allowed
        stated = stated or ([[] if (own or {}).get("type") == "array" else ""] if needed else [])
        valid = [v for v in stated if own is not None and Draft202012Validator(own).is_valid(v)]
        may_go = "" in allowed[name] and not needed
        if valid or (stated and not may_go):
            found[name] = (valid or stated)[0]
    return found


def resolved(value: Any, schema: dict[str, Any]) -> Any:
    """A value; of an object, and of those in a list, each member is itself a choice."""
    if isinstance(value, dict) and all(isinstance(v, list) for v in value.values()):
        return chosen(value, schema)
    if isinstance(value, list):
        return [resolved(v, schema.get("items", {})) if isinstance(v, dict) else v for v in value]
    return value


class Numbered(OpenAICompletionsHandler):
    """The package's client of chat completions, which sends a case's number as the seed."""

    is_streamed = False
    numbers: dict[str, int] = {}

    def _compile_tools(self, inference_data: dict, test_entry: dict) -> dict:
        inference_data["number"] = self.numbers[test_entry["id"]]
        return super()._compile_tools(inference_data, test_entry)

    def _query_FC(self, inference_data: dict) -> Any:
        self.client = self.client.with_options(max_retries=0)
        inference_data["inference_input_log"] = {}
        return self.generate_with_backoff(
            messages=inference_data["message"],
            model=self.model_name,
            temperature=self.temperature,
            store=False,
            tools=inference_data["tools"],
            seed=inference_data["number"],
        )

    def generate_with_backoff(self, **asked: Any) -> Any:
        if not self.is_streamed:
            return self.client.chat.completions.create(**asked), 0.0
        options = {"include_usage": True}
        return added(
            self.client.chat.completions.create(**asked, stream=True, stream_options=options)
        ), 0.0


def added(chunks: Any) -> Any:
    """The answer that a stream's chunks add up to."""
    content, calls, usage = "", {}, None
    for chunk in chunks:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            content += choice.delta.content or ""
            for part in choice.delta.tool_calls or []:
                if part.id:
                    assert part.index == len(calls)
                    f = SimpleNamespace(name=part.function.name, arguments="")
                    calls[part.index] = SimpleNamespace(id=part.id, function=f)
                calls[part.index].function.arguments += part.function.arguments or ""
    said = SimpleNamespace(content=content, tool_calls=list(calls.values()) or None)
    return SimpleNamespace(choices=[SimpleNamespace(message=said)], usage=usage)


def play(all_cases: list[dict[str, Any]]) -> dict[str, Any]:
    """Ask, score, and read the scores."""
    Numbered.numbers = {case["id"]: i for i, case in enumerate(all_cases, 1)}
    MODEL_CONFIG_MAPPING["gold"] = ModelConfig(
        model_name="gold", display_name="gold", url="", org="", license="",
        model_handler=Numbered, underscore_to_dot=True,
    )  # fmt: skip
    generate(
        SimpleNamespace(
            model=["gold"], test_category=CATEGORIES, temperature=0.001, include_input_log=False,
            exclude_state_log=True, num_threads=16, result_dir=RESULT_PATH, allow_overwrite=True,
            run_ids=False,
        )
    )  # fmt: skip
    evaluate(["gold"], CATEGORIES, RESULT_PATH, SCORE_PATH)
    scores = {}
    for category in CATEGORIES:
        [file] = SCORE_PATH.rglob(f"BFCL_v4_{category}_score.json")
        head, *lost = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
        scores[category] = {
            "cases": head["total_count"],
            "right": head["correct_count"],
            "lost": {e["id"]: [e.get("error"), e.get("model_result_raw")] for e in lost},
        }
    return scores


if __name__ == "__main__":
    file = Path(sys.argv[2])
    if sys.argv[1] == "gold":
        file.write_text(json.dumps(cases(), ensure_ascii=False), "utf-8")
    else:
        Numbered.is_streamed = sys.argv[5] == "stream"
        scores = play(json.loads(file.read_text("utf-8")))
        Path(sys.argv[4], "scores.json").write_text(json.dumps(scores, ensure_ascii=False), "utf-8")
