"""`torchrun -m flashling.train RECIPE [FIELD=VALUE ...] [export=FOLDER]`: a run on a machine with
little beside torch. A run that is there already goes on; exported parts hold 15 MB at most.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from . import changed, export, recipes, train


def main(arguments: Sequence[str]) -> int:
    """Run a recipe and export its model; 0, or 2 with a line that names what is wrong."""
    name, *rest = arguments or [""]
    known = recipes()
    if name not in known:
        print(f"no recipe {name!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    target = next((a.partition("=")[2] for a in rest if a.startswith("export=")), "")
    try:
        recipe = changed(known[name](), [a for a in rest if not a.startswith("export=")])
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    result = train(recipe, resume=True)
    if int(os.environ.get("RANK", "0")) == 0:
        print(f"{name}: {result.step} steps, loss {result.loss:.4f}, {result.reason}")
        if target:
            print(f"model written to {export(recipe, target, shard_bytes=15_000_000)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
