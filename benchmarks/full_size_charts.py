"""Charts of what `bench engine` has measured of the whole model on one device."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .figures import BLUE, GREY, ORANGE, STYLE
from .rows import good, ratios, read, values

COLOURS = (BLUE, ORANGE, "#3d8a4f", "#8a4f9e", "#a33b3b", GREY)
# panels beside each other
ACROSS = 3


def decode(source: Path, target: Path) -> None:
    """Tokens a second against the batch, by context, and the limit of bytes; a panel a recipe."""
    rows = [r for r in good(read(source), "decode") if r["routing"] == "random"]
    recipes = values(rows, "recipe")
    with _panels(
        len(recipes), target, "decode, tokens a second (dashed: limit of bytes)"
    ) as panels:
        for axes, recipe in zip(panels, recipes, strict=True):
            here = [r for r in rows if r["recipe"] == recipe]
            contexts = values(here, "context")
            for colour, context in zip(_shades(len(contexts)), contexts, strict=True):
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
    rows = good(read(source), "prefill")
    with _panels(1, target, "prefill, tokens a second") as [axes]:
        recipes = values(rows, "recipe")
        for colour, recipe in zip(_shades(len(recipes)), recipes, strict=True):
            line = sorted((r for r in rows if r["recipe"] == recipe), key=lambda r: r["tokens"])
            y = [r["tokens_per_s"] for r in line]
            axes.plot([r["tokens"] for r in line], y, "o-", color=colour, label=recipe)
        axes.set(xlabel="tokens of the prompt", xscale="log", ylim=(0, None))
        _places(axes, values(rows, "tokens"))
        axes.legend(frameon=False)


def twin(source: Path, target: Path) -> None:
    """The twin's time over the model's: decode against context and against batch, and prefill."""
    report = read(source)
    steps, prompts = ratios(report, "decode"), ratios(report, "prefill")
    by_batch: dict[tuple[str, int], list[tuple[int, float]]] = {}
    for (recipe, batch), points in steps.items():
        for context, ratio in points:
            by_batch.setdefault((recipe, context), []).append((batch or 0, ratio))
    several = len({recipe for recipe, _ in [*steps, *prompts]}) > 1

    def named(recipe: str, what: str) -> str:
        return f"{recipe}, {what}" if several else what

    panels = {
        "decode, by context": {named(r, f"batch {b}"): p for (r, b), p in steps.items()},
        "decode, by batch": {
            named(r, f"{c:,} tokens"): p for (r, c), p in sorted(by_batch.items())
        },
        "prefill": {named(r, "prompt"): p for (r, _), p in prompts.items()},
    }
    with _panels(len(panels), target, "softmax twin: its time over the model's") as axes:
        for one, (title, lines) in zip(axes, panels.items(), strict=True):
            for colour, (name, points) in zip(_shades(len(lines)), lines.items(), strict=True):
                one.plot(*zip(*points, strict=True), "o-", color=colour, label=name)
            one.axhline(1, color=GREY, linewidth=1)
            one.set(title=title, xscale="log", ylim=(0, None))
            one.set(xlabel="sequences at once" if "batch" in title else "tokens of context")
            _places(one, sorted({x for points in lines.values() for x, _ in points}))
            if lines:
                one.legend(frameon=False, fontsize=8)


def _shades(count: int) -> list[Any]:
    """Colours of so many lines: from dark to light where there are many."""
    if count <= len(COLOURS):
        return list(COLOURS[:count])
    from matplotlib import colormaps  # pyright: ignore[reportMissingImports]

    return [colormaps["viridis"](0.9 * i / (count - 1)) for i in range(count)]


def _places(axes: Any, found: list[int]) -> None:
    """Marks where there are points, thousands of tokens as 4k."""
    axes.set_xticks(found, [f"{n // 1024}k" if n >= 1024 else str(n) for n in found])
    axes.minorticks_off()


@contextmanager
def _panels(count: int, target: Path, title: str) -> Iterator[list[Any]]:
    """Axes in rows of `ACROSS`, saved as a PNG file in the end."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot  # pyright: ignore[reportMissingImports]

    with pyplot.rc_context(STYLE):
        columns, rows = min(max(count, 1), ACROSS), -(-count // ACROSS)
        size = 4.5 * max(columns, 2), 3.6 * max(rows, 1)
        figure, axes = pyplot.subplots(max(rows, 1), columns, figsize=size, squeeze=False)
        for unused in axes.flat[count:]:
            unused.set_axis_off()
        yield list(axes.flat[:count])
        figure.suptitle(title, color=GREY, fontsize=9)
        figure.savefig(target, metadata={"Software": None})
        pyplot.close(figure)


CHARTS = {"decode": decode, "prefill": prefill, "twin": twin}
