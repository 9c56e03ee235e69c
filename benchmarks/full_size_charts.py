"""Charts of what `bench engine` has measured of the whole model on one device."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .figures import BLUE, GREY, ORANGE, STYLE
from .full_size import good, ratios, values

COLOURS = (BLUE, ORANGE, "#3d8a4f", "#8a4f9e", "#a33b3b", GREY)


def decode(source: Path, target: Path) -> None:
    """Tokens a second against the batch, by context, and the limit of bytes; a panel a recipe."""
    rows = [
        r for r in good(json.loads(source.read_text("utf-8")), "decode") if r["routing"] == "random"
    ]
    recipes = values(rows, "recipe")
    with _panels(
        len(recipes), target, "decode, tokens a second (dashed: limit of bytes)"
    ) as panels:
        for axes, recipe in zip(panels, recipes, strict=True):
            here = [r for r in rows if r["recipe"] == recipe]
            for colour, context in zip(COLOURS, values(here, "context"), strict=False):
                line = sorted(
                    (r for r in here if r["context"] == context), key=lambda r: r["batch"]
                )
                x = [r["batch"] for r in line]
                label = f"{context:,} tokens"
                axes.plot(x, [r["tokens_per_s"] for r in line], "o-", color=colour, label=label)
                limit = [1e3 * r["batch"] / r["limit_ms"] for r in line]
                axes.plot(x, limit, "--", color=colour, linewidth=1)
            axes.set(title=recipe, xlabel="sequences at once", xscale="log", yscale="log")
            _places(axes, values(here, "batch"))
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.legend(frameon=False)


def prefill(source: Path, target: Path) -> None:
    """Tokens a second against the prompt, by recipe."""
    rows = good(json.loads(source.read_text("utf-8")), "prefill")
    with _panels(1, target, "prefill, tokens a second") as [axes]:
        for colour, recipe in zip(COLOURS, values(rows, "recipe"), strict=False):
            line = sorted((r for r in rows if r["recipe"] == recipe), key=lambda r: r["tokens"])
            y = [r["tokens_per_s"] for r in line]
            axes.plot([r["tokens"] for r in line], y, "o-", color=colour, label=recipe)
        axes.set(xlabel="tokens of the prompt", xscale="log", ylim=(0, None))
        _places(axes, values(rows, "tokens"))
        axes.legend(frameon=False)


def twin(source: Path, target: Path) -> None:
    """The twin's time over the model's against the context: decode by batch, and prefill."""
    report = json.loads(source.read_text("utf-8"))
    with _panels(2, target, "softmax twin: its time over the model's") as panels:
        for axes, part in zip(panels, ("decode", "prefill"), strict=True):
            lines = ratios(report, part)
            for colour, (name, points) in zip(COLOURS, lines.items(), strict=False):
                axes.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
            axes.axhline(1, color=GREY, linewidth=1)
            axes.set(title=part, xlabel="tokens of context")
            axes.set(xscale="log", ylim=(0, None))
            _places(
                axes, sorted({x for points in ratios(report, part).values() for x, _ in points})
            )
            axes.legend(frameon=False)


def _places(axes: Any, found: list[int]) -> None:
    """Marks where there are points, thousands of tokens as 4k."""
    axes.set_xticks(found, [f"{n // 1024}k" if n >= 1024 else str(n) for n in found])
    axes.minorticks_off()


@contextmanager
def _panels(count: int, target: Path, title: str) -> Iterator[list[Any]]:
    """Axes side by side, saved as a PNG file in the end."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    with pyplot.rc_context(STYLE):
        figure, axes = pyplot.subplots(1, count, figsize=(4.5 * max(count, 2), 3.6), squeeze=False)
        yield list(axes[0])
        figure.suptitle(title, color=GREY, fontsize=9)
        figure.savefig(target, metadata={"Software": None})
        pyplot.close(figure)


CHARTS = {"decode": decode, "prefill": prefill, "twin": twin}
