"""`flashling train`, `eval` and `quantize`: the long jobs."""

from __future__ import annotations

import inspect
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from .terminal import note, progress, table


def train(
    recipe: str | None = None,
    /,
    *changes: str,
    list: bool = False,
    resume: bool = False,
    limit: float | None = None,
    export: Path | None = None,
) -> int:
    """Run a training recipe. Ctrl-C saves and stops; --resume goes on.

    Parameters
    ----------
    recipe
        Its name; --list shows them.
    changes
        Fields of the recipe to change: steps=100 optim.lr=1e-3 out=runs/other.
    list
        Show the recipes.
    resume
        Go on from the last checkpoint in the recipe's folder.
    limit
        Save and stop after so many seconds.
    export
        Write the finished model here, under the published names.
    """
    from .. import train as room

    known = room.recipes()
    if list:
        rows = [[name, (inspect.getdoc(f) or "").split("\n")[0]] for name, f in known.items()]
        print("\n".join(f"{name.ljust(20)} {told}" for name, told in rows))
        return 0
    if recipe is None or recipe not in known:
        what = f"no recipe {recipe!r}" if recipe else "which recipe?"
        raise ValueError(f"{what}; there are: {', '.join(known)}")
    chosen = room.changed(known[recipe](), changes)
    result = room.train(chosen, resume=resume, limit=limit)
    if result.reason != "stopped":
        print(f"{recipe}: {result.step} steps, loss {result.loss:.4f}, in {chosen.folder}")
        if export is not None:
            print(f"model written to {room.export(chosen, export)}")
    return 0


def evaluate(name: str, /, *arguments: str) -> int:
    """Measure a model: flashling eval nano runs the figures of the README.

    Parameters
    ----------
    name
        What to measure.
    arguments
        What it takes; see its page in docs.
    """
    package = "flashling.evals"
    if not name.isidentifier() or find_spec(package) is None or not find_spec(f"{package}.{name}"):
        raise ValueError(f"no evaluation {name!r} here; flashling eval nano is the one to run")
    found = import_module(f"{package}.{name}")
    if not hasattr(found, "main"):
        raise ValueError(f"{name!r} cannot be run by itself; flashling eval nano runs it")
    done = found.main(*arguments)
    return done if isinstance(done, int) else 0


def quantize(source: Path, target: Path, /, *, format: str) -> None:
    """Write a checkpoint with narrower weights.

    Parameters
    ----------
    source
        The folder of the model.
    target
        The folder to write.
    format
        fp8 or fp8-block: every projection in 8 bits. int4 or int4-128: the experts in 4 bits.
        int4-all: every projection in 4 bits, the head in 8. nano: the experts in 4 bits and the
        rest in 8. bf16: back to 16 bits.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ValueError(f"{target} is not empty; give a new folder")
    from ..model.convert import quantize as rewrite

    for told in rewrite(source, target, format, progress=progress("weights")):
        note(told)
    sizes = [sum(f.stat().st_size for f in p.glob("*.safetensors")) for p in (source, target)]
    rows = [[str(p), f"{s / 1e6:,.1f} MB"] for p, s in zip((source, target), sizes, strict=True)]
    print(table(rows))
