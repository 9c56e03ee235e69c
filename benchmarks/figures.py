"""`make figures`: the charts in docs/figures, from the files in benchmarks/results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
BLUE, ORANGE, GREY = "#1f5f99", "#c8641b", "#666666"
STYLE: dict[Any, Any] = {
    "figure.dpi": 160,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "lines.linewidth": 1.8,
}


def main() -> int:
    """Draw every figure whose source is there; 1 if one is not."""
    missing = 0
    for name, (draw, source, remedy) in SOURCES.items():
        path = RESULTS / source
        if not path.exists():
            shown = path.relative_to(ROOT)
            print(f"no {name}.png: {shown} is missing; {remedy}", file=sys.stderr)
            missing += 1
            continue
        FIGURES.mkdir(parents=True, exist_ok=True)
        target = FIGURES / f"{name}.png"
        draw(path, target)
        print(f"written: {target.relative_to(ROOT)}")
    return int(missing > 0)


def steps(path: Path) -> list[dict[str, Any]]:
    """The steps of a run's log, in order; what a resumed run did again counts once."""
    found: dict[int, dict[str, Any]] = {}
    for number, text in enumerate(path.read_text("utf-8").splitlines(), 1):
        try:
            facts = json.loads(text)
        except ValueError:
            raise ValueError(f"{path}:{number} is no JSON; copy the run's log again") from None
        if "event" not in facts:
            found[facts["step"]] = facts
    if not found:
        raise ValueError(f"{path} has no steps; copy the log of a run that went on")
    return [found[n] for n in sorted(found)]


def training_curve(source: Path, target: Path) -> None:
    """Loss and accuracy of a run against the tokens it has seen."""
    import matplotlib  # pyright: ignore[reportMissingImports]

    matplotlib.use("Agg")
    from matplotlib import pyplot, ticker  # pyright: ignore[reportMissingImports]

    log = steps(source)
    title = (
        f"Training of the embedded model: {log[-1]['step']:,} steps, "
        f"{log[-1]['tokens'] / 1e6:,.0f} million tokens, {log[-1]['seconds'] / 60:,.1f} minutes"
    )
    # figures are means since the line before; the last line may stand for a step or two
    if len(log) > 2 and 2 * (log[-1]["step"] - log[-2]["step"]) < log[-2]["step"] - log[-3]["step"]:
        log = log[:-1]
    tokens = [s["tokens"] / 1e6 for s in log]
    with pyplot.rc_context(STYLE):
        figure, (left, right) = pyplot.subplots(1, 2, figsize=(9, 3.6))
        left.set_title("loss (nats per token, log scale)")
        left.set_yscale("log")
        left.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        left.yaxis.set_major_formatter("{x:g}")
        left.yaxis.set_minor_formatter(ticker.NullFormatter())
        _curve(left, tokens, [s["loss"] for s in log], "next token", BLUE, "{:.2f}")
        if all("mtp_loss" in s for s in log):
            _curve(left, tokens, [s["mtp_loss"] for s in log], "MTP layer", ORANGE, "{:.2f}")
        left.legend(frameon=False)
        right.set_title("accuracy (share of tokens predicted, %)")
        right.set_ylim(0, 100)
        _curve(right, tokens, [100 * s["accuracy"] for s in log], "next token", BLUE, "{:.1f}")
        for axes in (left, right):
            axes.set_xlabel("tokens (millions)")
            axes.set_xlim(0, 1.14 * tokens[-1])
        figure.suptitle(title, color=GREY, fontsize=9)
        # no date and no version in the file: the same log gives the same bytes
        figure.savefig(target, metadata={"Software": None})
        pyplot.close(figure)


def _curve(axes: Any, x: list[float], y: list[float], label: str, color: str, form: str) -> None:
    """A line with its last value beside its end."""
    axes.plot(x, y, color=color, label=label)
    axes.annotate(
        form.format(y[-1]),
        (x[-1], y[-1]),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        color=color,
    )


def agent_trace(source: Path, target: Path) -> None:
    """What agents' sessions read again, by cache policy."""
    # it draws with this file's style
    from .agent_trace import draw

    draw(source, target)


def full_size(kind: str) -> Callable[[Path, Path], None]:
    """A chart of the whole model on one device."""

    def draw(source: Path, target: Path) -> None:
        # it draws with this file's style
        from .full_size_charts import CHARTS

        CHARTS[kind](source, target)

    return draw


# figure -> how it is drawn, from which result, and where that result comes from
SOURCES: dict[str, tuple[Callable[[Path, Path], None], str, str]] = {
    "nano-train": (
        training_curve,
        "nano-train.jsonl",
        "train the embedded model (flashling train nano) and copy its log.jsonl there",
    ),
    "agent-trace": (agent_trace, "agent-trace.json", "run python3 -m benchmarks.agent_trace"),
    **{
        f"full-size-{kind}": (
            full_size(kind),
            "engine-nvidia-h200.json",
            "run python3 -m benchmarks.twin out=benchmarks/results on one GPU",
        )
        for kind in ("decode", "prefill", "twin")
    },
}

if __name__ == "__main__":
    try:
        sys.exit(main())
    except (ImportError, ValueError) as error:
        sys.exit(f"figures: {error}")
