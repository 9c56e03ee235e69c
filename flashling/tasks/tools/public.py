"""Samples from public sets: people's own words with tools written for them.

`data_dir` holds snips.jsonl.gz (CC0), clinc150.jsonl.gz (CC BY 3.0) and metatool.jsonl.gz (MIT);
a file that is not there is skipped. Held out: clinc's val and test rows, 5 % of the snips and
metatool texts by hash, 15 % of the metatool tools.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

from flashling.tasks.tools import answers
from flashling.tasks.tools.catalogue import HELD_OUT_PERCENT
from flashling.tasks.tools.schema import Declarer, cased
from flashling.tasks.tools.values import NUMBERS_EN, Values
from flashling.tasks.tools.words import DATA, holdout, made_word, phrases

HELD_OUT_TEXTS = 5
# how often each set is drawn
WEIGHTS = {"snips": 0.5, "clinc": 0.32, "metatool": 0.18}
# for each snips intent: names, description in both languages, slots as slot:name,name:type
SNIPS: dict[str, list[str]] = phrases("snips")


class Public:
    """Rows of the sets found in a folder, made into samples with `values` as randomness."""

    def __init__(self, values: Values, data_dir: str, split: str):
        self.values, self.split = values, split
        self.pick, self.random = values.pick, values.random
        self.declarer = Declarer(values)
        folder = Path(data_dir)
        self.clinc_tools = _table("clinc.txt")
        self.meta_tools = {
            name: about
            for name, about in _table("metatool.txt").items()
            if self._wanted(f"tool {name}", HELD_OUT_PERCENT)
        }
        self.rows: dict[str, list[dict]] = {}
        readers: dict[str, tuple[str, Callable[[dict], bool]]] = {
            "snips": ("snips.jsonl.gz", self._takes_snips),
            "clinc": ("clinc150.jsonl.gz", self._takes_clinc),
            "metatool": ("metatool.jsonl.gz", self._takes_metatool),
        }
        for name, (file, takes) in readers.items():
            if (folder / file).exists():
                with gzip.open(folder / file, "rt", encoding="utf-8") as lines:
                    self.rows[name] = [row for row in map(json.loads, lines) if takes(row)]
        self.names = [name for name in WEIGHTS if self.rows.get(name)]

    def _wanted(self, text: str, percent: int) -> bool:
        return holdout(text, percent) == (self.split == "test")

    def _takes_snips(self, row: dict) -> bool:
        return self._wanted("".join(p["text"] for p in row["parts"]), HELD_OUT_TEXTS)

    def _takes_clinc(self, row: dict) -> bool:
        is_train = row["split"] in ("train", "oos_train")
        known = row["intent"] in self.clinc_tools or row["intent"] == "oos"
        return known and is_train == (self.split == "train")

    def _takes_metatool(self, row: dict) -> bool:
        fits = row["tool"] in self.meta_tools and len(row["query"]) < 160
        # whole tools are held out; of the others, some texts
        return fits and (self.split == "test" or not holdout(row["query"], HELD_OUT_TEXTS))

    def sample(self) -> dict:
        """One sample; its fields are those of the other tool samples, `sub` is public."""
        weights = [WEIGHTS[name] for name in self.names]
        name = self.values.rng.choices(self.names, weights)[0]
        row = self.pick(self.rows[name])
        make = {"snips": self._snips, "clinc": self._clinc, "metatool": self._metatool}[name]
        return make(row)

    def _sample(self, text: str, tools: list[dict], call: dict | None, copied: list[str]) -> dict:
        self.declarer.shuffle(tools)
        answer: dict = {"role": "assistant", "content": None}
        if call is None:
            answer["content"] = self.pick(answers.NO_TOOL["en"])
        else:
            answer["tool_calls"] = [{"id": "call_0", "type": "function", "function": call}]
        return {
            "messages": [{"role": "user", "content": text}, answer],
            "tools": tools,
            "kind": "tools" if call else "none",
            "sub": "public",
            "lang": "en",
            "copied": copied,
        }

    def _snips(self, row: dict) -> dict:
        text = "".join(part["text"] for part in row["parts"]).strip()
        said: dict[str, str] = {}
        for part in row["parts"]:
            if "entity" in part:
                twice = part["entity"] in said
                said[part["entity"]] = "" if twice else part["text"].strip()
        # a slot said twice has no single value, so its parameter is not declared
        doubled = {slot for slot, value in said.items() if not value}
        wanted = row["intent"]
        is_none = self.random() < 0.1
        intents = [i for i in SNIPS if i != wanted]
        intents = self.values.rng.sample(intents, int(self.random() * 4) + (1 if is_none else 0))
        intents = [
            i for i in intents if not {i, wanted} <= {"SearchCreativeWork", "SearchScreeningEvent"}
        ]
        schemas = [self._snips_tool(i, set(), {})[0] for i in intents]
        if is_none:
            return self._sample(text, schemas or [self._meta_tool("calculator")], None, [])
        schema, arguments = self._snips_tool(wanted, doubled, said)
        if arguments is None:
            return self.sample()
        call = {"name": schema["function"]["name"], "arguments": arguments}
        copied = [value for value in arguments.values() if isinstance(value, str)]
        return self._sample(text, [*schemas, schema], call, copied)

    def _snips_tool(self, intent: str, doubled: set[str], said: dict) -> tuple[dict, dict | None]:
        """A schema for an intent, and the arguments (None when a required slot was not said)."""
        names, en, zh, slots = SNIPS[intent]
        style = self.declarer.style()
        fields: dict[str, dict] = {}
        required, arguments, fails = [], {}, False
        for entry in slots.split():
            slot, options, *kinds = entry.split(":")
            key = slot.rstrip("!")
            if key in doubled or (not slot.endswith("!") and self.random() < 0.3):
                fails = fails or (key in doubled and slot.endswith("!"))
                continue
            name = self.pick(options.split(","))
            if name in fields:
                continue
            kind = kinds[0] if kinds and self.random() < 0.8 else "string"
            fields[name] = {"type": kind}
            if self.random() < style.describes_params:
                fields[name]["description"] = key.replace("_", " ")
            if slot.endswith("!"):
                required.append(name)
                fails = fails or key not in said
            if key in said:
                arguments[name] = _as(said[key], kind)
                fails = fails or arguments[name] is None
        body = {"type": "object", "properties": fields, "required": required}
        about = zh if style.lang == "zh" else en
        name = cased(self.pick(names.split()), style.case, "app")
        function = {"name": name, "description": about, "parameters": body}
        return {"type": "function", "function": function}, None if fails else arguments

    def _clinc(self, row: dict) -> dict:
        intent = row["intent"]
        others = [
            i
            for i in self.values.rng.sample(list(self.clinc_tools), 1 + int(self.random() * 7))
            if i != intent
        ]
        is_none = intent == "oos" or self.random() < 0.12
        intents = others if is_none else [*others, intent]
        tools = [self._plain_tool(i, self.clinc_tools[i]) for i in intents]
        if is_none or not tools:
            tools = tools or [self._meta_tool("calculator")]
            return self._sample(row["text"], tools, None, [])
        name = tools[-1]["function"]["name"]
        return self._sample(row["text"], tools, {"name": name, "arguments": {}}, [])

    def _metatool(self, row: dict) -> dict:
        tool, count = row["tool"], 1 + int(self.random() * 5)
        others = [
            t
            for t in self.values.rng.sample(list(self.meta_tools), min(count, len(self.meta_tools)))
            if t != tool
        ]
        tools = [self._meta_tool(name) for name in [*others, tool]]
        function = tools[-1]["function"]
        fields = list(function["parameters"]["properties"])
        arguments = {fields[0]: row["query"]} if fields else {}
        call = {"name": function["name"], "arguments": arguments}
        return self._sample(row["query"], tools, call, list(arguments.values()))

    def _meta_tool(self, name: str) -> dict:
        made = self._plain_tool(
            name.replace("&", "_"), self.meta_tools.get(name, ("Calculates", "计算"))
        )
        if self.random() < 0.12:
            field = {"type": "string", "description": "the request, word for word"}
            made["function"]["parameters"] = {
                "type": "object",
                "properties": {"request": field},
                "required": ["request"],
            }
        return made

    def _plain_tool(self, name: str, about: tuple[str, str]) -> dict:
        """A tool without parameters; now and then under a name that means nothing."""
        chance = self.random()
        if chance < 0.1:
            name = made_word(self.values.rng, 2)
        elif chance < 0.3:
            name = cased(name.lower(), self.pick(("camel", "kebab", "pascal")), "")
        text = about[0] if self.random() < 0.7 else about[1]
        body = {"type": "object", "properties": {}}
        return {
            "type": "function",
            "function": {"name": name, "description": text, "parameters": body},
        }


def _as(text: str, kind: str) -> str | int | None:
    """A slot's text as a schema type; None when it is no such number."""
    if kind != "integer":
        return text
    if text.isdigit():
        return int(text)
    return NUMBERS_EN.index(text.lower()) if text.lower() in NUMBERS_EN else None


def _table(file: str) -> dict[str, tuple[str, str]]:
    """Descriptions in both languages by name."""
    rows = [line.split("|") for line in (DATA / file).read_text(encoding="utf-8").splitlines()]
    return {name: (en, zh) for name, en, zh in rows}
