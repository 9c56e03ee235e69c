"""A server whose engine has random weights: `python3 -m flashling.bench.full.worker FOLDER ...` is
`flashling serve FOLDER ...` for a folder with config.json, tokenizer.json and a recipe's name.
"""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

import torch

from ...config import ModelConfig
from ...engine.warm import warm
from ...llm import link, worker
from ...llm.folder import folder_of
from ...llm.load import Startup
from ...model.ling import Ling
from ...text.tokenizer import Tokenizer
from ..engine.recipes import random_model, recipe_of
from .checkpoint import describe

RECIPE = "recipe.txt"


def describe_random(config: ModelConfig, recipe: str, folder: Path) -> None:
    """Fill a folder that the server is told to serve."""
    describe(config, folder)
    (folder / RECIPE).write_text(recipe, "utf-8")


class Worker(worker.Worker):
    """An engine's process that draws the weights in place of reading them."""

    def _parts(self, model: str, drafts: int | None) -> tuple[Ling, Tokenizer, Startup | None]:
        folder, startup, began = folder_of(model), Startup(), time.perf_counter()
        tokenizer = Tokenizer.read(folder)
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        recipe = recipe_of((folder / RECIPE).read_text("utf-8"))
        made = random_model(ModelConfig.read(folder), device, recipe)
        silence(made, tokenizer.vocab_size)
        startup.spent.room = time.perf_counter() - began
        began = time.perf_counter()
        warm(made)
        startup.kernels = time.perf_counter() - began
        return made, tokenizer, startup


@torch.no_grad()
def silence(model: Ling, known: int) -> None:
    """Give the tokens from `known` on, which the tokenizer has no text for, the logit 0: of the
    others the likeliest lies above. The step reads and multiplies what it did before.
    """
    head = model.head
    (head if isinstance(head, torch.Tensor) else head.scale)[known:] = 0


def main() -> None:
    """Serve as the arguments say, with engines of this module."""
    link.WORKER = __spec__.name
    sys.argv = ["flashling", "serve", *sys.argv[1:]]
    runpy.run_module("flashling", run_name="__main__")


if __name__ == "__main__":
    # an engine's process is given the number of its socket
    if len(sys.argv) == 2 and sys.argv[1].isdigit():
        worker.Worker = Worker
        sys.exit(worker.main())
    main()
