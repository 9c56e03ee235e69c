"""What is measured of a model at full size, as words say it, and the file that it goes to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ...config import PRESETS, ModelConfig
from ...ops.device import slug
from ..engine.plan import numbers, words
from ..engine.recipes import recipe_of
from ..engine.run import about

Row = dict[str, Any]


@dataclass(frozen=True)
class Plan:
    """Parts (none: all of them). layers: of the model, None for all.

    load: folders in which a checkpoint of so many gigabytes (10^9 bytes) is written and read.
    sessions: of so many tokens, their files in the first of the folders. mixed: prompts of `prompt`
    tokens come to `running` sequences, for each of the budgets of a step. serve: agents of so many
    turns, whose prompts grow from `start` to `end` tokens and whose answers have `answer` tokens.
    many: so many sequences of `held` tokens at once, in steps of up to so many rows.
    seconds: after so many no part begins. commit: of the code, where git cannot tell. out: the
    folder of the results.
    """

    parts: tuple[str, ...] = ()
    model: str = "ling-2.6-flash"
    recipe: str = "fp8-channel"
    layers: int | None = None
    folders: tuple[str, ...] = ("/dev/shm",)
    gigabytes: int = 20
    tokens: int = 65_536
    rounds: int = 5
    budgets: tuple[int, ...] = (512, 2048, 8192)
    running: int = 16
    prompt: int = 32_768
    agents: int = 8
    turns: int = 8
    start: int = 10_000
    end: int = 60_000
    answer: int = 96
    together: tuple[int, ...] = (128, 200, 256)
    held: int = 4096
    rows: int = 16_384
    seconds: float | None = None
    commit: str = ""
    out: Path = Path()

    def __post_init__(self) -> None:
        recipe_of(self.recipe)
        if self.model not in PRESETS:
            raise ValueError(f"no model {self.model!r}; there are: {', '.join(PRESETS)}")
        for folder in (self.out, *map(Path, self.folders)):
            if not folder.is_dir():
                raise ValueError(f"no folder {folder}; make it, or give another")
        if min(self.together) < 1 or self.held < 256 or self.rows < 64:
            raise ValueError("give 1 sequence at least, of 256 tokens, and steps of 64 rows")
        if self.end <= self.start:
            raise ValueError(f"prompts cannot grow from {self.start} to {self.end} tokens")

    @property
    def config(self) -> ModelConfig:
        """The model's shape, without MTP layers."""
        c = PRESETS[self.model].with_(num_nextn_predict_layers=0)
        return c.with_(num_hidden_layers=self.layers or c.num_hidden_layers)


READ: dict[str, Callable[[str], Any]] = {
    "folders": lambda text: tuple(text.split(",")),
    **dict.fromkeys(("budgets", "together"), numbers),
    "seconds": float,
    "out": Path,
    **dict.fromkeys(("model", "recipe", "commit"), str),
    **dict.fromkeys(("layers", "gigabytes", "tokens", "rounds", "running", "prompt"), int),
    **dict.fromkeys(("agents", "turns", "start", "end", "answer", "held", "rows"), int),
}


def read(arguments: Sequence[str]) -> Plan:
    """The plan of words as `load serve agents=4`; as `words` refuses."""
    return Plan(**words(arguments, READ))


class Report:
    """The file serve-DEVICE.json: rows by part, with what they were measured on."""

    def __init__(self, plan: Plan, device: torch.device) -> None:
        self.plan, self.device, self._began = plan, device, time.perf_counter()
        facts = about(device, plan.commit) | {"model": plan.model, "recipe": plan.recipe}
        facts["layers"] = plan.config.num_hidden_layers
        self.path = plan.out / f"serve-{slug(facts['device'])}.json"
        self.rows: dict[str, Any] = {"weights": "random: speed only", "runs": []}
        if self.path.exists():
            self.rows = json.loads(self.path.read_text("utf-8"))
        self.rows["runs"].append(facts)

    def is_over(self) -> bool:
        """Whether no further part may begin."""
        most = self.plan.seconds
        return most is not None and time.perf_counter() - self._began > most

    def add(self, part: str, row: Row) -> None:
        """Print a row and write the file; a part's rows take the place of those of earlier runs."""
        run = len(self.rows["runs"]) - 1
        kept = [r for r in self.rows.get(part, ()) if r["run"] == run]
        self.rows[part] = [*kept, {**row, "run": run}]
        self.path.write_text(json.dumps(self.rows, indent=1) + "\n", "utf-8")
        shown = {k: round(v, 3) if isinstance(v, float) else v for k, v in row.items()}
        print(part, json.dumps(shown), flush=True)
